"""Duplicates: drop repeated questions, and repeated solutions of a problem, exact or near.

Exact duplicates are equal after normalization of letter case, Unicode forms and white space. Near
duplicates have shingles (runs of tokens) with a Jaccard similarity of at least `threshold`,
estimated from MinHash signatures (Broder 1997) and searched with locality-sensitive hashing.

Texts with different numbers are never near duplicates: "15 - 4 = 11" is not a copy of
"15 - 4 = 12", and a problem with other numbers is another problem. Traces whose labels have
different first errors are not near duplicates either: the changed word can be the error, and both
traces together are more informative than one.

What is not covered: the same question in other words; numbers that one text writes in words. A
trace is compared only with traces of the same problem. The estimated similarity has a standard
deviation of 0.04 (at 0.7).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from datasketch import MinHash, MinHashLSH
from pydantic import Field

from filters._tokens import normalize, numbers, tokens
from filters.base import Candidates
from stepmark.identity import digest

__all__ = ["Duplicates"]

PERMUTATIONS = 128
SEED = 1
# Weights of the two errors of the hash bands. A missed pair is lost, whereas a wrongly proposed one
# is rejected when the signatures are compared.
FALSE_POSITIVE_WEIGHT = 0.1
FALSE_NEGATIVE_WEIGHT = 0.9


class _Text(NamedTuple):
    """A normalized text with its id; only texts of the same group can be duplicates."""

    text_id: str
    group: str
    text: str
    first_error: int | None = None


class _Signature(NamedTuple):
    """What is kept in memory about a text whose group has more than one member."""

    exact: str
    """The digest of the normalized text."""
    first_error: int | None
    minhash: Any


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Keep the text with the smallest id of each group of duplicates.

    All traces of a repeated question are dropped. A text is compared only with texts that are kept,
    so a chain of small changes ends where a text is too far from the first one. The memory is about
    0.3 KB per text, and 4 KB more for a text that has the same numbers as another one.
    """

    of: Annotated[tuple[Literal["questions", "traces"], ...], Field(min_length=1)] = (
        "questions",
        "traces",
    )
    """What is compared: `questions`, `traces`, or both."""
    threshold: Annotated[float, Field(ge=0.1, le=0.95)] = 0.7
    """Jaccard similarity from which two texts are near copies; the estimate has a standard
    deviation of 0.04.
    """
    shingle_tokens: Annotated[int, Field(ge=1)] = 3
    """Tokens per shingle."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each repetition, with the repeated text's id, by trace id."""
        repeated_problems: Mapping[str, str] = {}
        if "questions" in self.of:
            questions = partial(_questions, candidates)
            repeated_problems = self._repetitions(questions, "that of problem")
        reasons: dict[str, str] = {}
        for problem, trace, _ in candidates():
            if problem.problem_id in repeated_problems:
                repetition = repeated_problems[problem.problem_id]
                reasons[trace.trace_id] = f"its question is {repetition}"
        if "traces" in self.of:
            traces = partial(_traces, candidates, excluded_problems=repeated_problems)
            reasons |= self._repetitions(traces, "trace")
        return reasons

    def _repetitions(self, texts: Callable[[], Iterator[_Text]], kind: str) -> Mapping[str, str]:
        """Return "the same as …" or "nearly the same as …" for each repetition, by its id.

        `texts` is read twice: signatures are expensive, so they are computed only for texts whose
        group has more than one member.
        """
        group_of = {text.text_id: text.group for text in texts()}
        group_sizes = Counter(group_of.values())
        groups: dict[str, dict[str, _Signature]] = defaultdict(dict)
        for text in texts():
            signatures = groups[text.group]
            # A question occurs once per trace.
            if group_sizes[text.group] > 1 and text.text_id not in signatures:
                signatures[text.text_id] = self._signature(text)
        repetitions: dict[str, str] = {}
        for signatures in groups.values():
            repetitions |= self._repetitions_in_group(signatures, kind)
        return repetitions

    def _repetitions_in_group(
        self, signatures: Mapping[str, _Signature], kind: str
    ) -> Mapping[str, str]:
        repetitions: dict[str, str] = {}
        # The ids of the kept texts by the digest of the text, and searchable by similarity.
        kept_exact: dict[str, str] = {}
        kept_near = MinHashLSH(num_perm=PERMUTATIONS, params=self._bands)
        for text_id, signature in sorted(signatures.items()):
            if signature.exact in kept_exact:
                repetitions[text_id] = f"the same as {kind} {kept_exact[signature.exact]}"
                continue
            near_ids = self._near_ids(signature, signatures, kept_near)
            if near_ids:
                repetitions[text_id] = f"nearly the same as {kind} {min(near_ids)}"
                continue
            kept_exact[signature.exact] = text_id
            kept_near.insert(text_id, signature.minhash)
        return repetitions

    def _near_ids(
        self, signature: _Signature, signatures: Mapping[str, _Signature], kept: MinHashLSH
    ) -> list[str]:
        """Return the ids of the kept texts that a text nearly repeats."""
        near_ids: list[str] = []
        # Hashing only proposes pairs; the signatures decide.
        for kept_id in kept.query(signature.minhash):
            if self._is_near(signatures[kept_id], signature):
                near_ids.append(kept_id)
        return near_ids

    def _is_near(self, left: _Signature, right: _Signature) -> bool:
        if left.first_error != right.first_error:
            return False
        return bool(left.minhash.jaccard(right.minhash) >= self.threshold)

    def _signature(self, text: _Text) -> _Signature:
        minhash = self._empty_minhash.copy()
        minhash.update_batch(list(self._shingles(text.text)))
        return _Signature(digest(text.text), text.first_error, minhash)

    def _shingles(self, text: str) -> Iterator[bytes]:
        """Yield the encoded runs of `shingle_tokens` tokens; a shorter text is one shingle."""
        text_tokens = tokens(text)
        for start in range(max(1, len(text_tokens) - self.shingle_tokens + 1)):
            shingle = " ".join(text_tokens[start : start + self.shingle_tokens])
            # Model text can contain lone surrogates, which plain UTF-8 does not encode.
            yield shingle.encode("utf-8", "surrogatepass")

    @cached_property
    def _empty_minhash(self) -> Any:
        # Copied for every text: drawing the permutations takes longer than hashing a text.
        return MinHash(num_perm=PERMUTATIONS, seed=SEED)

    @cached_property
    def _bands(self) -> tuple[int, int]:
        """Return the number of bands and of rows per band for the threshold.

        The library takes 0.1 s to compute them, so they are shared by all groups.
        """
        weights = (FALSE_POSITIVE_WEIGHT, FALSE_NEGATIVE_WEIGHT)
        optimized = MinHashLSH(threshold=self.threshold, num_perm=PERMUTATIONS, weights=weights)
        return optimized.b, optimized.r


def _questions(candidates: Candidates) -> Iterator[_Text]:
    """Yield the question of every candidate, with its numbers as its group."""
    for problem, _, _ in candidates():
        text = normalize(problem.question)
        yield _Text(problem.problem_id, digest(numbers(text)), text)


def _traces(candidates: Candidates, excluded_problems: Container[str]) -> Iterator[_Text]:
    """Yield the solution of every candidate, with its problem and numbers as its group."""
    for problem, trace, label in candidates():
        if problem.problem_id in excluded_problems:
            continue
        text = normalize("".join(trace.steps))
        group = digest(problem.problem_id, numbers(text))
        yield _Text(trace.trace_id, group, text, label.first_error)
