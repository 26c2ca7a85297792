"""Counters of a run, updated as it proceeds; progress display and summary read them."""

import time
from collections import Counter

from stepmark.records import Cost

__all__ = ["Meter"]


class Meter:
    """Counters of one run in this process. What an earlier run finished is not counted."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.done: Counter[str] = Counter()
        """Finished items by stage: "problems", "traces", a method's name, "labels"."""
        self.total: Counter[str] = Counter()
        """Items to do by stage, as far as they are known."""
        self.failed: Counter[str] = Counter()
        """Finished items by stage that failed."""
        self.rollouts = 0
        self.aborted = 0
        """Completions whose request was cancelled."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        """Prompt tokens that the engine had cached."""
        self.generated_tokens = 0

    def expect(self, stage: str, count: int) -> None:
        """Add items that a stage has to do."""
        self.total[stage] += count

    def finish(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        """Add items that a stage has done."""
        self.done[stage] += count
        if failed:
            self.failed[stage] += count

    def add_cost(self, cost: Cost) -> None:
        """Add the cost of finished items."""
        self.rollouts += cost.rollouts
        self.aborted += cost.aborted
        self.prompt_tokens += cost.prompt_tokens
        self.cached_tokens += cost.cached_tokens
        self.generated_tokens += cost.generated_tokens

    @property
    def seconds(self) -> float:
        """The wall time since the meter was created, in seconds."""
        return time.perf_counter() - self.started
