"""Contamination: questions that are in a set on which models are evaluated.

As Tülu 3 does it (Lambert et al. 2024, arXiv 2411.15124, section 3.2): an evaluation question is found in one of ours when the
runs of `ngram` words that the two share cover more than `share` of the evaluation question's words. Letter case and punctuation do not
count. An evaluation question of fewer words than a run is found where ours is the same, word for word.

What is not covered: paraphrases, translations, and what was copied into a solution and not into its question.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from filters._tokens import normalised, words
from filters.base import Candidates, Share
from problems.base import Source
from problems.tabular.problem_stream import REPEATED
from stepmark import plugins
from stepmark.errors import InputError
from stepmark.identity import digest
from stepmark.records import Problem, Rejected

__all__ = ["Contamination"]


class _Question(NamedTuple):
    """An evaluation question: its place among those of its source, and how many words it has."""

    source: str
    number: int
    words: int


class _Index(NamedTuple):
    """All runs of words of the evaluation questions, and where each stands: (question, first word)."""

    questions: Sequence[_Question]
    runs: Mapping[str, Sequence[tuple[int, int]]]
    content: str


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """Drop every trace of a problem whose question is in an evaluation set.

    `against` holds sources of problems as [problems] does: { use = "files", paths = ["test.jsonl"] }, { use = "huggingface", name =
    "openai/gsm8k", config = "main", split = "test" }; `fields` names the column. A set is read whole or not at all: a row
    that cannot be used ends the run, since it could be the one that leaks. Memory is about 0.4 KB a word of the sets.
    """

    against: Annotated[tuple[Mapping[str, Any], ...], Field(min_length=1)]
    ngram: Annotated[int, Field(ge=1)] = 8
    share: Share = 0.5

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self._sources()

    def content(self) -> str:
        """The digest of all evaluation questions."""
        return self._index.content

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The traces of questions that are evaluated on."""
        told, reasons = dict[str, str](), dict[str, str]()
        for problem, trace, _ in candidates():
            if problem.problem_id not in told:
                told[problem.problem_id] = self._reason(problem.question)
            if why := told[problem.problem_id]:
                reasons[trace.trace_id] = why
        return reasons

    def _reason(self, question: str) -> str:
        covered: dict[int, set[int]] = defaultdict(set)
        for run, _, length in self._runs(words(normalised(question))):
            for index, start in self._index.runs.get(run, ()):
                covered[index].update(range(start, start + length))
        shares = {
            index: len(found) / self._index.questions[index].words
            for index, found in covered.items()
        }
        worst = max(shares, key=lambda index: (shares[index], -index), default=-1)
        if worst < 0 or shares[worst] <= self.share:
            return ""
        found = self._index.questions[worst]
        return f"{shares[worst]:.0%} of question {found.number} of {found.source}"

    def _sources(self) -> Sequence[Source]:
        return [plugins.build("problems", table) for table in self.against]

    @cached_property
    def _index(self) -> _Index:
        questions, runs = list[_Question](), defaultdict[str, list[tuple[int, int]]](list)
        contents = list[str]()
        for source in self._sources():
            for number, problem in enumerate(_questions(source), start=1):
                found = words(normalised(problem.question))
                contents.append(digest(problem.source, found))
                for run, start, _ in self._runs(found):
                    runs[run].append((len(questions), start))
                questions.append(_Question(problem.source, number, len(found)))
        return _Index(questions, dict(runs), digest(contents))

    def _runs(self, found: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """Every run's digest, first word and number of words; a shorter text is one run."""
        length = min(self.ngram, len(found))
        for start in range(len(found) - length + 1 if length else 0):
            yield digest(found[start : start + length]), start, length


def _questions(source: Source) -> Iterator[Problem]:
    """The problems of an evaluation set, which has some and no row that is left out, save for repetitions."""
    empty = True
    for row in source.problems():
        if isinstance(row, Problem):
            empty = False
            yield row
        elif not row.reason.startswith(REPEATED):
            raise InputError(_unusable(row))
    if empty:
        raise InputError(
            "filters.contamination: an evaluation set has no question; name the column with fields = { question = … }"
        )


def _unusable(row: Rejected) -> str:
    return (
        f"filters.contamination: {row.file}, row {row.row}, field '{row.field}': {row.reason};"
        " an evaluation set is compared whole: mend the row, or name the column with fields"
    )
