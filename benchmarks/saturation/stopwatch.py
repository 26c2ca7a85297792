"""Measures one pass: its time, its tokens, CPU usage and how full the engine's batch was."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from benchmarks.common.cpu_usage import CpuClock
from engines.base import Completion

__all__ = ["Pass", "Stopwatch"]

CORES: int = psutil.cpu_count()


@dataclass(frozen=True, kw_only=True)
class Pass:
    """The measures of one pass. The field names are keys in the JSON."""

    requests: int
    completions: int
    generated_tokens: int
    cached_share: float
    """The share of the prompts' tokens that were in the prefix cache."""
    seconds: float
    thin_share: float
    """The share of the time in which fewer completions were requested than the engine writes
    concurrently: at the end of a pass, or when searches wait for results."""
    own_cores: float
    """CPU cores that this process kept busy: making requests, reading answers, sending them to the
    graders."""
    foreign_cores: float
    """Cores that other programs kept busy. The measures are meaningless unless it is near zero."""

    @property
    def speed(self) -> float:
        """Generated tokens per second."""
        return self.generated_tokens / self.seconds

    @property
    def free_speed(self) -> float:
        """Generated tokens per second and core that was not used by other programs."""
        return self.speed / (CORES - self.foreign_cores)


class Stopwatch:
    """A stopwatch that starts when it is created.

    It also measures CPU usage, and how long fewer than `batch_size` completions were requested.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._requested = 0
        self._thin_seconds = 0.0
        self._clock = CpuClock()
        self._started = time.perf_counter()
        self._changed = self._started

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    def add_requested(self, completions: int) -> None:
        """Add to the number of requested completions; a negative number when they have arrived."""
        now = time.perf_counter()
        if self._requested < self._batch_size:
            self._thin_seconds += now - self._changed
        self._requested += completions
        self._changed = now

    def read(self, answers: Sequence[Sequence[Completion]]) -> Pass:
        """Return the pass that ends now with these answers, one per request."""
        self.add_requested(0)
        usage = self._clock.read()
        completions = 0
        generated_tokens = 0
        prompt_tokens = 0
        cached_tokens = 0
        for answer in answers:
            completions += len(answer)
            for completion in answer:
                generated_tokens += completion.generated_tokens
            # Only the first completion of a request counts the tokens of the prompt.
            prompt_tokens += answer[0].prompt_tokens
            cached_tokens += answer[0].cached_tokens
        return Pass(
            requests=len(answers),
            completions=completions,
            generated_tokens=generated_tokens,
            cached_share=cached_tokens / prompt_tokens,
            seconds=usage.seconds,
            thin_share=self._thin_seconds / usage.seconds,
            own_cores=usage.own_cores,
            foreign_cores=usage.foreign_cores,
        )
