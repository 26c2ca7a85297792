"""Doubtful texts: complete replies that a fault of the server explains better than the model.

An empty text can be the answer of a model that ends at once, so it is not an error. But a proxy or
a server that stops returns one too. It is requested again, and believed when it comes again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.base import Completion
from engines.runtime.faults import FaultKind, kind_named
from engines.runtime.openai_replies import INTERRUPTED_REASONS, LENGTH, STOP, Reply

__all__ = ["FEW_TOKENS", "DoubtfulReply", "Doubts"]

EMPTY_TEXT = "empty text"
INTERRUPTED_TEXT = "interrupted text"
NO_FINISH_REASON = "no finish reason"
CUT_TEXT = "cut text"
EARLY_CUT = "text cut early"
# Counts of the same text can differ by a token, for instance one that ends it.
TOLERANCE_TOKENS = 1
# Fewer tokens than this can well be white space alone.
FEW_TOKENS = 8
# A kind of reply is usual, and not requested again, after this many that came again and again, and
# if hardly any other reply came instead: weak models often return an empty text.
CONFIRMED = 3
CONFIRMED_PER_REFUTED = 10


class DoubtfulReply(Exception):  # noqa: N818  # the engine returns the reply if it comes again
    """A reply of which every text is doubtful.

    Args:
        reply: The reply.
        kind: The name of the kind of doubt.
    """

    def __init__(self, reply: Reply, kind: str) -> None:
        super().__init__(kind)
        self.reply = reply
        self.kind: FaultKind = kind_named(kind)


@dataclass(kw_only=True)
class Doubts:
    """What the replies of a model have shown so far, with which the next ones are compared."""

    most_generated: int = 0
    """The most tokens that one text had."""
    most_total: int = 0
    """The most tokens that a prompt and one text had together."""
    confirmed: Counter[str] = field(default_factory=Counter)
    """How often the same kind of reply came again and again, by kind of doubt."""
    refuted: Counter[str] = field(default_factory=Counter)
    """How often another reply came instead, by kind of doubt."""
    with_reason: int = 0
    """The number of texts with a finish reason."""
    without_reason: int = 0

    def about(self, reply: Reply, max_tokens: int) -> Mapping[int, str]:
        """Return the kind of doubt by the position of each doubtful text in the reply.

        Args:
            reply: A reply.
            max_tokens: The largest number of tokens that the request allows for each text.
        """
        self.without_reason += len(reply.without_reason)
        self.with_reason += len(reply.completions) - len(reply.without_reason)
        cut = self._doubt_of_cuts(reply, max_tokens)
        doubts: dict[int, str] = {}
        for index, completion in enumerate(reply.completions):
            kind = _doubt_of(completion, max_tokens)
            if index in reply.without_reason:
                kind = kind or NO_FINISH_REASON
            elif completion.finish_reason == LENGTH:
                kind = kind or cut
            if kind is not None and not self._is_usual(kind):
                doubts[index] = kind
        return doubts

    def _is_usual(self, kind: str) -> bool:
        """Return whether the model, or its server, has shown that it replies so."""
        if kind == NO_FINISH_REASON and not self.with_reason:
            return self.without_reason > CONFIRMED
        enough = max(CONFIRMED, CONFIRMED_PER_REFUTED * self.refuted[kind])
        return self.confirmed[kind] >= enough

    def learn(self, reply: Reply) -> None:
        """Learn from a reply that is used."""
        prompt, generated = _tokens(reply)
        mean = generated // len(reply.completions)
        self.most_generated = max(self.most_generated, mean)
        self.most_total = max(self.most_total, prompt + mean)

    def _doubt_of_cuts(self, reply: Reply, max_tokens: int) -> str | None:
        """Return the kind of doubt about the texts of a reply that were cut; None if there is none.

        The limits are those of the request, of the server and of the context, of which the last two
        are at least what earlier texts needed. A text that is shorter than all of them was not cut
        by a limit. One that is only shorter than the requested limit was cut by another one, or by
        a fault: early in a run, no other text shows which.
        """
        cut = 0
        for index, completion in enumerate(reply.completions):
            if completion.reasoning:
                # Some servers do not count it.
                return None
            if completion.finish_reason == LENGTH and index not in reply.without_reason:
                cut += 1
        prompt, generated = _tokens(reply)
        if not generated:
            return None
        known_limit = min(max_tokens, self.most_generated, self.most_total - prompt)
        if generated < cut * (known_limit - TOLERANCE_TOKENS):
            return CUT_TEXT
        if generated < cut * (max_tokens - TOLERANCE_TOKENS):
            return EARLY_CUT
        return None


def _doubt_of(completion: Completion, max_tokens: int) -> str | None:
    if completion.finish_reason in INTERRUPTED_REASONS:
        return INTERRUPTED_TEXT
    ended = completion.finish_reason in (STOP, LENGTH)
    is_empty = not completion.text.strip() and not completion.reasoning
    if ended and is_empty and max_tokens >= FEW_TOKENS:
        return EMPTY_TEXT
    return None


def _tokens(reply: Reply) -> tuple[int, int]:
    """Return the tokens of the prompt, and of all texts together."""
    prompt = 0
    generated = 0
    for completion in reply.completions:
        prompt = completion.prompt_tokens
        generated += completion.generated_tokens
    return prompt, generated
