"""The ways of making the same completions that are compared on one machine and one running vLLM."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.common.stage import Stage
from benchmarks.saturation.stopwatch import Pass, Stopwatch
from engines.base import Completion, EngineWrapper, Prompt
from engines.runtime.async_llm import Running, completions_of, sampling_parameters
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from stepmark.records import Sampling
from storage.dataset.dataset import Dataset

if TYPE_CHECKING:
    from vllm import RequestOutput

__all__ = ["BareVLLM", "Request", "RunStage", "SequentialLoop", "Way", "by_problem"]

Request = tuple[Prompt, Sampling]


class Way(Protocol):
    """A way of making completions that can be timed."""

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Time one pass over the requests. The prefix cache is empty when it starts."""
        ...


@dataclass(kw_only=True)
class RunStage:
    """A stage of a real run: concurrent requests, grading in new worker processes, written rows.

    It makes its own requests and stores them in `requests`.
    """

    plan: Plan
    running: Running
    stage: Stage
    folder: Path
    requests: Sequence[Request] = ()

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Run the stage; the argument is ignored."""
        del requests
        assert self.plan.engine is not None
        # A new dataset for each pass, since a stage skips what is already written.
        dataset = Dataset(str(self.folder / str(time.time_ns())))
        self.stage.write_inputs(dataset)
        stopwatch = await _start_stopwatch(self.running)
        engine = _RecordingEngine(engine=self.plan.engine, stopwatch=stopwatch)
        plan = self.plan.with_engines(self.plan.engines.wrap(lambda _: engine))
        job = Job(plan=plan, dataset=dataset, meter=Meter())
        try:
            await self.stage.run(job)
            measured = stopwatch.read(engine.answers)
        finally:
            # Only the workers: the engine is used again by the next pass.
            await job.workers.close()
        assert not job.meter.failed.total(), "a failed trace makes fewer requests"
        self.requests = engine.requests
        return measured


@dataclass(kw_only=True)
class BareVLLM:
    """The same vLLM, which receives all requests at once as tokens. The answers are discarded."""

    running: Running

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Make all requests concurrently."""
        # Tokenized before the start: only vLLM itself is timed.
        calls = list[tuple[Sequence[int], Any, int]]()
        for prompt, sampling in requests:
            tokens = self.running.tokenize(prompt)
            calls.append((tokens, sampling_parameters(sampling), sampling.n))
        stopwatch = await _start_stopwatch(self.running)

        async def request(tokens: Sequence[int], parameters: Any, n: int) -> Sequence[Completion]:
            stopwatch.add_requested(n)
            output: RequestOutput = await self.running.generate(tokens, parameters)
            stopwatch.add_requested(-n)
            return completions_of(output)

        answers = await asyncio.gather(*(request(*call) for call in calls))
        return stopwatch.read(answers)


@dataclass(kw_only=True)
class SequentialLoop:
    """The loop of other implementations, such as OpenR: one request for K samples after another.

    It repeats the requests of the run, problem by problem and prefix by prefix, so it needs no
    grading to determine where a search continues. It stops after the request that exceeds
    `seconds`: its speed is that of the first problems.
    """

    running: Running
    seconds: float

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Make the requests one after another."""
        stopwatch = await _start_stopwatch(self.running)
        answers = list[Sequence[Completion]]()
        for prompt, sampling in by_problem(requests):
            stopwatch.add_requested(sampling.n)
            answers.append(await self.running.complete(prompt, sampling))
            stopwatch.add_requested(-sampling.n)
            if stopwatch.seconds > self.seconds:
                break
        return stopwatch.read(answers)


def by_problem(requests: Sequence[Request]) -> Sequence[Request]:
    """Return the requests grouped by problem, in the order of their first requests."""
    groups = dict[str, list[Request]]()
    for prompt, sampling in requests:
        groups.setdefault(prompt.user, []).append((prompt, sampling))
    ordered = list[Request]()
    for group in groups.values():
        ordered += group
    return ordered


@dataclass(frozen=True, kw_only=True)
class _RecordingEngine(EngineWrapper):
    """An engine that records its requests and answers."""

    stopwatch: Stopwatch
    requests: list[Request] = field(default_factory=list)
    answers: list[Sequence[Completion]] = field(default_factory=list)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        self.requests.append((prompt, sampling))
        self.stopwatch.add_requested(sampling.n)
        completions = await self.engine.complete(prompt, sampling)
        self.stopwatch.add_requested(-sampling.n)
        self.answers.append(completions)
        return completions


async def _start_stopwatch(running: Running) -> Stopwatch:
    """Empty the prefix cache and return a stopwatch that has just started."""
    assert await running.llm.reset_prefix_cache(), "the cache can be emptied if no request runs"
    return Stopwatch(running.llm.vllm_config.scheduler_config.max_num_seqs)
