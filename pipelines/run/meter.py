"""Counters of a run, updated as it proceeds; progress display and summary read them."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from engines.base import Completion, Scored, ServersHealth
from stepmark.records import Cost

__all__ = ["DURATION_BOUNDS", "MILLISECONDS", "Meter"]

DURATION_BOUNDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 14400.0, 86400.0)
"""The upper bounds of the buckets of request durations, in seconds. A batch takes hours."""
MILLISECONDS = 1000.0
# The first traces that a method finishes are those without a request, or the easiest ones: from 4
# of 400 in a minute, a run of some minutes would seem to take hours. Of small stages a tenth is
# enough.
ITEMS_FOR_RATE = 20


class Meter:
    """Counters of one run in this process. What an earlier run finished is not counted."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.done: Counter[str] = Counter()
        """Finished items by stage: "problems", "traces", a method's name, "labels"."""
        self.total: Counter[str] = Counter()
        """Items of the whole run by stage, of stages whose items are known in advance."""
        self.skipped: Counter[str] = Counter()
        """Items by stage whose parts were complete when the run came to them."""
        self.failed: Counter[str] = Counter()
        """Finished items by stage that failed."""
        self.stopped = ""
        """Why the run stopped before its end; empty if it did not."""
        self.kept = 0
        """Labels that were kept, of all in `done`."""
        self.rollouts = 0
        self.aborted = 0
        """Completions whose request was cancelled."""
        self.prompt_tokens = 0
        """Tokens that the engines of this run read; stored completions are not counted."""
        self.cached_tokens = 0
        """Prompt tokens that the engine had cached."""
        self.generated_tokens = 0
        """Tokens that the engines of this run wrote; stored completions are not counted."""
        self.prompt_tokens_by_engine: Counter[str] = Counter()
        self.generated_tokens_by_engine: Counter[str] = Counter()
        self.open_requests: Counter[str] = Counter()
        """Requests without an answer by engine."""
        self.request_durations: Counter[str] = Counter()
        """Requests that have ended, by "engine: bucket"; a bucket is an index of the bounds."""
        self.request_milliseconds: Counter[str] = Counter()
        """The time of all requests that have ended, by engine."""
        self.reused = 0
        """Completions that were stored by an earlier run, or by an earlier try of this one."""
        self.reused_tokens = 0
        """Generated tokens of the reused completions."""
        self.removed: Counter[str] = Counter()
        """Removed annotations by method: those of methods that the run file does not name."""
        self.damaged: Counter[str] = Counter()
        """Damaged files of completions, each as one line. Their completions are requested again."""
        self.faults: Counter[str] = Counter()
        """Faults of engines that repeated requests, by engine and kind: "judge_engine: busy"."""

        self.worker_servers: dict[int, Mapping[str, ServersHealth]] = {}
        """The servers by the name of the engine, as each worker process sees them."""

    def expect(self, stage: str, count: int) -> None:
        """Set the number of items of a stage in the whole run."""
        self.total[stage] = count

    def skip(self, stage: str, count: int) -> None:
        """Add items of a stage whose part is complete."""
        self.skipped[stage] += count

    def finish(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        """Add items that a stage has done."""
        self.done[stage] += count
        if failed:
            self.failed[stage] += count

    def add_rollouts(self, cost: Cost) -> None:
        """Add the rollouts of finished items, and those that were aborted."""
        self.rollouts += cost.rollouts
        self.aborted += cost.aborted

    def add_results(self, results: Iterable[Completion | Scored], engine: str = "") -> None:
        """Add the tokens of what an engine returned."""
        for result in results:
            self.prompt_tokens += result.prompt_tokens
            self.cached_tokens += result.cached_tokens
            self.prompt_tokens_by_engine[engine] += result.prompt_tokens
            if isinstance(result, Completion):
                self.generated_tokens += result.generated_tokens
                self.generated_tokens_by_engine[engine] += result.generated_tokens

    @contextmanager
    def timed_request(self, engine: str) -> Iterator[None]:
        """Count a request that is open while the block runs, and the time that it takes."""
        started = time.perf_counter()
        self.open_requests[engine] += 1
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.open_requests[engine] -= 1
            self.request_durations[f"{engine}: {bisect_left(DURATION_BOUNDS, seconds)}"] += 1
            self.request_milliseconds[engine] += round(MILLISECONDS * seconds)

    def add_reused(self, completions: Iterable[Completion]) -> None:
        """Add completions that were stored, so that no engine was asked for them."""
        for completion in completions:
            self.reused += 1
            self.reused_tokens += completion.generated_tokens

    def add_faults(self, engine: str, faults: Mapping[str, int]) -> None:
        """Add the faults of an engine by kind."""
        for kind, count in faults.items():
            self.faults[f"{engine}: {kind}"] += count

    def faults_of(self, engine: str) -> Mapping[str, int]:
        """Return the faults of an engine by kind."""
        prefix = f"{engine}: "
        # Copied at once: the display reads them in another thread.
        counts = dict(self.faults)
        return {
            name.removeprefix(prefix): count
            for name, count in counts.items()
            if name.startswith(prefix)
        }

    def add_damaged(self, line: str) -> None:
        """Add a damaged file of completions; the line names it."""
        self.damaged[line] += 1

    def servers(self) -> Mapping[str, ServersHealth]:
        """Return the servers by the name of the engine, as all workers together see them.

        Workers have the same servers. One that any worker finds down counts as down.
        """
        servers = dict[str, ServersHealth]()
        for engines in list(self.worker_servers.values()):
            for name, health in engines.items():
                other = servers.get(name)
                if other is not None:
                    health = ServersHealth(
                        up=min(health.up, other.up),
                        down=max(health.down, other.down),
                        is_paused=health.is_paused or other.is_paused,
                        in_flight=health.in_flight + other.in_flight,
                    )
                servers[name] = health
        return servers

    def finished(self, stage: str) -> int:
        """Return the number of finished items of a stage, those of earlier runs included."""
        finished = self.done[stage] + self.skipped[stage]
        # A stage that is retried counts items again.
        return min(finished, self.total[stage]) if stage in self.total else finished

    @property
    def seconds_left(self) -> float | None:
        """The estimated time to the end of the slowest stage, in seconds.

        Each stage is assumed to go on at its mean rate of this run. None until all stages have
        finished enough items for a rate; a stage waits for the stages before it.
        """
        left = 0.0
        for stage, total in list(self.total.items()):
            remaining = total - self.finished(stage)
            if remaining <= 0:
                continue
            items_of_run = total - self.skipped[stage]
            if self.done[stage] < min(ITEMS_FOR_RATE, items_of_run / 10):
                return None
            left = max(left, remaining * self.seconds / self.done[stage])
        return left

    @property
    def seconds(self) -> float:
        """The wall time since the meter was created, in seconds."""
        return time.perf_counter() - self.started
