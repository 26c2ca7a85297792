"""Duplicates: the same question asked again, the same solution of a problem written again, exactly or nearly.

Exact: equal once letter case, forms of characters and white space are evened out. Near: their shingles (runs of tokens) have a Jaccard
similarity of at least `threshold`, estimated from MinHash signatures (Broder 1997) and found by locality-sensitive hashing.

Texts with different numbers are never near: "15 - 4 = 11" is no copy of "15 - 4 = 12", and a problem with other numbers is another problem.
Nor are traces whose labels name different first errors: a word may make the difference, and such a pair teaches more than either.

What is not covered: the same question in other words; numbers that one text writes in words. Traces are compared with the traces of their
own problem. The estimate of a similarity is off by 0.04 (one standard deviation at 0.7).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from datasketch import MinHash, MinHashLSH
from pydantic import Field

from filters._tokens import normalised, numbers, tokens
from filters.base import Candidates
from stepmark.identity import digest

__all__ = ["Duplicates"]

PERMUTATIONS = 128
SEED = 1
# Missing a pair costs more than proposing one that the signatures then refuse.
PROPOSE_WRONGLY, MISS = 0.1, 0.9


class _Text(NamedTuple):
    """A text by its id, normalised; texts of different groups are no duplicates."""

    name: str
    group: str
    text: str
    first_error: int | None = None


class _Print(NamedTuple):
    """What is kept of a text that is not alone in its group."""

    exact: str
    first_error: int | None
    signature: Any


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Keep the first of each group of duplicates, by id, and drop the others: every trace of a repeated question, every repeated trace.

    A text is compared with those that are kept, so a chain of small changes ends where the first text is no longer near. Memory is about
    0.3 KB a text, and 4 KB more for one whose numbers another one has, too.
    """

    of: Annotated[tuple[Literal["questions", "traces"], ...], Field(min_length=1)] = (
        "questions",
        "traces",
    )
    threshold: Annotated[float, Field(ge=0.1, le=0.95)] = 0.7
    shingle_tokens: Annotated[int, Field(ge=1)] = 3

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The repetitions, each with the id of what it repeats."""
        repeated = (
            self._repeated(lambda: _questions(candidates), "that of problem")
            if "questions" in self.of
            else {}
        )
        reasons = {
            trace.trace_id: f"its question is {repeated[problem.problem_id]}"
            for problem, trace, _ in candidates()
            if problem.problem_id in repeated
        }
        if "traces" in self.of:
            reasons |= self._repeated(lambda: _traces(candidates, but=repeated), "trace")
        return reasons

    def _repeated(self, texts: Callable[[], Iterator[_Text]], kind: str) -> dict[str, str]:
        """By id, which text of its group a text repeats."""
        sizes = Counter({text.name: text.group for text in texts()}.values())
        groups: dict[str, dict[str, _Print]] = defaultdict(dict)
        for text in texts():
            if sizes[text.group] > 1 and text.name not in groups[text.group]:
                groups[text.group][text.name] = self._print(text)
        return {
            name: told
            for prints in groups.values()
            for name, told in self._within(prints, kind).items()
        }

    def _within(self, prints: Mapping[str, _Print], kind: str) -> Mapping[str, str]:
        found, exact = dict[str, str](), dict[str, str]()
        near = MinHashLSH(num_perm=PERMUTATIONS, params=self._bands)
        for name, one in sorted(prints.items()):
            if one.exact in exact:
                found[name] = f"the same as {kind} {exact[one.exact]}"
                continue
            alike = [
                other for other in near.query(one.signature) if self._is_near(prints[other], one)
            ]
            if alike:
                found[name] = f"nearly the same as {kind} {min(alike)}"
            else:
                exact[one.exact] = name
                near.insert(name, one.signature)
        return found

    def _is_near(self, one: _Print, other: _Print) -> bool:
        return one.first_error == other.first_error and bool(
            one.signature.jaccard(other.signature) >= self.threshold
        )

    def _print(self, text: _Text) -> _Print:
        signature = self._blank.copy()
        signature.update_batch(list(self._shingles(text.text)))
        return _Print(digest(text.text), text.first_error, signature)

    def _shingles(self, text: str) -> Iterator[bytes]:
        found = tokens(text)
        for start in range(max(1, len(found) - self.shingle_tokens + 1)):
            yield " ".join(found[start : start + self.shingle_tokens]).encode(
                "utf-8", "surrogatepass"
            )

    @cached_property
    def _blank(self) -> Any:
        return MinHash(num_perm=PERMUTATIONS, seed=SEED)

    @cached_property
    def _bands(self) -> tuple[int, int]:
        """How a signature is cut so that texts above the threshold meet; the library takes 0.1 s to find it."""
        found = MinHashLSH(
            threshold=self.threshold, num_perm=PERMUTATIONS, weights=(PROPOSE_WRONGLY, MISS)
        )
        return found.b, found.r


def _questions(candidates: Candidates) -> Iterator[_Text]:
    for problem, _, _ in candidates():
        text = normalised(problem.question)
        yield _Text(problem.problem_id, digest(numbers(text)), text)


def _traces(candidates: Candidates, but: Container[str]) -> Iterator[_Text]:
    """The traces of all problems but some."""
    for problem, trace, label in candidates():
        if problem.problem_id not in but:
            text = normalised("".join(trace.steps))
            yield _Text(
                trace.trace_id, digest(problem.problem_id, numbers(text)), text, label.first_error
            )
