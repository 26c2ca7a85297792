"""Datasets, label files and imported files with damage, generated from a seed.

    python -m tests.pipelines.hostile_datasets --count 200 --seed 1

A command that reads damaged files must name the damage in one line, or make the damaged parts
again. It must not print a traceback, and not answer as if nothing were missing.
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.__main__ import main
from storage.dataset.dataset import Dataset
from tests.pipelines.running import run_file

__all__ = ["Outcome", "case_of", "command", "fault_of", "make_dataset"]

MAX_LINE_CHARS = 5000
# Commands that make damaged parts again, in the order of their names.
REPAIRING = ("label", "run")
READING = ("export", "score", "sql", "verify")
# Files without which nothing is wrong, as far as these commands can know.
UNCHECKED = ("run.toml", ".lock")


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
    for trace_id in dataset.column(next(t for t in dataset.tables() if t.kind == "traces"), 0, "trace_id"):
        labels.append(f"{trace_id},1")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    rows = []
    for number in range(6):
        row = {"question": f"{number} + 1?", "answer": f"{number + 1}", "solution": "It is 1."}
        rows.append(json.dumps({**row, "first_error": 0}))
    (folder / "solutions.jsonl").write_text("\n".join(rows) + "\n")


Damage = Callable[[random.Random, Path, Path], str]
"""Damages a file; given a source of chance, the file and an undamaged copy of the dataset."""


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
        "sql": ["sql", "--format", "json", "-d", dataset, _EVERYTHING],
        "score": ["score", "-d", dataset, "--gold", str(folder / "labels.csv")],
        "verify": ["verify", "-d", dataset],
        "export": ["export", "soft_labels", "-d", dataset, "--to", str(folder / "exported")],
        "import": [
            *("import", str(folder / "solutions.jsonl"), "-d", str(folder / "imported")),
            *("--map", "first_error=first_error"),
        ],
    }[name]


_EVERYTHING = """
SELECT (SELECT list(p ORDER BY p.problem_id) FROM problems p),
       (SELECT list(t ORDER BY t.trace_id) FROM traces t),
       (SELECT list(a ORDER BY a.trace_id, a.method) FROM (SELECT * EXCLUDE (seconds, waited_seconds) FROM annotations) a),
       (SELECT list(r ORDER BY r.key) FROM rollouts r),
       (SELECT list(c ORDER BY c.trace_id) FROM critiques c),
       (SELECT list(l ORDER BY l.trace_id) FROM labels l)
"""


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
    files = [path for path in sorted(original.rglob("*")) if path.is_file()]
    of_dataset = [str(path.relative_to(original)) for path in files if "dataset" in path.parts]
    of_dataset = [path for path in of_dataset if path.startswith("dataset/") and ".lock" not in path]
    for _ in range(count):
        name = source.choice((*REPAIRING, *READING, "score", "import"))
        path = source.choice(of_dataset)
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
    """Return what a command has lost without a word."""
    if case.name in REPAIRING and outcome.status == 0:
        if rows_of(folder / "dataset") != rows_of(original / "dataset"):
            return f"other rows: {outcome.out} {outcome.err}"
        after = command(*arguments_of("verify", folder))
        if after.status != 0 and "completions" not in case.path:
            return f"not repaired: {after.out}"
    if case.name == "verify" and outcome.status == 0:
        is_equal = _bytes(folder / case.path) == _bytes(original / case.path)
        if not is_equal and not case.path.endswith(UNCHECKED):
            return f"not found: {outcome.out}"
    if case.name in ("sql", "score", "export") and outcome.status == 0:
        expected = command(*arguments_of(case.name, original))
        shutil.rmtree(original / "exported", ignore_errors=True)
        if case.name == "sql" and outcome.out != expected.out:
            return "another answer"
        if "Traceback" in expected.err:
            return expected.err
    if case.name == "import" and outcome.status == 0:
        return _uncounted(outcome, folder)
    return ""


def _uncounted(outcome: Outcome, folder: Path) -> str:
    return ""


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _search(seed: int, count: int) -> int:
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        original = Path(name, "original")
        make_dataset(original)
        for number, case in enumerate(cases(original, seed, count)):
            folder = Path(name, str(number))
            fault = fault_of(case, original, folder)
            if fault:
                faults += 1
                print(case, fault[:1500], sep="\n  ", flush=True)  # noqa: T201
            shutil.rmtree(folder)
    print(f"{count} cases, {faults} faults")  # noqa: T201
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    raise SystemExit(1 if _search(options.seed, options.count) else 0)
