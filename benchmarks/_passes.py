"""The three ways to the same completions that are timed against each other, on one machine and one model."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil  # type: ignore[import-untyped]

from benchmarks._workload import Workload
from engines import _async_llm
from engines.base import Completion, Engine, Prompt, Scored
from engines.vllm import VLLM
from pipelines.meter import Meter
from pipelines.plan import Plan
from pipelines.stages import Job
from stepmark.records import Sampling
from storage.dataset import Dataset

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput

__all__ = ["BareAsync", "BareCall", "Pass", "Product", "Way"]

# A full batch: what the other engine has been through by writing the traces.
WARM_UP_REQUESTS = 512

Requests = Sequence[tuple[Prompt, Sampling]]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One timed pass."""

    requests: int
    completions: int
    generated_tokens: int
    cached_share: float
    """Of the prompts' tokens, those that the prefix cache held."""
    seconds: float
    own_cores: float
    """Processor cores that this process kept busy; it makes requests, reads answers and hands them to the graders."""
    foreign_cores: float
    """Cores that other programs kept busy meanwhile; near zero, or the pass says nothing."""

    @property
    def speed(self) -> float:
        """Generated tokens per second."""
        return self.generated_tokens / self.seconds


class Way(Protocol):
    """Something that can be timed; the prefix cache is empty when a pass starts."""

    async def run(self, requests: Requests) -> Pass:
        """Time one pass over the requests."""
        ...


@dataclass(kw_only=True)
class Product:
    """The stage of a real run: `binary_search` over every trace at once, graded in fresh workers, its rows written.

    It decides for itself what to ask, and leaves it in `asked`.
    """

    plan: Plan
    running: _async_llm.Running
    work: Workload
    folder: Path
    asked: Requests = ()

    async def run(self, requests: Requests) -> Pass:
        """Annotate; the requests given are not looked at."""
        del requests
        assert await self.running.llm.reset_prefix_cache(), "nothing is running, so the cache can be emptied"
        assert self.plan.engine is not None
        engine = _Recording(engine=self.plan.engine)
        job = Job(plan=replace(self.plan, engine=engine), dataset=Dataset(str(self.folder / str(time.time_ns()))), meter=Meter())
        self.work.write_into(job.dataset)
        (method,) = self.plan.annotators
        watch = _Stopwatch()
        await job.make_annotations(0, method)
        times = watch.read()
        await job.workers.close()
        assert not job.meter.failed.total(), "a trace that failed asks for less than it should"
        self.asked = engine.requests
        return Pass(
            requests=len(engine.requests),
            completions=job.meter.rollouts,
            generated_tokens=job.meter.generated_tokens,
            cached_share=job.meter.cached_tokens / job.meter.prompt_tokens,
            **times,
        )


@dataclass(kw_only=True)
class BareAsync:
    """The product's own vLLM, given all requests at once, as tokens; nothing is done with the answers."""

    running: _async_llm.Running

    async def run(self, requests: Requests) -> Pass:
        """Gather all requests."""
        assert await self.running.llm.reset_prefix_cache(), "nothing is running, so the cache can be emptied"
        calls = [(self.running._tokens(prompt), _async_llm._parameters(sampling)) for prompt, sampling in requests]
        watch = _Stopwatch()
        outputs = await asyncio.gather(*(self.running._generate(*call) for call in calls))
        return _bare(outputs, watch.read())


@dataclass(kw_only=True)
class BareCall:
    """One call of `vllm.LLM.generate`, with vLLM's own defaults for it and an engine of its own, which idles while others are timed."""

    running: _async_llm.Running
    llm: "LLM"

    @classmethod
    def start(cls, engine: VLLM, running: _async_llm.Running) -> "BareCall":
        """Start a second vLLM on the arguments of the first and warm it up; `running` only cuts prompts into tokens."""
        from vllm import LLM, SamplingParams, TokensPrompt

        llm = LLM(**(_async_llm.CPU_ARGUMENTS | dict(engine._arguments())))
        warm = TokensPrompt(prompt_token_ids=[0] * _async_llm.WARM_UP_TOKENS)
        llm.generate([warm] * WARM_UP_REQUESTS, SamplingParams(max_tokens=32, ignore_eos=True), use_tqdm=False)
        return cls(running=running, llm=llm)

    async def run(self, requests: Requests) -> Pass:
        """Generate, off the event loop."""
        from vllm import TokensPrompt

        assert self.llm.reset_prefix_cache(), "nothing is running, so the cache can be emptied"
        prompts = [TokensPrompt(prompt_token_ids=list(self.running._tokens(prompt))) for prompt, _ in requests]
        parameters = [_async_llm._parameters(sampling) for _, sampling in requests]
        watch = _Stopwatch()
        outputs = await asyncio.to_thread(self.llm.generate, prompts, parameters, use_tqdm=False)
        return _bare(outputs, watch.read())

    def stop(self) -> None:
        """End its processes."""
        self.llm.llm_engine.engine_core.shutdown()


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """An engine that writes down what it is asked."""

    engine: Engine
    requests: list[tuple[Prompt, Sampling]] = field(default_factory=list)

    @property
    def model_name(self) -> str:
        return self.engine.model_name

    @property
    def identity(self) -> str:
        return self.engine.identity

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        self.requests.append((prompt, sampling))
        return await self.engine.complete(prompt, sampling)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        return await self.engine.score(prompt, continuation)

    async def close(self) -> None:
        await self.engine.close()


class _Stopwatch:
    """Seconds since it was made, and who used the processor meanwhile: this process, or programs that are no part of it."""

    def __init__(self) -> None:
        self._started = self._now()

    def read(self) -> Mapping[str, float]:
        seconds, own, ours, everyone = (now - then for now, then in zip(self._now(), self._started, strict=True))
        return {"seconds": seconds, "own_cores": own / seconds, "foreign_cores": max(0.0, everyone - ours) / seconds}

    def _now(self) -> tuple[float, float, float, float]:
        machine, process = psutil.cpu_times(), psutil.Process()
        everyone = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
        ours = sum(_used(one) for one in (process, *process.children(recursive=True)))
        return time.perf_counter(), time.process_time(), ours, everyone


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _bare(outputs: Sequence["RequestOutput"], times: Mapping[str, float]) -> Pass:
    prompt_tokens = sum(len(output.prompt_token_ids or ()) for output in outputs)
    return Pass(
        requests=len(outputs),
        completions=sum(len(output.outputs) for output in outputs),
        generated_tokens=sum(len(choice.token_ids) for output in outputs for choice in output.outputs),
        cached_share=sum(output.num_cached_tokens or 0 for output in outputs) / prompt_tokens,
        **times,
    )
