"""The engine protocol: a language model that answers thousands of concurrent requests."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

from stepmark.errors import EngineError
from stepmark.identity import canonical_json
from stepmark.records import Sampling

__all__ = [
    "MAX_LOGPROB",
    "BatchRecords",
    "ChecksContinuation",
    "Completion",
    "CountsFaults",
    "Engine",
    "EngineWrapper",
    "HasServers",
    "Prompt",
    "Scored",
    "SendsBatches",
    "ServersHealth",
    "completion_keys",
    "score_key",
]

MAX_LOGPROB = 1e-3
"""Rounding in an engine can push the logarithm of a probability above zero, but no further."""
KEY_BYTES = 16
"""The size of a key: among 10**12 keys, two are equal with a probability below 10**-14."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request, and the beginning of the answer.

    A base model reads `text`. A chat model receives `user` as the turn of the user and `prefix` as
    the unfinished beginning of the model's turn, so a completion always continues `prefix`
    directly. `schema` is a JSON schema; engines that support it restrict the answer to it, and the
    others ignore it. Callers must therefore handle any answer.
    """

    user: str
    prefix: str = ""
    system: str = ""
    schema: str = ""

    @property
    def text(self) -> str:
        """The prompt as plain text, for models without a chat template."""
        return self.system + self.user + self.prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sample: the text after the prompt, without the stop string that ended it.

    `finish_reason` is "stop" (the model ended, or a stop string occurred) or "length" (cut at
    max_tokens or at the end of the context). Prompt tokens are counted on the first completion of a
    request only, since n samples share one prompt.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    reasoning: str | None = None
    """The reasoning that a server returned apart from the text; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The log-probabilities of a text under a model.

    `logprobs` has one natural logarithm per token, at temperature 1, conditioned on all tokens
    before it. Nothing is generated: `prompt_tokens` counts all tokens that were read. An engine
    that computes the complete text again reports no cached tokens.

    Raises:
        EngineError: A value is infinite, not a number, or above 0 by more than rounding explains.
    """

    logprobs: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int

    def __post_init__(self) -> None:
        for logprob in self.logprobs:
            if not math.isfinite(logprob) or logprob > MAX_LOGPROB:
                raise EngineError(
                    f"the engine returned {logprob}, which is not a log-probability",
                    retryable=False,
                )


class Engine(Protocol):
    """A language model.

    Frozen dataclasses implement it. Processes and connections start on first use and end in
    `close`.
    """

    @property
    def model_name(self) -> str:
        """The name in the column `traces.model`."""
        ...

    @property
    def identity(self) -> str:
        """A digest of everything that can change the output (weights, revision, options).

        It does not depend on where the model runs.
        """
        ...

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return `sampling.n` independent completions of one prompt, in a stable order.

        Thousands of concurrent calls on one event loop are safe. Cancelling a call frees its slot.

        Raises:
            EngineError: Retryable if the model may answer later (down, busy, timeout); not
                retryable if it never will (prompt too long, request rejected).
        """
        ...

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the log-probabilities of `continuation` after the prompt, without sampling.

        Prompt and continuation are tokenized together. Every token that contains a character of the
        continuation is included: for "is " and "42", the token " 4". The result is therefore the
        same if the space belongs to the continuation. `continuation` must not be empty.

        Raises:
            EngineError: As `complete` does.
            ConfigError: The server does not return log-probabilities of a prompt.
        """
        ...

    async def close(self) -> None:
        """Release processes, sockets and memory. A later call starts the engine again."""
        ...


@runtime_checkable
class ChecksContinuation(Protocol):
    """An engine that may start a new answer instead of continuing `Prompt.prefix`."""

    async def check_continuation(self, prompt: Prompt) -> Sequence[Completion]:
        """Find out whether the engine continues a prefix. Only the first call sends requests.

        `complete` calls it before the first request with a prefix, and raises `ContinuationError`
        if the engine does not. A caller that counts tokens calls it before.

        Args:
            prompt: The request that is to be sent.

        Returns:
            The completions that were sampled for the proof; none if it has been made before.

        Raises:
            EngineError: As `Engine.complete`.
        """
        ...


@runtime_checkable
class CountsFaults(Protocol):
    """An engine that repeats requests by itself, and counts the faults that made it do so."""

    def take_faults(self) -> Mapping[str, int]:
        """Return the number of faults by kind since the last call."""
        ...


class BatchRecords(Protocol):
    """Small files in which engines record their batches, so that a later run finds them again.

    All methods read or write files, and may raise `DatasetError`.
    """

    def names(self) -> Sequence[str]:
        """Return the names of all records."""
        ...

    def location(self, name: str) -> str:
        """Return the path of a record, for messages."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the content of a record; None if another process has removed it."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a record, and replace an earlier one of the same name."""
        ...

    def remove(self, name: str) -> None:
        """Remove a record."""
        ...


@runtime_checkable
class SendsBatches(Protocol):
    """An engine that can gather requests into batches, which take hours and cost less.

    It sends single requests until `record_batches` is called.
    """

    @property
    def batch_price_factor(self) -> float | None:
        """The price of a token as a part of the usual one; None if it sends no batches."""
        ...

    def record_batches(self, records: BatchRecords) -> None:
        """Send batches from now on, and record each of them before its answers are awaited."""
        ...

    async def forget_batches(self) -> None:
        """Remove the records of batches whose answers were all returned, and are stored now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersHealth:
    """The state of the servers of an engine."""

    up: int
    """Servers that get requests."""
    down: int
    """Servers that get no requests until they answer a probe."""
    is_paused: bool
    """Whether all requests wait, because no server answers."""
    in_flight: int
    """Requests that were sent and are not answered."""


@runtime_checkable
class HasServers(Protocol):
    """An engine that sends its requests to servers."""

    def servers_health(self) -> ServersHealth | None:
        """Return the state of the servers; None before the first request. Safe in any thread."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineWrapper:
    """An engine that delegates every call to another engine.

    Subclass it to count, cache or record calls.
    """

    engine: Engine

    @property
    def model_name(self) -> str:
        """The name of the wrapped engine."""
        return self.engine.model_name

    @property
    def identity(self) -> str:
        """The identity of the wrapped engine, because a wrapper changes no result."""
        return self.engine.identity

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the completions of the wrapped engine."""
        return await self.engine.complete(prompt, sampling)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the score of the wrapped engine."""
        return await self.engine.score(prompt, continuation)

    async def close(self) -> None:
        """Do nothing: the owner of the wrapped engine closes it."""


# A caller that names its samples by their keys computes them right before the request, and
# `StoredEngine` computes them again.
@lru_cache(maxsize=64)
def completion_keys(identity: str, prompt: Prompt, sampling: Sampling) -> tuple[bytes, ...]:
    """Return the key of every sample of a request, in order.

    A key covers everything that determines what the engine returns for one sample: the engine's
    identity, the prompt, the sampling parameters without `n`, and the seed of the sample, which is
    the seed of the request plus the index of the sample. A request for more samples therefore has
    the keys of a smaller one, followed by new ones.
    """
    request = canonical_json(
        "completion",
        identity,
        prompt.system,
        prompt.user,
        prompt.prefix,
        prompt.schema,
        float(sampling.temperature),
        float(sampling.top_p),
        sampling.max_tokens,
        sampling.stop,
    )
    request_hash = hashlib.blake2b(request, digest_size=KEY_BYTES)
    keys = list[bytes]()
    for seed in range(sampling.seed, sampling.seed + sampling.n):
        # Copied, so that a long prompt is hashed once and not for every sample.
        sample_hash = request_hash.copy()
        sample_hash.update(b"%d" % seed)
        keys.append(sample_hash.digest())
    return tuple(keys)


def score_key(identity: str, prompt: Prompt, continuation: str) -> bytes:
    """Return the key of the likelihoods of a text after a prompt; see `completion_keys`."""
    request = canonical_json(
        "score", identity, prompt.system, prompt.user, prompt.prefix, continuation
    )
    return hashlib.blake2b(request, digest_size=KEY_BYTES).digest()
