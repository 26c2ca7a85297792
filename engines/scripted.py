"""A fake model that says what it is told: for tests, examples and trying a method without a model; no weights, no network."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from pydantic import Field

from engines.base import Completion, Prompt
from stepmark.errors import EngineError
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling

__all__ = ["Scripted"]

TOKEN = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Replies from a table or from a function; sampling never changes what is said, only where it is cut.

    A table's key is a text to look for in the prompt: of the keys found the longest wins, and the key "" fits every prompt. Sample i
    of a request gets the key's i-th reply, starting over when they run out. `respond(prompt, sampling, index)`, which only code can
    set, comes before the table; it may raise `EngineError`, or return a `Completion` that is passed on untouched. A token is a word
    with the white space before it.
    """

    version: ClassVar[int] = 1

    replies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    finish_reason: str = "stop"
    context: int = 4096
    """Tokens that a prompt must stay below."""
    error: str = ""
    """When set, every call fails with this message."""
    retryable: bool = True
    respond: Callable[[Prompt, Sampling, int], str | Completion] | None = operational(default=None)  # noqa: RUF009 - a dataclass field
    delay: Annotated[float, Field(ge=0)] = operational(default=0.0)
    """Seconds before each answer."""

    @property
    def model_name(self) -> str:
        """Always "scripted"."""
        return "scripted"

    @property
    def identity(self) -> str:
        """The table, and the function's name: what the function does is not seen."""
        respond = self.respond
        return fingerprint(self, *(str(getattr(respond, part, "")) for part in ("__module__", "__qualname__")))

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Say the replies; not retryable when the prompt is too long or no reply fits."""
        await asyncio.sleep(self.delay)
        if self.error:
            raise EngineError(self.error, retryable=self.retryable)
        prompt_tokens = len(TOKEN.findall(prompt.text))
        if prompt_tokens >= self.context:
            raise EngineError(f"the prompt has {prompt_tokens} tokens, the context is {self.context}", retryable=False)
        said = [self._say(prompt, sampling, index) for index in range(sampling.n)]
        return [replace(said[0], prompt_tokens=said[0].prompt_tokens or prompt_tokens), *said[1:]]

    async def close(self) -> None:
        """Nothing to give back."""

    def _say(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        reply = self._reply(prompt.text, index) if self.respond is None else self.respond(prompt, sampling, index)
        if isinstance(reply, Completion):
            return reply
        return _cut(reply, sampling, self.finish_reason)

    def _reply(self, text: str, index: int) -> str:
        found = [key for key, replies in self.replies.items() if key in text and replies]
        if not found:
            raise EngineError(f"no scripted reply fits the prompt that ends in {text[-60:]!r}", retryable=False)
        replies = self.replies[max(found, key=len)]
        return replies[index % len(replies)]


def _cut(reply: str, sampling: Sampling, finish_reason: str) -> Completion:
    """The reply as a model would have given it: ended by the first stop string or by `max_tokens`, whichever comes first."""
    ends = [reply.index(stop) for stop in sampling.stop if stop in reply]
    text = reply[: min(ends)] if ends else reply
    tokens = TOKEN.findall(text)
    if len(tokens) > sampling.max_tokens:
        tokens, finish_reason = tokens[: sampling.max_tokens], "length"
    elif ends:
        finish_reason = "stop"
    return Completion(
        text="".join(tokens),
        finish_reason=finish_reason,
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=len(tokens),
    )
