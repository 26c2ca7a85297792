"""Count the tokens of outstanding requests, and start the next shard when few remain."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from engines.base import (
    ChecksContinuation,
    Completion,
    CountsFaults,
    Engine,
    EngineWrapper,
    Prompt,
    Scored,
)
from engines.runtime.answered_samples import answered_samples
from pipelines.run.engine_pool import ENGINE
from pipelines.run.meter import Meter
from pipelines.run.spending import Spending
from pipelines.run.tracing import NO_TRACING, Attributes, Span, Tracing
from stepmark.errors import BudgetError, EngineError
from stepmark.records import Sampling

__all__ = ["MeteredEngine", "TokenBudget"]

# A rough estimate for prompts. Engines report prompt tokens only in their answer, and prompts are
# the smaller part of the work.
CHARACTERS_PER_TOKEN = 4
# What the check of a continuation generates at most; most engines need less (see docs/engines.md).
CHECK = Sampling(n=1, max_tokens=380)


@dataclass(kw_only=True)
class _OpenRequests:
    """Requests without an answer, and what they may need."""

    requests: int = 0
    prompt_tokens: int = 0
    samples: int = 0
    max_tokens: int = 0

    def count(self, prompt: Prompt, sampling: Sampling, sign: int) -> None:
        """Add (`sign` +1) or remove (-1) one request."""
        self.requests += sign
        self.prompt_tokens += sign * (len(prompt.text) // CHARACTERS_PER_TOKEN)
        self.samples += sign * sampling.n
        self.max_tokens += sign * sampling.n * sampling.max_tokens

    @property
    def most_tokens(self) -> int:
        """The most tokens that the requests can use."""
        return self.prompt_tokens + self.max_tokens


class TokenBudget:
    """An estimate of the tokens that engines still have to process for outstanding requests.

    A request counts as its prompt plus, for each of its samples, the mean number of tokens
    generated per completion so far. Before the first completion each sample counts as
    `max_tokens`.

    The estimate decides when another shard is started, so that the engines stay busy and memory
    stays bounded. It delays a request only if the budget of the run is nearly used; see `admit`.
    Requests that wait for a batch do not delay another shard: the batch takes hours, and the more
    shards have started, the more requests it contains.

    Args:
        limit: Further shards wait until fewer tokens than this are outstanding.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._single = _OpenRequests()
        self._batched = _OpenRequests()
        self._batch_price_factor = 1.0
        self._completions = 0
        self._generated_tokens = 0
        self._changed = asyncio.Event()
        self._admission = asyncio.Lock()
        self._check = asyncio.Lock()
        self._checked = set[str]()

    @property
    def outstanding(self) -> int:
        """The estimated number of outstanding tokens, prompts included."""
        if self._completions == 0:
            return self._single.most_tokens
        expected = self._single.samples * self._generated_tokens // self._completions
        return self._single.prompt_tokens + expected

    async def wait_until_low(self) -> None:
        """Wait until fewer tokens than the limit are outstanding."""
        while self.outstanding >= self._limit:
            self._changed.clear()
            await self._changed.wait()

    async def admit(self, spending: Spending) -> None:
        """Wait while the open requests will probably use what is left of a budget.

        Many requests wait inside an engine for a free slot. Without this the requests of a whole
        shard would be sent after the budget is used.

        Raises:
            BudgetError: A limit is reached, and all open requests have been answered. Cancelling
                them would waste the tokens that they have cost.
        """
        # One request waits for a change, and the others for the lock, in their order.
        async with self._admission:
            while self._single.requests or self._batched.requests:
                prompt = self._single.prompt_tokens + self._batched.prompt_tokens
                generated = self._probable_generated_tokens()
                if not spending.reached_after(prompt, generated, self._price_factor()):
                    return
                self._changed.clear()
                await self._changed.wait()
            limit = spending.reached_after(0, 0)
            if limit:
                raise BudgetError(f"the run has reached {limit}")

    def _probable_generated_tokens(self) -> int:
        """Return the probable number of tokens that the open requests generate.

        Each open sample counts as the mean of the finished ones, and of the open ones at their
        maximum: short completions are finished first.
        """
        open_samples = self._single.samples + self._batched.samples
        samples = open_samples + self._completions
        if not samples:
            return 0
        tokens = self._single.max_tokens + self._batched.max_tokens + self._generated_tokens
        return open_samples * tokens // samples

    def _price_factor(self) -> float:
        """Return the mean price of a token of the open requests, as a part of the usual one."""
        tokens = self._single.most_tokens + self._batched.most_tokens
        saved = (1.0 - self._batch_price_factor) * self._batched.most_tokens
        return 1.0 - saved / max(tokens, 1)

    async def complete(
        self,
        engine: Engine,
        prompt: Prompt,
        sampling: Sampling,
        *,
        batch_price_factor: float | None = None,
    ) -> Sequence[Completion]:
        """Request completions from the engine and count the request while it is open.

        Args:
            engine: The engine.
            prompt: The request.
            sampling: Its parameters.
            batch_price_factor: The price of a token in a batch; None for a single request.
        """
        counted = self._single
        if batch_price_factor is not None:
            counted = self._batched
            # Engines with different prices are rare, and this is an estimate.
            self._batch_price_factor = batch_price_factor
        counted.count(prompt, sampling, +1)
        try:
            completions = await engine.complete(prompt, sampling)
        finally:
            counted.count(prompt, sampling, -1)
            self._changed.set()
        self._completions += len(completions)
        self._generated_tokens += sum(completion.generated_tokens for completion in completions)
        return completions

    async def check_continuation(
        self, name: str, engine: ChecksContinuation, prompt: Prompt, spending: Spending | None
    ) -> Sequence[Completion]:
        """Have an engine check once whether it continues a prefix, and return the completions.

        The check is admitted and counted as other requests are. The requests that wait for it are
        not: they are admitted when they are sent.

        Args:
            name: The name of the engine.
            engine: The engine.
            prompt: The first request with a prefix.
            spending: The budget of the run, if it has one.

        Raises:
            BudgetError: A limit is reached.
            EngineError: The engine failed; the next request checks it again.
        """
        if name in self._checked:
            return []
        async with self._check:
            if name in self._checked:
                return []
            if spending is not None:
                await self.admit(spending)
            self._single.count(prompt, CHECK, +1)
            try:
                completions = await engine.check_continuation(prompt)
            finally:
                self._single.count(prompt, CHECK, -1)
                self._changed.set()
            self._checked.add(name)
            return completions

    async def score(self, engine: Engine, prompt: Prompt, continuation: str) -> Scored:
        """Score a text with the engine and count it as a prompt without samples."""
        text = replace(prompt, prefix=prompt.prefix + continuation)
        no_samples = Sampling(n=0)
        self._single.count(text, no_samples, +1)
        try:
            return await engine.score(prompt, continuation)
        finally:
            self._single.count(text, no_samples, -1)
            self._changed.set()


@dataclass(frozen=True, kw_only=True)
class MeteredEngine(EngineWrapper):
    """An engine whose requests are counted in a budget, and their tokens and faults in a meter.

    The first request sets `first_request`.
    """

    budget: TokenBudget
    meter: Meter
    first_request: asyncio.Event
    name: str = ENGINE
    """The name of the engine in the run file."""
    spending: Spending | None = None
    """The budget of the run, if its requests have one."""
    batch_price_factor: float | None = None
    """The price of a token in a batch; None if the engine sends single requests."""
    tracing: Tracing = NO_TRACING

    @cached_property
    def _checked_engine(self) -> ChecksContinuation | None:
        """The engine if it may not continue a prefix. Cached, because checking a type is slow."""
        return self.engine if isinstance(self.engine, ChecksContinuation) else None

    @cached_property
    def _counting_engine(self) -> CountsFaults | None:
        return self.engine if isinstance(self.engine, CountsFaults) else None

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the engine's completions, and count those of a proof before them."""
        self.first_request.set()
        if prompt.prefix and self._checked_engine is not None:
            with self._counted_faults():
                checks = await self.budget.check_continuation(
                    self.name, self._checked_engine, prompt, self.spending
                )
            self.meter.add_results(checks, self.name)
        if self.spending is not None:
            await self.budget.admit(self.spending)
        with self._request_span(sampling.n) as span, self._counted_faults():
            completions = await self.budget.complete(
                self.engine, prompt, sampling, batch_price_factor=self.batch_price_factor
            )
            span.set_usage(completions)
        self.meter.add_results(completions, self.name)
        return completions

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the engine's score."""
        self.first_request.set()
        if self.spending is not None:
            await self.budget.admit(self.spending)
        with self._request_span(0) as span, self._counted_faults():
            scored = await self.budget.score(self.engine, prompt, continuation)
            span.set_usage([scored])
        self.meter.add_results([scored], self.name)
        return scored

    @contextmanager
    def _request_span(self, samples: int) -> Iterator[Span]:
        """Trace and time a request."""
        attributes: Attributes = {
            "stepmark.engine": self.name,
            "stepmark.samples": samples,
            "gen_ai.request.model": self.model_name,
        }
        with (
            self.meter.timed_request(self.name),
            self.tracing.span("stepmark.request", attributes) as span,
        ):
            yield span

    @contextmanager
    def _counted_faults(self) -> Iterator[None]:
        """Add the faults of a request to the meter, also if it fails."""
        try:
            yield
        except asyncio.CancelledError as error:
            self.meter.add_results(answered_samples(error).values(), self.name)
            raise
        except EngineError as error:
            self.meter.add_results(answered_samples(error).values(), self.name)
            if self._counting_engine is None:
                kind = "retryable" if error.retryable else "rejected"
                self.meter.add_faults(self.name, {kind: 1})
            raise
        finally:
            if self._counting_engine is not None:
                self.meter.add_faults(self.name, self._counting_engine.take_faults())
