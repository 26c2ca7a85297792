"""The ways to the same completions that are timed against each other, on one machine and one running vLLM."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil  # type: ignore[import-untyped]

from benchmarks._cores import Clock
from benchmarks._workload import Stage
from engines.base import Completion, EngineWrapper, Prompt
from engines.runtime import async_llm as _async_llm
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from stepmark.records import Sampling
from storage.dataset.dataset import Dataset

if TYPE_CHECKING:
    from vllm import RequestOutput

__all__ = ["AllAtOnce", "OneAtATime", "Pass", "Product", "Request", "Way", "by_problem"]

CORES: int = psutil.cpu_count()

Request = tuple[Prompt, Sampling]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One timed pass."""

    requests: int
    completions: int
    generated_tokens: int
    cached_share: float
    """Of the prompts' tokens, those that the prefix cache held."""
    seconds: float
    thin_share: float
    """Of the time, the part in which fewer completions were asked for than the engine writes at once: a tail, or searches that wait."""
    own_cores: float
    """Processor cores that this process kept busy; it makes requests, reads answers and hands them to the graders."""
    foreign_cores: float
    """Cores that other programs kept busy meanwhile; near zero, or the pass says nothing."""

    @property
    def speed(self) -> float:
        """Generated tokens per second."""
        return self.generated_tokens / self.seconds

    @property
    def free_speed(self) -> float:
        """Generated tokens per second of a core that other programs left."""
        return self.speed / (CORES - self.foreign_cores)


class Way(Protocol):
    """Something that can be timed; the prefix cache is empty when a pass starts."""

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Time one pass over the requests."""
        ...


@dataclass(kw_only=True)
class Product:
    """The stage of a real run: everything at once, graded in fresh workers, its rows written.

    It decides for itself what to ask, and leaves it in `asked`.
    """

    plan: Plan
    running: _async_llm.Running
    stage: Stage
    folder: Path
    asked: Sequence[Request] = ()

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Do the stage; the requests given are not looked at."""
        del requests
        assert self.plan.engine is not None
        dataset = Dataset(str(self.folder / str(time.time_ns())))
        self.stage.write_into(dataset)
        watch = await _started(self.running)
        engine = _Recording(engine=self.plan.engine, watch=watch)
        job = Job(plan=replace(self.plan, engine=engine), dataset=dataset, meter=Meter())
        try:
            await self.stage.run(job)
            done = watch.read(engine.answers)
        finally:
            await job.workers.close()
        assert not job.meter.failed.total(), "a trace that failed asks for less than it should"
        self.asked = engine.requests
        return done


@dataclass(kw_only=True)
class AllAtOnce:
    """The product's own vLLM, given all requests at once, as tokens; nothing is done with the answers."""

    running: _async_llm.Running

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Gather all requests."""
        calls = [
            (self.running.tokenize(prompt), _async_llm.sampling_parameters(sampling))
            for prompt, sampling in requests
        ]
        watch = await _started(self.running)

        async def ask(tokens: Sequence[int], parameters: object, n: int) -> Sequence[Completion]:
            watch.ask(n)
            output: RequestOutput = await self.running.generate(tokens, parameters)
            watch.ask(-n)
            return _async_llm.completions_of(output)

        answers = await asyncio.gather(
            *(ask(*call, sampling.n) for call, (_, sampling) in zip(calls, requests, strict=True))
        )
        return watch.read(answers)


@dataclass(kw_only=True)
class OneAtATime:
    """The loop of the peers, OpenR's for one: problem after problem, prefix after prefix, K samples of one prompt and wait.

    What it asks is what the product asked, so it need not grade to know where its search goes on, which spares it that. It stops after
    the request that takes it past `seconds`: its speed is that of the first problems.
    """

    running: _async_llm.Running
    seconds: float

    async def run(self, requests: Sequence[Request]) -> Pass:
        """Ask one by one."""
        watch = await _started(self.running)
        answers = list[Sequence[Completion]]()
        for prompt, sampling in by_problem(requests):
            watch.ask(sampling.n)
            answers.append(await self.running.complete(prompt, sampling))
            watch.ask(-sampling.n)
            if watch.seconds > self.seconds:
                break
        return watch.read(answers)


def by_problem(requests: Sequence[Request]) -> Sequence[Request]:
    """The requests of the first problem, then those of the next, each in the order in which they were made."""
    places = {
        user: place
        for place, user in enumerate(dict.fromkeys(prompt.user for prompt, _ in requests))
    }
    return sorted(requests, key=lambda request: places[request[0].user])


@dataclass(frozen=True, kw_only=True)
class _Recording(EngineWrapper):
    """An engine that writes down what it is asked, and what that cost."""

    watch: "_Stopwatch"
    requests: list[Request] = field(default_factory=list)
    answers: list[Sequence[Completion]] = field(default_factory=list)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        self.requests.append((prompt, sampling))
        self.watch.ask(sampling.n)
        completions = await self.engine.complete(prompt, sampling)
        self.watch.ask(-sampling.n)
        self.answers.append(completions)
        return completions


async def _started(running: _async_llm.Running) -> "_Stopwatch":
    """A stopwatch that starts with an empty prefix cache."""
    assert await running.llm.reset_prefix_cache(), "nothing is running, so the cache can be emptied"
    return _Stopwatch(running.llm.vllm_config.scheduler_config.max_num_seqs)


class _Stopwatch:
    """Seconds since it was made, who used the processor meanwhile, and for how long the engine had less to do than it can."""

    def __init__(self, batch: int) -> None:
        self._batch, self._open, self._thin = batch, 0, 0.0
        self._clock = Clock()
        self._changed = self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._started

    def ask(self, completions: int) -> None:
        """So many more are asked for; fewer, once they are there."""
        now = time.perf_counter()
        if self._open < self._batch:
            self._thin += now - self._changed
        self._open, self._changed = self._open + completions, now

    def read(self, answers: Sequence[Sequence[Completion]]) -> Pass:
        """The pass that ends now with these answers, one a request."""
        self.ask(0)
        used = self._clock.read()
        firsts = [completions[0] for completions in answers]
        return Pass(
            requests=len(answers),
            completions=sum(map(len, answers)),
            generated_tokens=sum(
                completion.generated_tokens for completions in answers for completion in completions
            ),
            cached_share=sum(first.cached_tokens for first in firsts)
            / sum(first.prompt_tokens for first in firsts),
            seconds=used.seconds,
            thin_share=self._thin / used.seconds,
            own_cores=used.own_cores,
            foreign_cores=used.foreign_cores,
        )
