"""Datasets, label files and imported files with damage, generated from a seed.

`python -m tests.pipelines.hostile_inputs` tries them. A command that reads damaged files must name
the damage in one line, or make the damaged parts again, or set damaged rows aside. It must not
print a traceback, and not answer as if nothing were missing.
"""

import contextlib
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.__main__ import main
from pipelines.scoring.gold import first_errors
from storage.dataset.dataset import Dataset
from storage.dataset.tables import REJECTED, TRACES
from tests.pipelines.running import run_file

__all__ = ["Case", "cases", "command", "fault_of", "make_dataset"]

MAX_LINE_CHARS = 5000
# Commands that make damaged parts again, in the order of their names.
REPAIRING = ("label", "run")
READING = ("export", "score", "sql", "verify")
EVERYTHING = """
SELECT (SELECT list(p ORDER BY p.problem_id) FROM problems p),
       (SELECT list(t ORDER BY t.trace_id) FROM traces t),
       (SELECT list(a ORDER BY a.trace_id, a.method)
        FROM (SELECT * EXCLUDE (seconds, waited_seconds) FROM annotations) a),
       (SELECT list(r ORDER BY r.key) FROM rollouts r),
       (SELECT list(c ORDER BY c.trace_id) FROM critiques c),
       (SELECT list(l ORDER BY l.trace_id) FROM labels l)
"""


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit status."""

    status: object
    out: str
    err: str

    @property
    def fault(self) -> str:
        """What is wrong with an error, "" if nothing is."""
        if "Traceback" in self.out + self.err:
            return f"a traceback: {self.err}"
        if self.status == 0:
            return ""
        lines = [line for line in self.err.splitlines() if line.startswith("stepmark: ")]
        if self.status not in (1, 2) or (self.status == 2 and len(lines) != 1):
            return f"status {self.status}: {self.err}"
        if any(len(line) > MAX_LINE_CHARS for line in lines):
            return f"a line of {max(map(len, lines))} characters"
        return ""


def command(*arguments: str) -> Outcome:
    """Run a command in this process."""
    out = io.StringIO()
    err = io.StringIO()
    status: object = 0
    with (
        mock.patch.object(sys, "argv", ["stepmark", *arguments]),
        mock.patch("pipelines.cli.environment_guard.check_names"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        except BaseException as error:  # noqa: BLE001  # what it is about
            return Outcome("raised", "", f"Traceback: {type(error).__name__}: {error}")
    return Outcome(status, out.getvalue(), err.getvalue())


def make_dataset(folder: Path) -> None:
    """Make a dataset with all kinds of tables, a run file and a label file in a folder."""
    reply = "1 + 1 = 2\n2 + 2 = 5\nThe answer is \\boxed{2}."
    verdicts = "Step 1: correct\nStep 2: incorrect\nStep 3: correct"
    path = run_file(
        folder,
        engine={"use": "scripted", "replies": {"": [reply], "Step 1": [verdicts]}},
        annotators=[
            {"use": "formal"},
            {"use": "monte_carlo", "rollouts": 2},
            {"use": "judge", "votes": 1, "prompt": "judge"},
        ],
    )
    done = command("run", path)
    assert done.status == 0, done
    dataset = Dataset(str(folder / "dataset"))
    labels = ["trace_id,first_error"]
    for trace_id in dataset.column(TRACES, 0, "trace_id"):
        labels.append(f"{trace_id},1")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    rows = []
    for number in range(6):
        row = {"question": f"{number} + 1?", "answer": f"{number + 1}", "solution": "It is 1."}
        rows.append(json.dumps({**row, "first_error": 0}))
    (folder / "solutions.jsonl").write_text("\n".join(rows) + "\n")


Damage = Callable[[random.Random, Path, Path], str]
"""Damages a file, given a source of chance and a whole dataset; returns what it did."""


def flip_bits(source: random.Random, path: Path, intact: Path) -> str:
    """Flip some bits of a file."""
    content = bytearray(path.read_bytes())
    for _ in range(source.randint(1, 3)):
        content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    path.write_bytes(content)
    return "bits flipped"


def cut(source: random.Random, path: Path, intact: Path) -> str:
    """Write only the beginning of a file, as a process that is killed does."""
    content = path.read_bytes()
    path.write_bytes(content[: source.randrange(len(content))])
    return "half-written"


def overwrite(source: random.Random, path: Path, intact: Path) -> str:
    """Overwrite a range of a file by zeros or by chance."""
    content = bytearray(path.read_bytes())
    start = source.randrange(len(content))
    length = min(len(content) - start, source.randint(1, 200))
    filling = source.choice([b"\x00" * length, source.randbytes(length)])
    content[start : start + length] = filling
    path.write_bytes(content)
    return "overwritten"


def append(source: random.Random, path: Path, intact: Path) -> str:
    """Append bytes to a file."""
    with path.open("ab") as file:
        file.write(source.choice([b"\x00", b"PAR1", b"\n\n[x", source.randbytes(50)]))
    return "longer"


def replace_by_foreign(source: random.Random, path: Path, intact: Path) -> str:
    """Replace a file by one of another program, or by another one of the dataset."""
    others = sorted(other for other in intact.rglob("*.parquet") if other.name != path.name)
    kind = source.randrange(4)
    if kind == 0:
        pq.write_table(pa.table({"a": [1, 2]}), path)
    elif kind == 1:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + source.randbytes(100))
    elif kind == 2:
        path.write_text("a,b\n1,2\n")
    else:
        shutil.copy(source.choice(others), path)
    return f"foreign {kind}"


def replace_by_folder(source: random.Random, path: Path, intact: Path) -> str:
    """Put a folder or a dangling link in the place of a file."""
    path.unlink()
    if source.random() < 0.5:
        path.mkdir()
        return "a folder"
    path.symlink_to("/nonexistent/part")
    return "a dangling link"


DAMAGES: Sequence[Damage] = (
    flip_bits,
    flip_bits,
    cut,
    overwrite,
    append,
    replace_by_foreign,
    replace_by_folder,
)


def rows_of(folder: Path) -> Mapping[str, str]:
    """Return the digest of the rows of every part of a dataset."""
    dataset = Dataset(str(folder))
    digests: dict[str, str] = {}
    for table in dataset.tables():
        for shard in dataset.shards(table):
            footer = dataset.check_part(table, shard)
            digests[dataset.path(table, shard)] = footer.content
    return digests


def arguments_of(name: str, folder: Path) -> Sequence[str]:
    """Return the arguments of a command on the dataset in a folder."""
    dataset = str(folder / "dataset")
    return {
        "run": ["run", str(folder / "run.toml")],
        "label": ["label", str(folder / "run.toml")],
        "sql": ["sql", "--format", "json", "-d", dataset, EVERYTHING],
        "score": ["score", "-d", dataset, "--gold", str(folder / "labels.csv")],
        "verify": ["verify", "-d", dataset],
        "export": ["export", "soft_labels", "-d", dataset, "--to", str(folder / "exported")],
        "import": [
            *("import", str(folder / "solutions.jsonl"), "-d", str(folder / "imported")),
            *("--map", "first_error=first_error"),
        ],
    }[name]


@dataclass(frozen=True)
class Case:
    """A command on a copy of the dataset with one damaged file."""

    name: str
    path: str
    """The damaged file, relative to the folder of the dataset and the run file."""
    damage: Damage
    seed: int


def cases(original: Path, seed: int, count: int) -> Iterator[Case]:
    """Yield cases: the same for the same seed."""
    source = random.Random(seed)
    parts: list[str] = []
    for part in sorted((original / "dataset").rglob("*.parquet")):
        parts.append(str(part.relative_to(original)))
    for _ in range(count):
        name = source.choice((*REPAIRING, *READING, "score", "import"))
        path = source.choice(parts)
        if name == "import":
            path = "solutions.jsonl"
        elif name == "score" and source.random() < 0.5:
            path = "labels.csv"
        elif source.random() < 0.1:
            path = "dataset/run.toml"
        yield Case(name, path, source.choice(DAMAGES), source.randrange(2**32))


def fault_of(case: Case, original: Path, folder: Path) -> str:
    """Run a case in a new folder, and return what is wrong with the result."""
    shutil.copytree(original, folder)
    text = (folder / "run.toml").read_text().replace(str(original), str(folder))
    (folder / "run.toml").write_text(text)
    what = case.damage(random.Random(case.seed), folder / case.path, original / "dataset")
    outcome = command(*arguments_of(case.name, folder))
    fault = outcome.fault or _silence(case, outcome, original, folder)
    return fault and f"{what}: {fault}"


def _silence(case: Case, outcome: Outcome, original: Path, folder: Path) -> str:
    """Return what a successful command has lost without a word."""
    if outcome.status != 0:
        return ""
    is_file = (folder / case.path).is_file()
    if case.name in REPAIRING:
        # A missing part of problems is none that `label` makes, and `verify` finds it.
        return _unrepaired(case, original, folder) if case.name == "run" or is_file else ""
    if case.name == "verify":
        is_equal = is_file and _content(folder, case.path) == _content(original, case.path)
        return "" if is_equal or case.path.endswith(".toml") else f"not found: {outcome.out}"
    # A part that is missing is not damage that a query can know.
    if case.name == "sql" and is_file:
        expected = command(*arguments_of("sql", original))
        return "" if outcome.out == expected.out else "another answer"
    if case.path in ("labels.csv", "solutions.jsonl"):
        return _uncounted(case, folder)
    return ""


def _unrepaired(case: Case, original: Path, folder: Path) -> str:
    if rows_of(folder / "dataset") != rows_of(original / "dataset"):
        return "other rows"
    found = command(*arguments_of("verify", folder))
    # A run does not remove damaged files of completions.
    is_expected = found.status == 0 or "completions" in case.path
    return "" if is_expected else f"not repaired: {found.out}"


def _uncounted(case: Case, folder: Path) -> str:
    """Return which rows of a file were neither read nor set aside."""
    path = folder / case.path
    if case.name == "score":
        gold, rejected = first_errors(Dataset(str(folder / "dataset")), str(path))
        rows = _lines(path) - 1
        counts = (len(gold), len(rejected))
    else:
        imported = Dataset(str(folder / "imported"))
        rows = _lines(path)
        counts = (imported.count(TRACES), imported.count(REJECTED))
    return "" if sum(counts) >= rows else f"{counts} of {rows} rows"


def _content(folder: Path, path: str) -> bytes:
    return (folder / path).read_bytes()


def _lines(path: Path) -> int:
    lines = re.split(rb"[\r\n]", path.read_bytes())
    return sum(bool(line.strip()) for line in lines)
