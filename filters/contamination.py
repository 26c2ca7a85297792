"""Contamination: drop questions that occur in a set on which models are evaluated.

The method is that of Tülu 3 (Lambert et al. 2024, arXiv 2411.15124, section 3.2). A question
contains an evaluation question if their shared n-grams of `ngram` words cover more than `share` of
the words of the evaluation question. Letter case and punctuation are ignored. An evaluation
question with fewer than `ngram` words matches only a question with the same words.

What is not covered: paraphrases, translations, and text that was copied into a solution but not
into its question.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from filters._tokens import normalize, words
from filters.base import Candidates, Share
from problems.base import Source
from problems.tabular.problem_stream import DUPLICATE_REASON
from stepmark import plugins
from stepmark.errors import InputError
from stepmark.identity import digest
from stepmark.records import Problem, Rejected

__all__ = ["Contamination"]


class _Question(NamedTuple):
    """An evaluation question: its source, its number in the source and its length in words."""

    source: str
    number: int
    words: int


class _Index(NamedTuple):
    """The n-grams of all evaluation questions.

    `ngrams` maps the digest of an n-gram to its positions: (index of the question, first word).
    `content` is a digest of all questions.
    """

    questions: Sequence[_Question]
    ngrams: Mapping[str, Sequence[tuple[int, int]]]
    content: str


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """Drop every trace of a problem whose question is in an evaluation set.

    `against` lists sources of problems, in the same form as [problems]: { use = "files", paths =
    ["test.jsonl"] }, { use = "huggingface", name = "openai/gsm8k", config = "main", split = "test"
    }; `fields` names the column of the question. An invalid row stops the run, because it could be
    the row that leaks. The index takes about 0.4 KB of memory per word of the evaluation sets.
    """

    against: Annotated[tuple[Mapping[str, Any], ...], Field(min_length=1)]
    """Evaluation sets, each a [problem source](run-file.md#problem-sources)."""
    ngram: Annotated[int, Field(ge=1)] = 8
    """Words per n-gram."""
    share: Share = 0.5
    """Share of the evaluation question's words that may be covered."""

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        # Report invalid source tables before the run starts.
        self._sources()

    def digest(self) -> str:
        """Return a digest of all evaluation questions."""
        return self._index.content

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each trace of a contaminated question, by trace id."""
        reason_by_problem: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for problem, trace, _ in candidates():
            # A problem has many traces, so its question is compared only once.
            if problem.problem_id not in reason_by_problem:
                reason_by_problem[problem.problem_id] = self._reason(problem.question)
            reason = reason_by_problem[problem.problem_id]
            if reason:
                reasons[trace.trace_id] = reason
        return reasons

    def _reason(self, question: str) -> str:
        """Return the most similar evaluation question and its covered share; "" if none matches."""
        covered_words: dict[int, set[int]] = defaultdict(set)
        for ngram, _, length in self._ngrams(words(normalize(question))):
            for index, start in self._index.ngrams.get(ngram, ()):
                covered_words[index].update(range(start, start + length))
        shares = {
            index: len(covered) / self._index.questions[index].words
            for index, covered in covered_words.items()
        }
        # Of equal shares the first question is named, independent of the order of the matches.
        most_covered = max(shares, key=lambda index: (shares[index], -index), default=None)
        if most_covered is None or shares[most_covered] <= self.share:
            return ""
        match = self._index.questions[most_covered]
        return f"{shares[most_covered]:.0%} of question {match.number} of {match.source}"

    def _sources(self) -> Sequence[Source]:
        return [plugins.build("problems", table) for table in self.against]

    @cached_property
    def _index(self) -> _Index:
        questions: list[_Question] = []
        ngrams: dict[str, list[tuple[int, int]]] = defaultdict(list)
        contents: list[str] = []
        for source in self._sources():
            for number, problem in enumerate(_evaluation_questions(source), start=1):
                question_words = words(normalize(problem.question))
                contents.append(digest(problem.source, question_words))
                for ngram, start, _ in self._ngrams(question_words):
                    ngrams[ngram].append((len(questions), start))
                questions.append(_Question(problem.source, number, len(question_words)))
        return _Index(questions, dict(ngrams), digest(contents))

    def _ngrams(self, question_words: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """Yield the digest, first word and length of every n-gram.

        A shorter text is one n-gram, and an empty text has none.
        """
        length = min(self.ngram, len(question_words))
        if length == 0:
            return
        for start in range(len(question_words) - length + 1):
            yield digest(question_words[start : start + length]), start, length


def _evaluation_questions(source: Source) -> Iterator[Problem]:
    """Yield the problems of an evaluation set.

    Raises:
        InputError: The set is empty, or a row is invalid for another reason than being repeated.
    """
    is_empty = True
    for row in source.problems():
        if isinstance(row, Problem):
            is_empty = False
            yield row
        elif not row.reason.startswith(DUPLICATE_REASON):
            raise InputError(_unusable(row))
    if is_empty:
        raise InputError(
            "filters.contamination: an evaluation set has no question;"
            " name the column with fields = { question = … }"
        )


def _unusable(row: Rejected) -> str:
    return (
        f"filters.contamination: {row.file}, row {row.row}, field '{row.field}': {row.reason};"
        " an evaluation set must be complete: fix the row, or name the column with fields"
    )
