"""A local chat server with a model that solves one problem, and the quirks of real servers."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.engines.fake_server import Answer, FakeServer

__all__ = ["LINES", "ChatModel", "serving"]

LINES = ("Three and four are 7.\n", "Twice 7 is 14.\n", "The answer is \\boxed{14}.")
COUNT = "one, two, three, four, five, six, seven"
# The tokens that a chat template adds for a new turn of the assistant.
TURN_TOKENS = 5


@dataclass(kw_only=True)
class ChatModel:
    """A model that counts, and solves every other problem, behind a chat server.

    `turn` is what the server does with an unfinished answer: "continued", "ignored" (as if it was
    not there), "closed" (the model sees it, and starts a new turn), "rejected", "repeated" (the
    text begins with the unfinished answer) or "reasoning" (the text is in another field).
    """

    turn: str = "continued"
    knows_numbers: bool = True
    finish_reason: Any = "stop"
    usage: Callable[[int, int], Any] = lambda prompt, generated: {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
    }
    content: Callable[[str], Any] = lambda text: text
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every message."""
    solutions: Sequence[Sequence[str]] = (LINES,)
    """The solutions, which take turns in spite of temperature 0."""
    choices: int | None = None
    """The number of choices in a reply; None for as many as requested."""
    answered: int = 0

    def respond(self, request: Mapping[str, Any]) -> Answer:
        """Return the reply to a request."""
        self.answered += 1
        *_, last = messages = request["messages"]
        prefix = ""
        if last["role"] == "assistant":
            prefix = last["content"]
            messages = messages[:-1]
        if prefix and self.turn == "rejected":
            return Answer(400, {"error": {"message": "the last message must be of the user"}})
        user = messages[-1]["content"]
        text = self._text(user, prefix)
        limit = request.get("max_tokens", 10**6)
        words = text.split(" ")
        reason = self.finish_reason
        if len(words) > limit:
            text = " ".join(words[:limit])
            reason = "length"
        prompt_tokens = len(user.split()) + TURN_TOKENS
        if prefix and self.turn != "ignored":
            prompt_tokens += len(prefix.split())
        if prefix and self.turn == "closed":
            prompt_tokens += TURN_TOKENS
        message = {"role": "assistant", "content": self.content(text), **self.fields}
        if prefix and self.turn == "reasoning":
            message = {"role": "assistant", "content": None, "reasoning_content": text}
        n = self.choices or request.get("n", 1)
        choices = []
        for index in range(n):
            choices.append({"index": index, "message": message, "finish_reason": reason})
        usage = self.usage(prompt_tokens, n * len(words[:limit]))
        return Answer(body={"choices": choices, "usage": usage})

    def _text(self, user: str, prefix: str) -> str:
        if "Count from" in user and self.knows_numbers:
            if prefix and self.turn == "closed":
                return "four, five, six"
            return self._after(prefix, COUNT)
        solution = self.solutions[self.answered % len(self.solutions)]
        if prefix and self.turn == "closed":
            return "Let me start again. " + "".join(solution)
        # A weak model continues every other text with its next line.
        rest = "".join(solution)
        if self.turn != "ignored" and not rest.startswith(prefix):
            return "".join(solution[prefix.count("\n") :])
        return self._after(prefix, rest)

    def _after(self, prefix: str, text: str) -> str:
        if self.turn in ("ignored", "repeated"):
            return text
        return text.removeprefix(prefix)


@contextlib.asynccontextmanager
async def serving(model: ChatModel) -> AsyncIterator[FakeServer]:
    """Serve a model."""
    async with FakeServer.answering() as server:
        server.respond = model.respond
        yield server
