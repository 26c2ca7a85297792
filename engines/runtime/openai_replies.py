"""Reading of the replies of servers with the API of OpenAI.

Servers differ in everything around the text: names of finish reasons, content in parts, fields for
reasoning, and counts of tokens, which can be missing. A reply is read from its JSON: the client
library does not check the types of values, and lacks the fields that only some servers send.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from engines.base import MAX_LOGPROB, Completion
from engines.runtime.faults import FaultKind, kind_named, kind_of_error

__all__ = [
    "INTERRUPTED_REASONS",
    "LENGTH",
    "STOP",
    "Reply",
    "Token",
    "UnreadableReply",
    "Usage",
    "check_reply",
    "decode_reply",
    "excerpt",
    "parse_reply",
    "read_echoed_tokens",
    "read_prompt_logprobs",
    "read_reply",
    "read_usage",
]

Token: TypeAlias = tuple[str, float | None]
"""The text and the log-probability of a token."""

STOP = "stop"
LENGTH = "length"
# The names of a complete answer: OpenAI, vLLM, SGLang, llama.cpp and Ollama ("stop"), TGI
# ("eos_token", "stop_sequence"), Together ("eos"), Anthropic ("end_turn"), Cohere ("complete"),
# TensorRT-LLM ("end_id", "stop_words") and LM Studio ("eosFound", "stopStringFound"). Upper and
# lower case are not distinguished.
STOP_REASONS = frozenset(
    {
        STOP,
        "eos",
        "eos_token",
        "stop_sequence",
        "stop_token",
        "stop_string",
        "stop_str",
        "stop_words",
        "end_id",
        "end_turn",
        "end_of_turn",
        "end_of_text",
        "endoftext",
        "complete",
        "completed",
        "eosfound",
        "stopstringfound",
    }
)
# The names of an answer that was cut at a limit, by the same servers, Mistral and Gemini.
LENGTH_REASONS = frozenset(
    {
        LENGTH,
        "max_tokens",
        "max_length",
        "max_new_tokens",
        "max_output_tokens",
        "model_length",
        "context_length",
        "limit",
        "maxpredictedtokensreached",
        "contextlengthreached",
        "model_context_window_exceeded",
    }
)
# The names of an answer that an error, an abort or a filter ended. They are stored as they are, and
# the outcome is unknown.
INTERRUPTED_REASONS = frozenset(
    {
        "abort",
        "aborted",
        "blocklist",
        "cancelled",
        "canceled",
        "content_filter",
        "content_filtered",
        "error",
        "error_limit",
        "error_toxic",
        "guardrail_intervened",
        "insufficient_system_resource",
        "prohibited_content",
        "recitation",
        "safety",
        "spii",
        "timeout",
    }
)
# The names of an answer that the model ended in another way than by its end: it called a tool,
# refused, or repeated a text up to a limit. They are stored as they are, too.
UNFINISHED_REASONS = INTERRUPTED_REASONS | {
    "function_call",
    "malformed_function_call",
    "pause_turn",
    "refusal",
    "repetition",
    "tool_calls",
    "tool_use",
}
REFUSAL = "refusal"
# Characters of an unknown finish reason, or of a server's message, that are kept.
EXCERPT = 200
SHORT_EXCERPT = 60
CUT_WORD = re.compile(r"\S*\Z")
# A larger count of tokens in a reply is an error of the server.
MAX_TOKEN_COUNT = 2**40
# The length of a status in an error.
STATUS_DIGITS = 3
# The fields in which servers report an error outside of `error`: vLLM and FastAPI.
MESSAGE_FIELDS = ("message", "detail")
NO_PROMPT_LOGPROBS = (
    "the server does not return prompt log-probabilities; vLLM does, and with"
    " api = 'completions' so do servers that support `echo`"
)


class UnreadableReply(Exception):  # noqa: N818  # the engine turns it into an `EngineError`
    """A reply with status 200 that cannot be used as an answer.

    Args:
        message: What is wrong with it.
        kind: The name of the kind of fault.
    """

    def __init__(self, message: str, kind: str = "unreadable reply") -> None:
        super().__init__(message)
        self.kind = kind_named(kind)
        self.url = ""
        """The address of the server; empty if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The completions in a reply, and what the user should know about the server."""

    completions: Sequence[Completion]
    indices: Sequence[int]
    """Which of the requested choices each completion is."""
    unknown_reasons: tuple[str, ...]
    """Finish reasons that no known server sends, and "null" for a missing one."""
    without_reason: frozenset[int]
    """The positions of the completions without a finish reason."""
    has_usage: bool
    """Whether the reply has counts of tokens."""
    model: str = ""
    """The name of the model that answered; empty if the reply has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The counts of tokens of a request; 0 where the server sends none."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


def decode_reply(body: bytes) -> str:
    """Return the text of a reply, whatever character set its header names.

    JSON is in UTF-8, rarely in UTF-16 or UTF-32, and its media type has no other character sets
    (RFC 8259, sections 8.1 and 11). Some servers name another one all the same.

    Raises:
        UnreadableReply: It is not in one of these.
    """
    try:
        return body.decode(json.detect_encoding(body))
    except UnicodeError as error:
        raise UnreadableReply("the reply is not in UTF-8") from error


def parse_reply(body: str) -> Mapping[str, Any]:
    """Return the JSON object of a reply.

    Raises:
        UnreadableReply: It is not a JSON object, or reports an error.
    """
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError) as error:
        beginning = excerpt(body, SHORT_EXCERPT)
        raise UnreadableReply(
            f"the reply of {len(body)} characters is not JSON: {beginning!r}"
        ) from error
    return check_reply(reply)


def check_reply(reply: Any) -> Mapping[str, Any]:
    """Return a reply that was parsed.

    Raises:
        UnreadableReply: It is not a JSON object, or reports an error.
    """
    if not isinstance(reply, dict):
        raise UnreadableReply("the reply is not a JSON object")
    if reply.get("error"):
        raise _reported_error(reply["error"])
    if "choices" not in reply and any(reply.get(name) for name in MESSAGE_FIELDS):
        raise _reported_error(reply)
    return reply


def read_reply(reply: Mapping[str, Any], *, n: int, is_chat: bool) -> Reply:
    """Return the completions of a request for `n` choices, in the order of their index.

    Raises:
        UnreadableReply: There are none or more than `n`, a value is not as in the API, or a choice
            reports an error.
    """
    choices = _ordered_choices(reply.get("choices"), n)
    indices = _indices_of(choices, n)
    usage = read_usage(reply)
    without_reason: list[int] = []
    completions: list[Completion] = []
    unknown_reasons: list[str] = []
    for index, choice in enumerate(choices):
        if choice.get("error"):
            raise _reported_error(choice["error"])
        text, reasoning, is_refusal = _read_texts(choice, is_chat)
        reason = _finish_reason(choice.get("finish_reason"), unknown_reasons)
        if choice.get("finish_reason") is None:
            without_reason.append(index)
        if is_refusal and not text:
            reason = REFUSAL
        # An even share of the tokens; the first choices receive the remainder.
        tokens = usage.generated_tokens // len(choices)
        if index < usage.generated_tokens % len(choices):
            tokens += 1
        completion = Completion(
            text=text,
            finish_reason=reason,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            generated_tokens=tokens,
            reasoning=reasoning or None,
        )
        completions.append(completion)
    return Reply(
        completions=completions,
        indices=indices,
        unknown_reasons=tuple(unknown_reasons),
        without_reason=frozenset(without_reason),
        has_usage=usage != Usage(),
        model=_model_name(reply.get("model")),
    )


def read_usage(reply: Mapping[str, Any]) -> Usage:
    """Return the counts of tokens in a reply.

    Raises:
        UnreadableReply: A count is not a number of tokens.
    """
    usage = reply.get("usage")
    if usage is None:
        return Usage()
    if not isinstance(usage, dict):
        raise UnreadableReply("usage is not an object")
    prompt_tokens = _count(usage, "prompt_tokens")
    generated_tokens = _count(usage, "completion_tokens")
    if not generated_tokens:
        generated_tokens = max(0, _count(usage, "total_tokens") - prompt_tokens)
    details = usage.get("prompt_tokens_details")
    cached_tokens = 0
    if isinstance(details, dict):
        cached_tokens = _count(details, "cached_tokens")
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        generated_tokens=generated_tokens,
    )


def read_echoed_tokens(reply: Mapping[str, Any]) -> Sequence[Token]:
    """Return the tokens of a prompt that the server echoed.

    Raises:
        UnreadableReply: The reply has no log-probabilities, or a value is not as in the API.
    """
    (choice,) = _ordered_choices(reply.get("choices"), 1)
    logprobs = choice.get("logprobs")
    if logprobs is not None and not isinstance(logprobs, dict):
        raise UnreadableReply("logprobs is not an object")
    if not logprobs or not logprobs.get("tokens") or not logprobs.get("token_logprobs"):
        raise UnreadableReply(NO_PROMPT_LOGPROBS, "no log-probabilities")
    texts = logprobs["tokens"]
    values = logprobs["token_logprobs"]
    if not isinstance(texts, list) or not isinstance(values, list) or len(texts) != len(values):
        raise UnreadableReply("there are not as many log-probabilities as tokens")
    tokens: list[Token] = []
    for text, value in zip(texts, values, strict=True):
        tokens.append((_checked_text(text), _checked_logprob(value)))
    return tokens


def read_prompt_logprobs(reply: Mapping[str, Any]) -> Sequence[Token]:
    """Return the tokens in vLLM's `prompt_logprobs`.

    The entry of the first token is null. Every other entry maps the id of the token to its text and
    log-probability, and contains no alternatives.

    Raises:
        UnreadableReply: The reply has no log-probabilities, or a value is not as in the API.
    """
    entries = reply.get("prompt_logprobs")
    if not entries:
        raise UnreadableReply(NO_PROMPT_LOGPROBS, "no log-probabilities")
    if not isinstance(entries, list):
        raise UnreadableReply("prompt_logprobs is not a list")
    tokens: list[Token] = []
    for entry in entries:
        if not entry:
            tokens.append(("", None))
            continue
        if not isinstance(entry, dict):
            raise UnreadableReply("an entry of prompt_logprobs is not an object")
        token = next(iter(entry.values()))
        if not isinstance(token, dict) or "decoded_token" not in token:
            raise UnreadableReply("an entry of prompt_logprobs has no token")
        text = _checked_text(token["decoded_token"] or "")
        tokens.append((text, _checked_logprob(token.get("logprob"))))
    return tokens


def _ordered_choices(choices: Any, n: int) -> Sequence[Mapping[str, Any]]:
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise UnreadableReply("choices is not a list of objects")
    if not 0 < len(choices) <= n:
        raise UnreadableReply(
            f"the reply has {len(choices)} instead of {n} choices", "wrong number of choices"
        )
    indices = [choice.get("index") for choice in choices]
    if all(type(index) is int for index in indices):
        return sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def _indices_of(choices: Sequence[Mapping[str, Any]], n: int) -> Sequence[int]:
    """Return which of `n` choices these are; the first ones if the server does not number them."""
    indices: list[int] = []
    for choice in choices:
        index = choice.get("index")
        # Servers that return fewer choices can leave out any of them.
        if type(index) is not int or not 0 <= index < n or index in indices:
            return range(len(choices))
        indices.append(index)
    return indices


def _read_texts(choice: Mapping[str, Any], is_chat: bool) -> tuple[str, str, bool]:
    """Return the text and the reasoning of a choice, and whether it contains a refusal."""
    if not is_chat:
        text = _checked_text(choice.get("text"))
        return text, _reasoning_field(choice), False
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UnreadableReply("a choice has no message")
    text, reasoning = _read_content(message.get("content"))
    return text, reasoning or _reasoning_field(message), bool(message.get("refusal"))


def _read_content(content: Any) -> tuple[str, str]:
    """Return the text and the reasoning in a message: a string, null, or a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return _checked_text(content), ""
    if not isinstance(content, list):
        raise UnreadableReply("the content of a message is not text")
    texts: list[str] = []
    reasoning: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(_checked_text(part))
        elif isinstance(part, dict):
            kind = part.get("type", "text")
            if kind in ("thinking", "reasoning"):
                reasoning.append(_text_in(part, ("thinking", "reasoning", "text")))
            elif kind in ("text", "output_text"):
                texts.append(_checked_text(part.get("text")))
        else:
            raise UnreadableReply("a part of a message is not text")
    return "".join(texts), "".join(reasoning)


def _text_in(part: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the text in the first field that has one, also as a list of parts (Mistral)."""
    for name in names:
        value = part.get(name)
        if value:
            text, reasoning = _read_content(value)
            return text or reasoning
    return ""


def _reasoning_field(fields: Mapping[str, Any]) -> str:
    """Return the reasoning in its own field: that of vLLM and DeepSeek, or of OpenRouter."""
    for name in ("reasoning_content", "reasoning"):
        value = fields.get(name)
        if isinstance(value, str) and value:
            return _checked_text(value)
    return ""


def _finish_reason(reason: Any, unknown_reasons: list[str]) -> str:
    """Return the finish reason in the words of `Completion`; unknown ones are added to the list."""
    # SGLang's own API has an object here.
    if isinstance(reason, dict):
        reason = reason.get("type")
    if reason is None:
        # The text may be complete, but nothing shows it.
        unknown_reasons.append("null")
        return LENGTH
    if not isinstance(reason, str):
        raise UnreadableReply("finish_reason is not text")
    name_as_sent = _checked_text(reason)
    name = name_as_sent.strip().lower()
    if name in STOP_REASONS:
        return STOP
    if name in LENGTH_REASONS:
        return LENGTH
    if name in UNFINISHED_REASONS:
        return name
    unknown_reasons.append(name_as_sent[:EXCERPT])
    # A colon would make it look like a rejected request.
    return name[:EXCERPT].replace(":", " ") or "unknown"


def _model_name(name: Any) -> str:
    return name[:EXCERPT] if isinstance(name, str) else ""


def _reported_error(error: Any) -> UnreadableReply:
    """Return the error that a server sends with status 200, as OpenRouter and proxies do."""
    message: Any = error
    names: list[str] = []
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error
        names = [str(error.get(name)).lower() for name in ("code", "status", "type")]
    text = excerpt(" ".join(str(message).split()), EXCERPT)
    statuses = [int(name) for name in names if name.isdecimal() and len(name) == STATUS_DIGITS]
    kind: FaultKind = kind_of_error(statuses, " ".join([text, *names]))
    return UnreadableReply(f"the server reports an error: {text}", kind.name)


def excerpt(text: str, length: int) -> str:
    """Return the beginning of a text, without a word that would be cut.

    The word can be a secret, which is recognized only as a whole.
    """
    if len(text) <= length:
        return text
    return CUT_WORD.sub("", text[: length + 1]).rstrip()


def _count(fields: Mapping[str, Any], name: str) -> int:
    """Return a count of tokens; 0 if it is missing or null."""
    value = fields.get(name)
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_TOKEN_COUNT:
        raise UnreadableReply(
            f"{name} is not a number of tokens: {value!r:.40}", "impossible number"
        )
    return value


def _checked_text(value: Any) -> str:
    """Return a text; a lone surrogate, which no later request could contain, becomes U+FFFD."""
    if not isinstance(value, str):
        raise UnreadableReply("a text is missing")
    text: str = value
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _checked_logprob(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (float, int):
        raise UnreadableReply("a log-probability is not a number")
    # An integer can be too large for a float.
    if not -sys.float_info.max <= value <= MAX_LOGPROB:
        raise UnreadableReply(f"{value!r:.40} is not a log-probability", "impossible number")
    return float(value)
