"""A fake model with scripted replies, for tests, examples and trials: no weights, no network."""

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
IMPOSSIBLE_LOGPROB = -50.0
"""The log-probability of a token with which no reply continues."""
# Characters of a prompt in an error message.
EXCERPT = 60


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Replies from a table or from a function.

    Sampling never changes a reply, only where it is cut. A key of the table is a text that the
    prompt contains: the longest matching key is used, and the key "" matches every prompt. Sample i
    of a request is the i-th reply of the key, starting again after the last one. `respond(prompt,
    sampling, index)` can be set only in code and has priority over the table. It may raise
    `EngineError`, or return a `Completion`, which is returned unchanged. A token is a word with the
    white space before it.

    The probability of a text is the share of the replies of a key that start with it. With
    `respond`, there is one reply, that at temperature 0.
    """

    version: ClassVar[int] = 1

    replies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Table from a text in the prompt to a list of replies.

    The longest matching key wins; the key `""` matches every prompt.
    """
    finish_reason: str = "stop"
    """The finish reason of every reply."""
    context: int = 4096
    """The context size: a prompt must have fewer tokens."""
    error: str = ""
    """If set, every call fails with this message."""
    retryable: bool = True
    """Whether that error is retryable."""
    respond: Callable[[Prompt, Sampling, int], str | Completion] | None = operational(  # noqa: RUF009
        default=None
    )
    """A function that replies; only code can set it."""
    delay: Annotated[float, Field(ge=0)] = operational(default=0.0)
    """Seconds before each answer."""

    @property
    def model_name(self) -> str:
        """Always "scripted"."""
        return "scripted"

    @property
    def identity(self) -> str:
        """A digest of the table and the name of the function, but not of its code."""
        module = str(getattr(self.respond, "__module__", ""))
        name = str(getattr(self.respond, "__qualname__", ""))
        return fingerprint(self, module, name)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the replies.

        Raises:
            EngineError: Not retryable if the prompt is too long or no reply matches.
        """
        prompt_tokens = await self._count_tokens(prompt.text)
        completions = [self._completion(prompt, sampling, index) for index in range(sampling.n)]
        # A completion of `respond` may contain its own count.
        first = completions[0]
        completions[0] = replace(first, prompt_tokens=first.prompt_tokens or prompt_tokens)
        return completions

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Score the continuation by the shares of replies.

        The probability of a token is the share of replies that continue with it among those that
        agree with the text before it. It is exp(`IMPOSSIBLE_LOGPROB`) if there are none.
        """
        text = prompt.text + continuation
        tokens = await self._count_tokens(text)
        replies = self._replies(prompt)
        agreeing_before = len(replies)
        logprobs: list[float] = []
        for token in TOKEN.finditer(text):
            end = token.end() - len(prompt.text)
            if end <= 0:
                continue
            agreeing = sum(reply.startswith(continuation[:end]) for reply in replies)
            if agreeing:
                logprobs.append(math.log(agreeing / agreeing_before))
            else:
                logprobs.append(IMPOSSIBLE_LOGPROB)
            agreeing_before = agreeing
        return Scored(logprobs=tuple(logprobs), prompt_tokens=tokens, cached_tokens=0)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    async def _count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, after the delay.

        Raises:
            EngineError: The engine is configured to fail, or the text exceeds the context.
        """
        await asyncio.sleep(self.delay)
        if self.error:
            raise EngineError(self.error, retryable=self.retryable)
        tokens = len(TOKEN.findall(text))
        if tokens >= self.context:
            raise EngineError(
                f"the prompt has {tokens} tokens, the context is {self.context}", retryable=False
            )
        return tokens

    def _completion(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        if self.respond is None:
            replies = self._matching_replies(prompt.text)
            return _cut(replies[index % len(replies)], sampling, self.finish_reason)
        reply = self.respond(prompt, sampling, index)
        if isinstance(reply, Completion):
            return reply
        return _cut(reply, sampling, self.finish_reason)

    def _replies(self, prompt: Prompt) -> Sequence[str]:
        """Return all replies that the engine can give to a prompt."""
        if self.respond is None:
            return self._matching_replies(prompt.text)
        reply = self.respond(prompt, Sampling(temperature=0.0), 0)
        if isinstance(reply, Completion):
            return [reply.text]
        return [reply]

    def _matching_replies(self, text: str) -> Sequence[str]:
        keys = [key for key, replies in self.replies.items() if key in text and replies]
        if not keys:
            raise EngineError(
                f"no scripted reply fits the prompt that ends in {text[-EXCERPT:]!r}",
                retryable=False,
            )
        return self.replies[max(keys, key=len)]


def _cut(reply: str, sampling: Sampling, finish_reason: str) -> Completion:
    """Return the reply cut at the first stop string or at `max_tokens`, as a model would."""
    text = reply
    ends = [reply.index(stop) for stop in sampling.stop if stop in reply]
    if ends:
        text = reply[: min(ends)]
    tokens = TOKEN.findall(text)
    if len(tokens) > sampling.max_tokens:
        tokens = tokens[: sampling.max_tokens]
        finish_reason = "length"
    elif ends:
        finish_reason = "stop"
    return Completion(
        text="".join(tokens),
        finish_reason=finish_reason,
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=len(tokens),
    )
