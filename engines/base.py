"""What an engine is: a door to a language model that answers one request at a time, thousands of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stepmark.records import Sampling

__all__ = ["Completion", "Engine", "EngineWrapper", "Prompt", "Scored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked: a request, and the opening of the model's own answer.

    A base model reads `text`; a chat model gets `user` as the user's turn and `prefix` as the unfinished start of its own turn, so a
    completion is always a true continuation of `prefix`. An engine that can holds the answer to `schema`, a JSON schema; the others ignore
    it, so whoever asks must read any answer.
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

    `finish_reason` is "stop" (the model ended, or a stop string was met) or "length" (cut at max_tokens or at the context's end).
    Prompt tokens are counted on the first completion of a request only, since n samples share one prompt.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """How likely a model holds a given text, token by token.

    `logprobs` are natural logarithms, at temperature 1, each token given all before it. Prompt tokens are all that were read: nothing is
    generated. Engines that read the whole text anew for this count nothing as cached.
    """

    logprobs: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int


class Engine(Protocol):
    """A language model. Frozen dataclasses implement it; what must be started is started on first use and ended by `close`."""

    @property
    def model_name(self) -> str:
        """What is written into `traces.model`."""
        ...

    @property
    def identity(self) -> str:
        """A digest of whatever could change what the model writes (weights, revision, options), not of where it runs."""
        ...

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """`sampling.n` independent completions of one prompt, in a stable order.

        Raises `EngineError`: retryable when the model may answer later (down, busy, timed out), not when it never will (prompt too long,
        refused). Safe to call thousands of times at once on one event loop; cancelling the call frees its place.
        """
        ...

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """How likely the model is to go on from the prompt with `continuation`, which is not empty; nothing is drawn.

        Prompt and continuation are cut into tokens together, as the model would have read them, and every token that holds anything of the
        continuation counts as its own: of "is " and "42", the token " 4". To leave the space in the continuation changes nothing then.
        Raises as `complete` does; `ConfigError` where a server cannot tell.
        """
        ...

    async def close(self) -> None:
        """Give back processes, sockets and memory; the engine starts again if asked again."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineWrapper:
    """An engine that asks another one for all it is asked for: who counts, keeps or watches what passes through overrides what passes."""

    engine: Engine

    @property
    def model_name(self) -> str:
        """The other engine's."""
        return self.engine.model_name

    @property
    def identity(self) -> str:
        """The other engine's: to pass through here changes no result."""
        return self.engine.identity

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """The other engine's answer."""
        return await self.engine.complete(prompt, sampling)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """The other engine's."""
        return await self.engine.score(prompt, continuation)

    async def close(self) -> None:
        """Nothing: who made the other engine closes it."""
