"""Kill a run at random moments until it is complete, and measure what the kills cost."""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import tomli_w

from benchmarks.common.console import print_json, print_progress
from benchmarks.common.run_files import pocket_generation
from benchmarks.torture.comparison import differences, stored_completions
from benchmarks.torture.process import COMMAND, STAGES
from benchmarks.torture.token_log import TokenCounts, read_counts
from storage.dataset.dataset import Dataset

__all__ = ["Result", "Torture", "TortureSettings", "main"]

REPOSITORY = Path(__file__).parents[2]
# The largest number of tokens that the killed runs may write, relative to the undisturbed run.
TARGET = 1.05
# Every process of a run inherits this variable, so that orphans can be found.
MARKER = "STEPMARK_TORTURE"
# A process that makes no progress for this time is an error, also on a busy machine.
PATIENCE_SECONDS = 600.0
POLL_SECONDS = 0.01
# A process is killed up to this time after it has written its share of tokens, so that kills also
# hit stages without requests.
LARGEST_EXTRA_SECONDS = 0.5
# One kill in eight comes before the process has written a token. A start takes about 2 s.
EARLY_SHARE = 0.125
LARGEST_EARLY_SECONDS = 3.0
# The kills leave this share of the tokens to the last process.
LAST_SHARE = 0.03


@dataclass(frozen=True, kw_only=True)
class TortureSettings:
    """The size of the run that is tortured: short solutions, with the methods of the demo.

    A kill loses the completions that are unfinished, and those of the last `flush_seconds`. Short
    completions in small batches therefore keep the number of tokens small that is needed to
    measure a small loss.
    """

    problems: int
    flush_seconds: float = 0.02
    problems_per_shard: int = 8

    def run_file(self, folder: Path) -> Mapping[str, Any]:
        """Return the run file for a dataset in a folder."""
        return {
            "dataset": str(folder / "dataset"),
            "problems": {
                "use": "word_problems",
                "count": self.problems,
                "min_steps": 2,
                "max_steps": 3,
            },
            "engine": {"use": "pocket", "compute_type": "int8_float32", "workers": 1},
            "generate": dict(pocket_generation(2)),
            "annotators": [
                {"use": "monte_carlo", "rollouts": 2},
                {"use": "binary_search", "rollouts": 2},
                {"use": "formal"},
                {"use": "judge", "prompt": "pocket", "votes": 2, "max_tokens": 200},
            ],
            "label": {"use": "consensus", "rule": "mc_and_judge"},
            # Small shards, of which several are in flight at once.
            "shards": {
                "problems_per_shard": self.problems_per_shard,
                "shards_in_flight": 3,
                "flush_seconds": self.flush_seconds,
            },
        }


@dataclass(kw_only=True)
class Result:
    """What a tortured run cost, and how its dataset differs from that of an undisturbed run."""

    undisturbed: TokenCounts
    killed: TokenCounts
    kills: int
    errors: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """All tokens that the engine wrote, relative to the undisturbed run."""
        return self.killed.tokens / self.undisturbed.tokens

    def to_dict(self) -> Mapping[str, Any]:
        """Return the result as a table of plain values."""
        lost = self.killed - self.undisturbed
        return {
            "kills": self.kills,
            "undisturbed_tokens": self.undisturbed.tokens,
            "tokens": self.killed.tokens,
            "ratio": round(self.ratio, 4),
            "target": TARGET,
            "lost_tokens_per_kill": round(lost.tokens / max(1, self.kills), 1),
            # Tokens of finished completions, which were not stored yet when the process was killed.
            "lost_finished_tokens": lost.finished_tokens,
            # Tokens of completions that the kill interrupted.
            "lost_unfinished_tokens": lost.tokens - lost.finished_tokens,
            "lost_completions": lost.completions,
            "errors": self.errors,
        }


@dataclass(frozen=True, kw_only=True)
class Torture:
    """An undisturbed run and a run that is killed, in two folders of `folder`.

    Args:
        folder: An existing empty folder.
        kills: The number of kills.
        seed: The seed of the moments of the kills.
        command_every: The number of starts among which one is the command; 0 for none. The others
            run the stages without Prefect.
    """

    folder: Path
    kills: int
    seed: int
    command_every: int = 0

    def run(self, settings: TortureSettings) -> Result:
        """Run both, and compare them."""
        calm = self._prepare("undisturbed", settings)
        started = time.monotonic()
        with _process(calm, STAGES) as process:
            _wait_for_end(process)
        if process.returncode != 0:
            raise SystemExit(f"the undisturbed run failed: {_errors_of(calm)}")
        expected = read_counts(calm)
        print_progress(
            f"undisturbed: {expected.tokens} tokens in {time.monotonic() - started:.0f} s"
        )
        disturbed = self._prepare("killed", settings)
        result = Result(undisturbed=expected, killed=TokenCounts(), kills=0)
        self._kill_until_complete(disturbed, result)
        result.killed = read_counts(disturbed)
        result.errors.extend(differences(_dataset(calm), _dataset(disturbed)))
        return result

    def _prepare(self, name: str, settings: TortureSettings) -> Path:
        folder = self.folder / name
        folder.mkdir()
        content = tomli_w.dumps(settings.run_file(folder))
        (folder / "run.toml").write_text(content, encoding="utf-8")
        return folder

    def _kill_until_complete(self, folder: Path, result: Result) -> None:
        """Start the run `kills` + 1 times, and kill all processes but the last."""
        chance = random.Random(self.seed)
        progress = _Progress(folder)
        for number in range(1, self.kills + 1):
            mode = STAGES
            if self.command_every and number % self.command_every == 0:
                mode = COMMAND
            remaining = result.undisturbed.tokens * (1 - LAST_SHARE) - progress.stored_tokens
            mean_tokens = max(0.0, remaining) / (self.kills - number + 1)
            with _process(folder, mode) as process:
                has_ended = _wait_for_moment(process, folder, chance, mean_tokens)
                if not has_ended:
                    os.killpg(process.pid, signal.SIGKILL)
                    result.kills += 1
                process.wait()
            outcome = f"kill {number}"
            if has_ended:
                outcome = f"start {number} ended by itself"
                if process.returncode != 0:
                    result.errors.append(f"{outcome}, status {process.returncode}")
            if orphans := _orphans(folder):
                result.errors.append(f"{outcome}: processes are left: {', '.join(orphans)}")
            print_progress(f"{outcome} ({mode}): {progress.update()}")
        with _process(folder, COMMAND if self.command_every else STAGES) as process:
            _wait_for_end(process)
        if process.returncode != 0:
            result.errors.append(f"the last run failed: {_errors_of(folder)}")
        print_progress(f"last run: {progress.update()}")


class _Progress:
    """What has been won since the kill before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = 0
        self._completions = 0
        self._counts = TokenCounts()
        self.stored_tokens = 0

    def update(self) -> str:
        """Return what the last process won and lost."""
        dataset = _dataset(self._folder)
        parts = len(list(Path(dataset.uri).glob("*/**/part-*.parquet")))
        stored = stored_completions(dataset)
        counts = read_counts(self._folder)
        added = counts - self._counts
        stored_tokens = sum(stored.values())
        won_tokens = stored_tokens - self.stored_tokens
        text = (
            f"{parts} parts ({parts - self._parts:+}), "
            f"{len(stored)} completions ({len(stored) - self._completions:+}), "
            f"{added.tokens} tokens written, {won_tokens} won, "
            f"{added.finished_tokens - won_tokens} finished and lost, "
            f"{added.tokens - added.finished_tokens} unfinished"
        )
        self._parts = parts
        self._completions = len(stored)
        self._counts = counts
        self.stored_tokens = stored_tokens
        return text


@contextmanager
def _process(folder: Path, mode: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the run in a process group, and kill the group in the end if it still exists."""
    environment = dict[str, str]()
    for name, value in os.environ.items():
        # The process starts a server instead of using that of the caller.
        if not name.startswith("PREFECT_"):
            environment[name] = value
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment |= {"HOME": str(home), MARKER: str(folder)}
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.torture.process",
                str(folder),
                mode,
                str(folder / "run.toml"),
            ],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for_moment(
    process: "subprocess.Popen[bytes]", folder: Path, chance: random.Random, mean_tokens: float
) -> bool:
    """Wait for the random moment of a kill, and return whether the process ended before."""
    tokens = chance.uniform(0, 2 * mean_tokens)
    seconds = chance.uniform(0, LARGEST_EXTRA_SECONDS)
    if chance.random() < EARLY_SHARE:
        tokens = 0
        seconds = chance.uniform(0, LARGEST_EARLY_SECONDS)
    # Counted in tokens and not in time, so that the kills are spread in the same way on a busy
    # machine. The size of the file is the number of tokens; the other file would have to be parsed.
    log = folder / "tokens"
    before = 0
    if log.exists():
        before = log.stat().st_size
    deadline = time.monotonic() + PATIENCE_SECONDS
    while tokens and process.poll() is None:
        if log.exists() and log.stat().st_size - before >= tokens:
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"no progress: {_errors_of(folder)}")
        time.sleep(POLL_SECONDS)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _wait_for_end(process: "subprocess.Popen[bytes]") -> None:
    # Far longer than any run of these sizes; nothing is measured.
    process.wait(6 * PATIENCE_SECONDS)


def _orphans(folder: Path) -> Sequence[str]:
    """Return the processes of a run that still exist some seconds after its end."""
    deadline = time.monotonic() + 10
    while True:
        alive = list[str]()
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == str(folder):
                    alive.append(" ".join(process.cmdline()) or process.name())
            except psutil.Error:
                continue  # it has ended, or belongs to another user
        if not alive or time.monotonic() > deadline:
            return alive
        # Children notice the end of their parent, and end themselves.
        time.sleep(0.1)


def _dataset(folder: Path) -> Dataset:
    return Dataset(str(folder / "dataset"))


def _errors_of(folder: Path) -> str:
    return (folder / "errors.txt").read_text(encoding="utf-8", errors="replace").strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="the number of kills")
    parser.add_argument("--problems", type=int, default=300, help="the number of problems")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the moments of the kills")
    parser.add_argument(
        "--flush-seconds",
        type=float,
        default=TortureSettings.flush_seconds,
        help="the time after which a completion is stored at the latest",
    )
    parser.add_argument(
        "--command-every",
        type=int,
        default=20,
        help="one start of this many is the command with Prefect; 0 for none",
    )
    parser.add_argument("--keep", type=Path, help="an empty folder in which the datasets are kept")
    return parser.parse_args()


def main() -> None:
    """Torture a run and print JSON; the exit status is 1 if a target is missed."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="stepmark-torture-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        torture = Torture(
            folder=folder.resolve(),
            kills=options.kills,
            seed=options.seed,
            command_every=options.command_every,
        )
        started = time.monotonic()
        settings = TortureSettings(problems=options.problems, flush_seconds=options.flush_seconds)
        result = torture.run(settings)
    seconds = round(time.monotonic() - started)
    print_json({"problems": options.problems, "seconds": seconds, **result.to_dict()})
    if result.errors or result.ratio > TARGET:
        raise SystemExit(1)
