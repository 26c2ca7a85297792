"""Run files, overrides and locations that are malformed or hostile, generated from a seed.

    python -m tests.pipelines.hostile_inputs --count 5000 --seed 1

Each one must be accepted, or be rejected in one line with exit status 2. Nothing is run: a run file
that is accepted is only prepared. Damaged datasets, of which there are fewer, are really read; see
`hostile_datasets`.
"""

import argparse
import contextlib
import io
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tomli_w

from pipelines.__main__ import main
from stepmark.visible_text import HIDDEN
from storage.dataset.folder import LOCAL_SCHEMES
from tests.pipelines import hostile_datasets

__all__ = ["Case", "cases", "fault_of", "prepared_only"]

CANARY = "c4n4ry"
MAX_LINE_CHARS = 5000
DIGITS = "9" * 5000
# Values in TOML, each for any key.
VALUES = (
    *("true", "false", '"4"', "4.0", "-1", "0", "1e308", "nan", "-inf", "9223372036854775808"),
    *(DIGITS, f"-{DIGITS}", f"1.{DIGITS}", "0x" + "f" * 5000, "2024-01-01", "12:30:00"),
    *('""', '" "', '"\\n"', '"\\u001b[31m"', '"\\u0000"', '"\\u202e"', '"😀"', "'a'"),
    *('"/"', '".."', '"../../etc/passwd"', '"/dev/null"', '"/proc/self/mem"', '"\\\\"', '"{x}"'),
    *("[]", "[[]]", "{}", "[{}]", "{a = {b = {}}}", "[1, 'a', {}]", '["a", "a"]', "[[1], ['a']]"),
    *(
        f'"{"x" * 100_000}"',
        f"[{'1,' * 10_000}]",
        "[" * 3000 + "]" * 3000,
        '"' + "../" * 5000 + '"',
    ),
    *(f'"http://me:{CANARY}@host/v1"', f'"http://host/?key={CANARY}"', f'{{api_key = "{CANARY}"}}'),
    *(f'["http://me:{CANARY}@[::1"]', f'["me:{CANARY}@host"]', '["http://host:99999"]'),
    *('"regex:("', '"regex:(a+)+$"', '"regex:"', '"' + "(" * 2000 + '"', '"openai"', '"pocket"'),
    *("a = b", "", "[", "'", '"""', "\x00", "\ufeff", "= =", "#"),
)
KEYS = (
    *("dataset", "seed", "problems", "engine", "judge_engine", "engines", "engines.x"),
    *("engines.x.use", "generate", "generate.stop", "generate.split", "generate.prompt"),
    *("generate.grader", "generate.temperature", "generate.max_tokens", "generate.top_p"),
    *("generate.traces_per_problem", "problems.use", "problems.count", "problems.paths"),
    *("problems.fields", "problems.limit", "engine.use", "engine.model", "engine.base_urls"),
    *("engine.api_key_env", "engine.extra_body", "engine.timeout", "engine.concurrency"),
    *("engine.omit", "engine.max_n", "engine.retries", "annotators", "annotators.0.use"),
    *("annotators.0.rollouts", "annotators.1.votes", "annotators.1.prompt", "annotators.1.name"),
    *("annotators.1.judge", "annotators.0.engine", "annotators.99.use", "annotators.x.use"),
    *("label", "label.use", "label.rule", "label.min_agreeing", "filters", "filters.0.use"),
    *("filters.0.negatives_per_positive", "shards", "shards.problems_per_shard", "prices.prompt"),
    *("nope", "", ".", "a..b", "generate.nope", "engine.nope", "\x1b", "a\nb", "é", "'a'"),
    *(".".join("abcdefgh" * 200), "x" * 10_000, "annotators.9" + "9" * 5000, "seed.a.b"),
)
SCHEMES = ("", "file", "local", "memory", "zip", "tar", "reference", "data", "dir", "jupyter", "zz")
NAMES = (
    *("", "/", "//", ".", " ", "x", "a\nb", "a\x1bb", "\u202e", "\udcff", "::", "a::b", "x\x00"),
    *("x" * 300, "/proc/x", "/dev/null", "/dev/null/x", "run.toml", "[::1", "h:99999/a", "?a=b"),
    *(f"me:{CANARY}@host/x", "~nobody/x", "%00", "{date}", "CON", "a" + "/b" * 3000),
)
COMMANDS = ("sql", "score", "verify", "export")


@dataclass(frozen=True)
class Case:
    """The arguments of a command, and the run file in its folder."""

    arguments: Sequence[str]
    run_file: bytes


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield cases: the same for the same seed."""
    source = random.Random(seed)  # for tests
    kinds = (_changed_value, _changed_text, _override, _location)
    for number in range(count):
        yield kinds[number % len(kinds)](source)


def _base() -> dict[str, Any]:
    return {
        "dataset": "data",
        "problems": {"use": "word_problems", "count": 2},
        "engine": {"use": "openai", "model": "m", "base_urls": ["http://127.0.0.1:9/v1"]},
        "generate": {"traces_per_problem": 2},
        "annotators": [{"use": "monte_carlo", "rollouts": 2}, {"use": "judge", "votes": 1}],
        "label": {"use": "consensus"},
        "filters": [{"use": "balance"}],
    }


def _changed_value(source: random.Random) -> Case:
    """Return a run file in which one key has another value, in the syntax of TOML."""
    lines = tomli_w.dumps(_base()).splitlines()
    place = source.randrange(len(lines))
    key, equals, _ = lines[place].partition(" = ")
    if equals and source.random() < 0.7:
        lines[place] = f"{key} = {source.choice(VALUES)}"
    else:
        lines.insert(place, f"{source.choice(KEYS)} = {source.choice(VALUES)}")
    return Case(("run", "run.toml"), "\n".join(lines).encode("utf-8", "surrogatepass"))


def _changed_text(source: random.Random) -> Case:
    """Return a run file that is truncated, damaged or repeated in part."""
    text = bytearray(tomli_w.dumps(_base()).encode())
    for _ in range(source.randint(1, 4)):
        start = source.randrange(len(text) + 1)
        end = min(len(text), start + source.randint(0, 30))
        action = source.randrange(4)
        if action == 0:
            del text[start:end]
        elif action == 1:
            text[start:start] = source.randbytes(source.randint(1, 8))
        elif action == 2:
            text[start:start] = text[start:end]
        else:
            del text[start:]
    return Case((source.choice(("run", "check", "label")), "run.toml"), bytes(text))


def _override(source: random.Random) -> Case:
    arguments = ["run", "run.toml"]
    for _ in range(source.randint(1, 2)):
        setting = f"{source.choice(KEYS)}={source.choice(VALUES)}"
        if source.random() < 0.1:
            setting = setting.replace("=", "")
        arguments += ["--set", setting]
    return Case(arguments, tomli_w.dumps(_base()).encode())


def _location(source: random.Random) -> Case:
    scheme = source.choice(SCHEMES)
    name = source.choice(NAMES)
    if CANARY in name and scheme in ("", *LOCAL_SCHEMES):
        name = "x"  # there it is the name of a folder
    location = f"{scheme}://{name}" if scheme else name
    command = source.choice((*COMMANDS, "run", "label"))
    if command in COMMANDS:
        further = {"sql": ["SELECT 1"], "export": ["trl", "--to", "out"]}
        arguments = [command, *further.get(command, []), "--dataset", location]
        return Case(arguments, b"")
    setting = f"dataset={location}"
    return Case([command, "run.toml", "--set", setting], tomli_w.dumps(_base()).encode())


@contextlib.contextmanager
def prepared_only() -> Iterator[None]:
    """Prepare runs and do not perform them."""

    async def no_check(*_: object, **__: object) -> int:
        return 0

    with (
        mock.patch("pipelines.cli.run_flow._perform", side_effect=SystemExit(0)),
        mock.patch("pipelines.cli.commands.check._print_all", no_check),
        # It reads the files of all installed packages.
        mock.patch("pipelines.cli.environment_guard.check_names"),
        mock.patch("gc.freeze"),
    ):
        yield


def fault_of(case: Case, folder: Path) -> str:
    """Run a case in a folder, which is the current one; return what is wrong with the result."""
    (folder / "run.toml").write_bytes(case.run_file)
    out = io.StringIO()
    err = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["stepmark", *case.arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        except BaseException as error:  # noqa: BLE001  # what it is about
            return f"raised {type(error).__name__}: {error}"[:MAX_LINE_CHARS]
    return _fault(status, out.getvalue(), err.getvalue())


def _fault(status: object, out: str, err: str) -> str:
    if CANARY in out + err:
        return f"a secret is printed: {out} {err}"
    if status == 0:
        return ""
    if status != 2 or not err.startswith("stepmark: ") or err.count("\n") != 1:
        return f"status {status}: {err}"
    if len(err) > MAX_LINE_CHARS:
        return f"{len(err)} characters: {err[:200]}"
    if re.search(f"[{HIDDEN}]", err):
        return f"hidden characters: {err!r}"
    # The first line of a run is printed before the run is prepared.
    rest = re.sub(r"\A(?:run|label) .* into.*\n", "", out)
    return f"output: {rest}" if rest else ""


def _search(seed: int, count: int) -> int:
    """Print the faults of generated cases, and return their number."""
    faults = 0
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), prepared_only():
        for case in cases(seed, count):
            fault = fault_of(case, Path(name))
            if fault:
                faults += 1
                print(repr(case)[:500], fault[:500], sep="\n  ")  # noqa: T201
    print(f"{count} cases, {faults} faults")  # noqa: T201
    return faults


def _search_datasets(seed: int, count: int) -> int:
    """Print the faults of commands on damaged datasets, and return their number."""
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        original = Path(name, "original")
        hostile_datasets.make_dataset(original)
        for number, case in enumerate(hostile_datasets.cases(original, seed, count)):
            folder = Path(name, str(number))
            fault = hostile_datasets.fault_of(case, original, folder)
            if fault:
                faults += 1
                print(repr(case)[:500], fault[:1500], sep="\n  ", flush=True)  # noqa: T201
            shutil.rmtree(folder)
    print(f"{count} datasets, {faults} faults")  # noqa: T201
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--datasets", type=int, help="The number of damaged datasets: 1 in 20.")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    datasets = options.count // 20 if options.datasets is None else options.datasets
    found = _search(options.seed, options.count) + _search_datasets(options.seed, datasets)
    raise SystemExit(1 if found else 0)
