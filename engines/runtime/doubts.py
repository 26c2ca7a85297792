"""Doubtful texts: complete replies that a fault of the server explains better than the model.

An empty text can be the answer of a model that ends at once, so it is not an error. But a proxy or
a server that stops returns one too. It is requested again, and accepted when it comes again.

A text that was cut can have reached a limit of the server. One request shows the limit if its text
is cut at the same place again, and no text at the limit is requested again after that.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.base import Completion
from engines.runtime.faults import FaultKind, kind_named
from engines.runtime.openai_replies import INTERRUPTED_REASONS, LENGTH, STOP, Reply

__all__ = ["FEW_TOKENS", "DoubtfulReply", "Doubts", "RequestDoubts"]

EMPTY_TEXT = "empty text"
INTERRUPTED_TEXT = "interrupted text"
NO_FINISH_REASON = "no finish reason"
CUT_TEXT = "cut text"
EARLY_CUT = "text cut early"
# Counts of the same text can differ by a token, for instance one that ends it.
TOLERANCE_TOKENS = 1
# Fewer tokens than this can well be white space alone.
FEW_TOKENS = 8
# A kind of reply is usual, and is not requested again, if this many requests got it at every
# repetition, and hardly any got another reply instead: weak models often return an empty text.
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
    limit_of_generated: float = math.inf
    """The tokens of a text after which the server was seen to cut; infinite if it was not."""
    limit_of_total: float = math.inf
    """The same for the prompt and a text together, as at the end of a context."""
    confirmed: Counter[str] = field(default_factory=Counter)
    """How many requests got such a reply again and again, by kind of doubt."""
    refuted: Counter[str] = field(default_factory=Counter)
    """How many requests got another reply instead, by kind of doubt."""

    def about(self, reply: Reply, max_tokens: int) -> Mapping[int, str]:
        """Return the kind of doubt by the position of each doubtful text in the reply.

        Args:
            reply: A reply.
            max_tokens: The largest number of tokens that the request allows for each text.
        """
        doubts: dict[int, str] = {}
        for index, kind in self.kinds_of(reply, max_tokens).items():
            if not self._is_usual(kind):
                doubts[index] = kind
        return doubts

    def kinds_of(self, reply: Reply, max_tokens: int) -> Mapping[int, str]:
        """Return what `about` returns, and also the kinds that are usual by now."""
        cut = self._doubt_of_cuts(reply, max_tokens)
        kinds: dict[int, str] = {}
        for index, completion in enumerate(reply.completions):
            kind = _doubt_of(completion, max_tokens)
            if index in reply.without_reason:
                kind = kind or NO_FINISH_REASON
            elif completion.finish_reason == LENGTH:
                kind = kind or cut
            if kind is not None:
                kinds[index] = kind
        return kinds

    def _is_usual(self, kind: str) -> bool:
        """Return whether the model, or its server, has shown that it replies so."""
        enough = max(CONFIRMED, CONFIRMED_PER_REFUTED * self.refuted[kind])
        return self.confirmed[kind] >= enough

    def learn(self, reply: Reply) -> None:
        """Learn from a reply that is used."""
        prompt, generated = _tokens(reply)
        mean = generated // len(reply.completions)
        self.most_generated = max(self.most_generated, mean)
        self.most_total = max(self.most_total, prompt + mean)
        # A longer text shows that the limit is another one.
        if self.most_generated > self.limit_of_generated + TOLERANCE_TOKENS:
            self.limit_of_generated = math.inf
        if self.most_total > self.limit_of_total + TOLERANCE_TOKENS:
            self.limit_of_total = math.inf

    def learn_limit(self, first: Reply, second: Reply) -> bool:
        """Learn a limit of the server from two replies to one request, if they show one.

        Two texts of the same length show a limit, because a fault cuts each reply at another place.
        Later texts show whether it limits the text, or the prompt and the text together.
        """
        if not (_is_all_cut(first) and _is_all_cut(second)):
            return False
        prompt, generated = _tokens(second)
        count = len(second.completions)
        difference = abs(_tokens(first)[1] - generated)
        if not generated or difference > TOLERANCE_TOKENS * count:
            return False
        mean = generated // count
        is_longest = mean >= self.most_generated - TOLERANCE_TOKENS
        if is_longest:
            self.limit_of_generated = mean
        is_longest_in_total = prompt + mean >= self.most_total - TOLERANCE_TOKENS
        if is_longest_in_total:
            self.limit_of_total = prompt + mean
        return is_longest or is_longest_in_total

    def _doubt_of_cuts(self, reply: Reply, max_tokens: int) -> str | None:
        """Return the kind of doubt about the texts of a reply that were cut; None if there is none.

        Three limits can cut a text: `max_tokens` of the request, a limit of the server, and the
        size of the context. The last two are unknown, but earlier texts show how large they are at
        least. A text that is shorter than that and than `max_tokens` was cut by no limit
        (CUT_TEXT). A text that is shorter than `max_tokens` only was cut by a limit that is not
        known yet, or by a fault (EARLY_CUT).
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
        possible_limit = min(max_tokens, self.most_generated, self.most_total - prompt)
        if generated < cut * (possible_limit - TOLERANCE_TOKENS):
            return CUT_TEXT
        known_limit = min(max_tokens, self.limit_of_generated, self.limit_of_total - prompt)
        if generated < cut * (known_limit - TOLERANCE_TOKENS):
            return EARLY_CUT
        return None


@dataclass(kw_only=True)
class RequestDoubts:
    """The doubts about the replies to one request, which is repeated until one is accepted."""

    doubts: Doubts
    max_tokens: int
    """The largest number of tokens that the request allows for each text."""
    _kinds: set[str] = field(default_factory=set)
    _last: Reply | None = None

    def examine(self, reply: Reply) -> Mapping[int, str]:
        """Return the kind of doubt by the position of each doubtful text in a reply.

        Raises:
            DoubtfulReply: All of its texts are doubtful.
        """
        if self._last is not None and self.doubts.learn_limit(self._last, reply):
            self._kinds.discard(EARLY_CUT)
        doubts = self.doubts.about(reply, self.max_tokens)
        if len(doubts) == len(reply.completions):
            self._last = reply
            self._kinds.add(doubts[0])
            raise DoubtfulReply(reply, doubts[0])
        # A kind that has become usual meanwhile is not refuted by a reply of this kind.
        again = self.doubts.kinds_of(reply, self.max_tokens).values()
        self.doubts.refuted.update(self._kinds.difference(again))
        return doubts


def _is_all_cut(reply: Reply) -> bool:
    """Return whether a limit has cut every text of a reply."""
    if reply.without_reason:
        return False
    return all(completion.finish_reason == LENGTH for completion in reply.completions)


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
