"""What a run has done so far: counted as it happens, shown live, summed up at the end."""

import time
from collections import Counter

from stepmark.records import Cost

__all__ = ["Meter"]


class Meter:
    """Counters of one run, of this process only: what an earlier run left finished is not counted again."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.done: Counter[str] = Counter()
        """Items by stage: "problems", "traces", a method's name, "labels"."""
        self.total: Counter[str] = Counter()
        """Items that are known to be to do, by stage."""
        self.failed: Counter[str] = Counter()
        self.rollouts = 0
        self.aborted = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0

    def expect(self, stage: str, count: int) -> None:
        """`count` more items of a stage are to be done."""
        self.total[stage] += count

    def finish(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        """`count` items of a stage are done."""
        self.done[stage] += count
        self.failed[stage] += count if failed else 0

    def pay(self, cost: Cost) -> None:
        """Add to the bill."""
        self.rollouts += cost.rollouts
        self.aborted += cost.aborted
        self.prompt_tokens += cost.prompt_tokens
        self.cached_tokens += cost.cached_tokens
        self.generated_tokens += cost.generated_tokens

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self.started
