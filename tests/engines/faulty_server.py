"""A fake server with a model that repeats itself, and with the faults of real servers."""

import contextlib
import copy
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.engines.fake_server import Answer, FakeServer

__all__ = ["FAULTS", "HANG_SECONDS", "FaultyModel", "serving_faulty", "texts_of"]

# Longer than the timeout of the engines in the tests.
HANG_SECONDS = 30.0
WORDS = ("so", "then", "add", "seven", "times", "minus", "gives", "four", "½", "it")

CUT = "cut"

Fault = Callable[[Answer], Answer]


def status(code: int, message: str = "not so", **headers: str) -> Fault:
    """Return a fault that is a status with an error."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}

    def fail(answer: Answer) -> Answer:
        del answer
        return Answer(code, {"error": {"message": message, "code": code}}, headers=names)

    return fail


def page(code: int) -> Fault:
    """Return a fault that is a page of a proxy."""
    return lambda answer: Answer(code, b"<html><h1>Bad gateway</h1></html>")


def body(change: Callable[[dict[str, Any]], object]) -> Fault:
    """Return a fault that changes the JSON of a reply in place."""

    def fail(answer: Answer) -> Answer:
        content = copy.deepcopy(answer.body)
        change(content)
        return replace(answer, body=content)

    return fail


def choices(**fields: Any) -> Fault:
    """Return a fault that changes fields of all choices."""

    def change(content: dict[str, Any]) -> None:
        for choice in content["choices"]:
            choice.update(fields)

    return body(change)


def truncate_json(answer: Answer) -> Answer:
    """Return a reply whose JSON breaks off."""
    text = json.dumps(answer.body).encode()
    return replace(answer, body=text[: len(text) // 2])


def break_character(answer: Answer) -> Answer:
    """Return a reply with a character whose first byte is missing."""
    text = json.dumps(answer.body).encode()
    return replace(answer, body=text.replace(b'"text": "', b'"text": "\xbd'))


def cut_text(content: dict[str, Any]) -> None:
    """Cut the texts as at a maximum length that was not requested."""
    for choice in content["choices"]:
        words = choice["text"].split(" ")
        choice.update(text=" ".join(words[: len(words) // 2]), finish_reason="length")
    content["usage"]["completion_tokens"] //= 2


def drop_texts(content: dict[str, Any]) -> None:
    """Remove the texts of all choices."""
    for choice in content["choices"]:
        del choice["text"]


def repeat_choice(content: dict[str, Any]) -> None:
    """Add a choice that nobody requested."""
    content["choices"].append(dict(content["choices"][0], index=len(content["choices"])))


FAULTS: Mapping[str, Fault] = {
    "429": status(429, retry_after="0"),
    "429 with a date": status(429, retry_after="Mon, 30 Nov 2026 08:00:00 GMT"),
    "500": status(500),
    "502 page": page(502),
    "503": status(503, "overloaded"),
    "504": page(504),
    "408": status(408),
    "409": status(409),
    "425": status(425),
    "reset": lambda answer: replace(answer, sent_bytes=-1),
    "body cut off": lambda answer: replace(answer, sent_bytes=40),
    "hang": lambda answer: replace(answer, delay=HANG_SECONDS),
    "slow": lambda answer: replace(answer, delay=0.05),
    "truncated JSON": truncate_json,
    "page with status 200": page(200),
    "broken character": break_character,
    "false character set": lambda answer: replace(
        answer, headers={"content-type": "application/json; charset=iso-8859-1"}
    ),
    "deep JSON": lambda answer: replace(answer, body=b"[" * 100_000),
    "stream of events": lambda answer: replace(answer, body=b"data: {}\n\ndata: [DONE]\n\n"),
    "no body": lambda answer: replace(answer, body=b""),
    "no HTTP": lambda answer: replace(answer, head=b"SSH-2.0-OpenSSH_9.9\r\n\r\n", body=b""),
    "endless header": lambda answer: replace(answer, headers={"x-trace": "x" * 200_000}),
    "false compression": lambda answer: replace(answer, headers={"content-encoding": "gzip"}),
    "error with status 200": lambda answer: Answer(body={"error": {"message": "engine died"}}),
    "401 with status 200": lambda answer: Answer(body={"error": {"message": "no", "code": 401}}),
    "400 with status 200": lambda answer: Answer(body={"error": {"message": "no", "code": 400}}),
    "null choices": body(lambda content: content.update(choices=None)),
    "no choices": body(lambda content: content.update(choices=[])),
    "fewer choices": body(lambda content: content["choices"].pop()),
    "other fewer choices": body(lambda content: content["choices"].pop(0)),
    "more choices": body(repeat_choice),
    "choices in reverse": body(lambda content: content["choices"].reverse()),
    "no text": body(drop_texts),
    "null text": choices(text=None),
    "blank text": choices(text="\n"),
    "one blank text": body(lambda content: content["choices"][-1].update(text="")),
    "odd usage": body(lambda content: content.update(usage={"prompt_tokens": -3})),
    "usage that is no number": body(
        lambda content: content.update(usage={"completion_tokens": float("nan")})
    ),
    "endless usage": body(lambda content: content.update(usage={"total_tokens": 10**4000})),
    "equal indices": choices(index=0),
    "error in a choice": choices(error={"message": "out of memory"}),
    "no usage": body(lambda content: content.pop("usage")),
    "content filter": choices(text="", finish_reason="content_filter"),
    "abort": choices(text="so", finish_reason="abort"),
    "no finish reason": choices(text="so", finish_reason=None),
    CUT: body(cut_text),
    "400": status(400),
    "400 at a restart": status(400, "the engine is restarting, try again"),
    "401": status(401),
    "403": status(403),
    "404": status(404),
    "413": status(413),
    "422": status(422),
}
"""Each kind of fault, as a function from the answer of a healthy server to the one that is sent."""


@dataclass(kw_only=True)
class FaultyModel:
    """A model whose completions depend on prompt and seed alone, behind a server with faults.

    Whether a request fails depends on its content and on how often it was sent before, so the order
    in which requests arrive changes nothing.
    """

    share: float = 0.0
    """The share of requests that fail."""
    first: int = 0
    """So many requests fail at the beginning, whatever the share is."""
    kinds: Sequence[str] = tuple(FAULTS)
    """The kinds of faults, equally frequent."""
    seed: int = 0
    special: Callable[[Mapping[str, Any]], Answer | None] = lambda request: None
    """Returns the answer to a request in place of the model's; None for the model's."""
    texts: Callable[[Mapping[str, Any]], Sequence[str]] = lambda request: texts_of(request)
    """Returns the texts of the model for a request."""
    attempts: Counter[str] = field(default_factory=Counter)
    """How often each request was sent."""
    answered: Counter[str] = field(default_factory=Counter)
    """How often each request was answered without a fault."""
    cut: set[str] = field(default_factory=set)
    """The requests whose texts were cut. They are cut once: a server that cuts a text twice at the
    same place has a limit, which no client can tell from a fault."""
    faults: Counter[str] = field(default_factory=Counter)

    def respond(self, request: Mapping[str, Any]) -> Answer:
        """Return the reply to a request for plain text or for a turn."""
        answer = self._respond(request)
        return as_turns(answer) if "messages" in request else answer

    def _respond(self, request: Mapping[str, Any]) -> Answer:
        special = self.special(request)
        if special is not None:
            return special
        name = json.dumps(request, sort_keys=True)
        chance = random.Random(f"{self.seed}/{self.attempts[name]}/{name}")
        self.attempts[name] += 1
        answer = self._answer(request)
        is_first = self.attempts.total() <= self.first
        if chance.random() >= self.share and not is_first:
            self.answered[name] += 1
            return answer
        kind = chance.choice(self.kinds)
        if kind == CUT and name in self.cut:
            self.answered[name] += 1
            return answer
        if kind == CUT:
            self.cut.add(name)
        self.faults[kind] += 1
        return FAULTS[kind](answer)

    def _answer(self, request: Mapping[str, Any]) -> Answer:
        replies: list[dict[str, Any]] = []
        texts = self.texts(request)
        for index, text in enumerate(texts):
            replies.append({"index": index, "text": text, "finish_reason": "stop"})
        generated = sum(len(text.split(" ")) for text in texts)
        usage = {"prompt_tokens": len(str(request)), "completion_tokens": generated}
        return Answer(body={"choices": replies, "usage": usage})


def as_turns(answer: Answer) -> Answer:
    """Return an answer with plain texts as one with turns of a chat."""
    if not isinstance(answer.body, dict) or not isinstance(answer.body.get("choices"), list):
        return answer
    choices: list[dict[str, Any]] = []
    for choice in answer.body["choices"]:
        message = {"role": "assistant"}
        if "text" in choice:
            message["content"] = choice["text"]
        choices.append({**choice, "message": message})
    return replace(answer, body={**answer.body, "choices": choices})


def texts_of(request: Mapping[str, Any]) -> Sequence[str]:
    """Return the texts that a healthy server returns."""
    texts: list[str] = []
    for index in range(request["n"]):
        chance = random.Random(f"{request['prompt']}/{request['seed'] + index}")
        # As in real replies, the lengths differ.
        length = chance.randrange(8, 30)
        texts.append(" ".join(chance.choice(WORDS) for _ in range(length)))
    return texts


@contextlib.asynccontextmanager
async def serving_faulty(*models: FaultyModel) -> AsyncIterator[list[FakeServer]]:
    """Serve each model at an address of its own."""
    async with contextlib.AsyncExitStack() as stack:
        servers: list[FakeServer] = []
        for model in models:
            server = await stack.enter_async_context(FakeServer.answering())
            server.respond = model.respond
            servers.append(server)
        yield servers
