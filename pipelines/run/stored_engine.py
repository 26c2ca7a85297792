"""An engine whose completions are stored: no sample is requested twice."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from weakref import WeakValueDictionary

from engines.base import (
    Completion,
    EngineWrapper,
    Prompt,
    Scored,
    completion_keys,
    score_key,
)
from engines.runtime.answered_samples import answered_samples, missing_ranges
from pipelines.run.meter import Meter
from pipelines.run.transient import SCORED
from stepmark.errors import EngineError
from stepmark.records import Sampling, StoredCompletion
from storage.completions.store import ShardStore

__all__ = ["ShardCompletions", "StoredEngine"]


class ShardCompletions:
    """The stored completions of one shard, opened at the first request.

    A shard whose parts are all complete therefore costs no reading.

    Args:
        open_shard: Opens the store of the shard; reads files.
    """

    def __init__(self, open_shard: Callable[[], ShardStore]) -> None:
        self._open_shard = open_shard
        self._store: ShardStore | None = None
        self._opening = asyncio.Lock()
        self._locks = WeakValueDictionary[bytes, asyncio.Lock]()

    def lock(self, key: bytes) -> asyncio.Lock:
        """Return the lock of a key, which exists while a caller holds it or waits for it."""
        lock = self._locks.get(key)
        if lock is None:
            lock = asyncio.Lock()
            self._locks[key] = lock
        return lock

    async def store(self) -> ShardStore:
        """Return the store of the shard, and open it at the first call.

        Once it is open, the call does not suspend its task. The task can therefore not be cancelled
        between the arrival of a completion and its storage.
        """
        if self._store is not None:
            return self._store
        # Concurrent first requests must share one store: each would load the files again.
        async with self._opening:
            if self._store is None:
                self._store = await asyncio.to_thread(self._open_shard)
            return self._store

    async def flush(self) -> None:
        """Write the completions that are only in memory."""
        if self._store is not None:
            await self._store.flush()

    async def close(self, *, compact: bool) -> None:
        """Write what was put, and merge the files of the shard into one if `compact` is set."""
        if self._store is not None:
            await self._store.close(compact=compact)


@dataclass(frozen=True, kw_only=True)
class StoredEngine(EngineWrapper):
    """An engine that looks samples up, and requests and stores only the missing ones.

    `first_request` is set when the first call has been answered from the store. The wrapped engine
    sets it for a call that needs a request, once the request is counted.
    """

    completions: ShardCompletions
    meter: Meter
    first_request: asyncio.Event

    @cached_property
    def identity(self) -> str:
        """The identity of the wrapped engine, computed once: every key contains it."""
        return self.engine.identity

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return stored completions where there are any, and new ones for the other samples.

        Consecutive missing samples are one request, because engines give sample i of a request the
        seed `seed + i`.
        """
        keys = completion_keys(self.identity, prompt, sampling)
        completions = await self._stored(keys)
        self.meter.add_reused(completions.values())
        for start, end in list(missing_ranges(sampling.n, completions)):
            # A server may return fewer samples than requested: the others are requested then.
            while start < end:
                part = sampling
                if end - start < sampling.n:
                    part = replace(sampling, n=end - start, seed=sampling.seed + start)
                new = await self._request(prompt, part, keys[start:end])
                completions.update(enumerate(new, start))
                start += len(new)
        self.first_request.set()
        return [completions[index] for index in range(sampling.n)]

    async def stored(self, prompt: Prompt, sampling: Sampling) -> dict[int, Completion]:
        """Return the stored completions of a request by the index of the sample."""
        return await self._stored(completion_keys(self.identity, prompt, sampling))

    async def _stored(self, keys: Sequence[bytes]) -> dict[int, Completion]:
        store = await self.completions.store()
        rows = await store.get(keys)
        completions = dict[int, Completion]()
        for index, key in enumerate(keys):
            if key in rows:
                completions[index] = _completion(rows[key])
        return completions

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the stored score of a text, or request and store it.

        Traces of one problem begin with the same text, so that equal requests often arrive
        together: one of them is sent, and the others wait for its result.
        """
        key = score_key(self.identity, prompt, continuation)
        async with self.completions.lock(key):
            return await self._score(key, prompt, continuation)

    async def _score(self, key: bytes, prompt: Prompt, continuation: str) -> Scored:
        store = await self.completions.store()
        stored = (await store.get([key])).get(key)
        score = _score(stored)
        if score is not None:
            self.first_request.set()
            return score
        scored = await self.engine.score(prompt, continuation)
        row = StoredCompletion(
            key=key,
            model=self.model_name,
            seed=0,
            text=continuation,
            finish_reason=SCORED,
            prompt_tokens=scored.prompt_tokens,
            cached_tokens=scored.cached_tokens,
            generated_tokens=0,
            logprobs=scored.logprobs,
        )
        if scored.logprobs:
            await store.put([row])
        return scored

    async def _request(
        self, prompt: Prompt, sampling: Sampling, keys: Sequence[bytes]
    ) -> Sequence[Completion]:
        """Request the samples and store those that the engine returned, the first ones.

        Raises:
            EngineError: The engine failed, or returned no completion or too many.
        """
        try:
            completions = await self.engine.complete(prompt, sampling)
        except (Exception, asyncio.CancelledError) as error:
            # These samples are paid for, and another attempt need not request them.
            await self._put(sampling, keys, answered_samples(error))
            raise
        # It is unknown which of too many completions belong to the keys.
        if not 0 < len(completions) <= len(keys):
            raise EngineError(
                f"the engine returned {len(completions)} instead of {len(keys)} completions",
                retryable=True,
            )
        await self._put(sampling, keys, dict(enumerate(completions)))
        return completions

    async def _put(
        self, sampling: Sampling, keys: Sequence[bytes], completions: Mapping[int, Completion]
    ) -> None:
        """Store samples of a request, by their index."""
        model = self.model_name
        rows = list[StoredCompletion]()
        for index, completion in completions.items():
            row = StoredCompletion(
                key=keys[index],
                model=model,
                seed=sampling.seed + index,
                text=completion.text,
                finish_reason=completion.finish_reason,
                prompt_tokens=completion.prompt_tokens,
                cached_tokens=completion.cached_tokens,
                generated_tokens=completion.generated_tokens,
                reasoning=completion.reasoning,
            )
            rows.append(row)
        if rows:
            store = await self.completions.store()
            await store.put(rows)


def _completion(stored: StoredCompletion) -> Completion:
    return Completion(
        text=stored.text,
        finish_reason=stored.finish_reason,
        prompt_tokens=stored.prompt_tokens,
        cached_tokens=stored.cached_tokens,
        generated_tokens=stored.generated_tokens,
        reasoning=stored.reasoning,
    )


def _score(stored: StoredCompletion | None) -> Scored | None:
    """Return a stored score; None if there is none, or an earlier version stored a wrong number."""
    if stored is None or stored.logprobs is None:
        return None
    try:
        return Scored(
            logprobs=stored.logprobs,
            prompt_tokens=stored.prompt_tokens,
            cached_tokens=stored.cached_tokens,
        )
    except EngineError:
        return None
