"""A fake model that says what it is told: for tests, examples and trying a method without a model; no weights, no network."""

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from pydantic import Field

from engines.base import Completion, Prompt, Scored
from stepmark.errors import EngineError
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling

__all__ = ["Scripted"]

TOKEN = re.compile(r"\s*\S+|\s+$")
NEVER = -50.0
"""The log-probability of what no reply says."""


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Replies from a table or from a function; sampling never changes what is said, only where it is cut.

    A table's key is a text to look for in the prompt: of the keys found the longest wins, and the key "" fits every prompt. Sample i
    of a request gets the key's i-th reply, starting over when they run out. `respond(prompt, sampling, index)`, which only code can
    set, comes before the table; it may raise `EngineError`, or return a `Completion` that is passed on untouched. A token is a word
    with the white space before it.

    A text is as likely as the share of a key's replies that open with it; of a function's, as the one at temperature 0 makes it.
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
        return fingerprint(
            self, *(str(getattr(respond, part, "")) for part in ("__module__", "__qualname__"))
        )

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Say the replies; not retryable when the prompt is too long or no reply fits."""
        prompt_tokens = await self._read(prompt.text)
        said = [self._say(prompt, sampling, index) for index in range(sampling.n)]
        return [replace(said[0], prompt_tokens=said[0].prompt_tokens or prompt_tokens), *said[1:]]

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Of the replies that agree with the text so far, the share that agree with each token, too; `NEVER` for none."""
        text = prompt.text + continuation
        tokens = await self._read(text)
        ends = [
            token.end() - len(prompt.text)
            for token in TOKEN.finditer(text)
            if token.end() > len(prompt.text)
        ]
        said = self._replies(prompt)
        agreeing = [sum(reply.startswith(continuation[:end]) for reply in said) for end in ends]
        before = [len(said), *agreeing]
        logprobs = tuple(
            math.log(now / then) if now else NEVER
            for now, then in zip(agreeing, before, strict=False)
        )
        return Scored(logprobs=logprobs, prompt_tokens=tokens, cached_tokens=0)

    async def close(self) -> None:
        """Nothing to give back."""

    async def _read(self, text: str) -> int:
        """How many tokens the text has; fails where it is told to."""
        await asyncio.sleep(self.delay)
        if self.error:
            raise EngineError(self.error, retryable=self.retryable)
        tokens = len(TOKEN.findall(text))
        if tokens >= self.context:
            raise EngineError(
                f"the prompt has {tokens} tokens, the context is {self.context}", retryable=False
            )
        return tokens

    def _say(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        if self.respond is None:
            replies = self._table(prompt.text)
            return _cut(replies[index % len(replies)], sampling, self.finish_reason)
        reply = self.respond(prompt, sampling, index)
        if isinstance(reply, Completion):
            return reply
        return _cut(reply, sampling, self.finish_reason)

    def _replies(self, prompt: Prompt) -> Sequence[str]:
        if self.respond is None:
            return self._table(prompt.text)
        reply = self.respond(prompt, Sampling(temperature=0.0), 0)
        return [reply.text if isinstance(reply, Completion) else reply]

    def _table(self, text: str) -> Sequence[str]:
        found = [key for key, replies in self.replies.items() if key in text and replies]
        if not found:
            raise EngineError(
                f"no scripted reply fits the prompt that ends in {text[-60:]!r}", retryable=False
            )
        return self.replies[max(found, key=len)]


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
