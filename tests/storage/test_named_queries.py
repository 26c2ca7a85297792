"""The named queries, against the same figures computed in Python."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from stepmark.errors import ConfigError
from stepmark.records import (
    Annotation,
    Cost,
    Label,
    Problem,
    Rollout,
    StepAnnotation,
    Trace,
    Verdict,
    first_error_of,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, rollouts
from storage.queries.named_queries import named_queries, named_query
from storage.queries.sql import query
from tests.columns import column
from tests.storage.samples import ANNOTATION, BAD, GOOD, LABEL, PROBLEM, ROLLOUT, TRACE, UNKNOWN

METHODS = ("judge", "monte_carlo", "oracle")
REASONS = ("duplicates: the same as t1", "undecided: judge", "agreement: both", "disagreement")
PROBLEMS_OF_A_SHARD = 6


class Sample:
    """A dataset in two shards with random verdicts, and its records."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.chance = random.Random(1)
        self.problems = list[Problem]()
        self.traces = list[Trace]()
        self.labels = list[Label]()
        self.annotations = list[Annotation]()
        self.rollouts = list[Rollout]()
        for shard in range(2):
            self._write_shard(shard)

    def _write_shard(self, shard: int) -> None:
        problems = [
            replace(PROBLEM, problem_id=f"p{shard}{index}") for index in range(PROBLEMS_OF_A_SHARD)
        ]
        traces = list[Trace]()
        for problem in problems:
            traces += [self._trace(problem, index) for index in range(4)]
        labels = list(map(self._label, traces))
        sampled = list[Rollout]()
        for trace in traces:
            sampled += [self._rollout(trace, steps) for steps in (1, 1, 2)]
        self.dataset.write_part(PROBLEMS, shard, problems, "f")
        self.dataset.write_part(TRACES, shard, traces, "f")
        self.dataset.write_part(LABELS, shard, labels, "f")
        self.dataset.write_part(rollouts("monte_carlo"), shard, sampled, "f")
        for method in METHODS:
            made = [self._annotation(trace, method) for trace in traces]
            self.dataset.write_part(annotations(method), shard, made, "f")
            self.annotations += made
        self.problems += problems
        self.traces += traces
        self.labels += labels
        self.rollouts += sampled

    def _trace(self, problem: Problem, index: int) -> Trace:
        count = self.chance.randint(1, 5)
        # No trace of the first problem is correct.
        outcomes = (BAD, UNKNOWN) if problem.problem_id == "p00" else (GOOD, BAD)
        return replace(
            TRACE,
            trace_id=f"{problem.problem_id}-{index}",
            problem_id=problem.problem_id,
            steps=tuple(f"step {step}\n" for step in range(count)),
            outcome=self.chance.choice(outcomes),
            final_answer="7",
            generated_tokens=self.chance.randint(1, 99),
        )

    def _label(self, trace: Trace) -> Label:
        return replace(
            LABEL,
            trace_id=trace.trace_id,
            first_error=self.chance.choice((-1, 0, None)),
            kept=self.chance.random() < 0.5,
            reason=self.chance.choice(REASONS),
        )

    def _annotation(self, trace: Trace, method: str) -> Annotation:
        steps = []
        for _ in trace.steps:
            verdict = self.chance.choice((GOOD, GOOD, BAD, UNKNOWN))
            value = self.chance.choice((0.0, 0.05, 0.3, 0.7, 1.0, None))
            steps.append(StepAnnotation(verdict=verdict, value=value))
        return replace(
            ANNOTATION,
            trace_id=trace.trace_id,
            method=method,
            steps=tuple(steps),
            first_error=first_error_of(column(steps, "verdict")),
            cost=Cost(rollouts=3, generated_tokens=self.chance.randint(1, 99)),
        )

    def _rollout(self, trace: Trace, steps: int) -> Rollout:
        return replace(
            ROLLOUT,
            method="monte_carlo",
            trace_id=trace.trace_id,
            prefix_steps=steps,
            rollout_id=str(self.chance.random()),
        )

    def run(self, name: str, *arguments: str) -> list[tuple[Any, ...]]:
        """Return the rows of a named query."""
        named = named_query(name)
        table = query(self.dataset, named.sql, parameters=named.bind(arguments))
        return [tuple(row.values()) for row in table.to_pylist()]

    def by_trace(self, method: str) -> dict[str, Annotation]:
        """Return the annotations of a method by trace."""
        return {made.trace_id: made for made in self.annotations if made.method == method}

    def step_verdicts(self, first: str, second: str) -> list[tuple[Verdict, Verdict]]:
        """Return the verdicts of two methods on every step."""
        others = self.by_trace(second)
        pairs = []
        for trace_id, annotation in self.by_trace(first).items():
            for step, other in zip(annotation.steps, others[trace_id].steps, strict=True):
                pairs.append((step.verdict, other.verdict))
        return pairs


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(Dataset(str(tmp_path_factory.mktemp("named") / "dataset")))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def test_disagreements(sample: Sample) -> None:
    for methods in (("monte_carlo", "judge"), ("oracle", "monte_carlo")):
        first, second = map(sample.by_trace, methods)
        expected = []
        for trace, label in zip(sample.traces, sample.labels, strict=True):
            found = first[trace.trace_id].first_error, second[trace.trace_id].first_error
            if None not in found and found[0] != found[1]:
                row = (trace.trace_id, trace.outcome, *found, label.first_error, label.reason)
                expected.append(row)
        assert expected
        assert sample.run("disagreements", *methods) == sorted(expected)
    assert sample.run("disagreements") == sample.run("disagreements", "monte_carlo", "judge")


def test_cost_per_label(sample: Sample) -> None:
    kept = sum(column(sample.labels, "kept"))
    tokens = sum(column(sample.traces, "generated_tokens"))
    count = len(sample.traces)
    expected: list[tuple[Any, ...]] = [
        ("(traces)", count, None, None, tokens, round(tokens / kept, 1))
    ]
    for method in METHODS:
        made = sample.by_trace(method).values()
        tokens = sum(column(made, "cost.generated_tokens"))
        decided = sum(annotation.first_error is not None for annotation in made)
        expected.append((method, count, decided, 3 * count, tokens, round(tokens / kept, 1)))
    assert sample.run("cost_per_label") == expected


def test_kappa(sample: Sample) -> None:
    expected = []
    for first, second in combinations(METHODS, 2):
        pairs = [pair for pair in sample.step_verdicts(first, second) if UNKNOWN not in pair]
        verdicts, other_verdicts = zip(*pairs, strict=True)
        agreement = mean([a == b for a, b in pairs])
        share_first = verdicts.count(GOOD) / len(pairs)
        share_second = other_verdicts.count(GOOD) / len(pairs)
        chance = share_first * share_second + (1 - share_first) * (1 - share_second)
        others = sample.by_trace(second)
        same = [
            made.first_error == others[trace_id].first_error
            for trace_id, made in sample.by_trace(first).items()
            if made.first_error is not None and others[trace_id].first_error is not None
        ]
        kappa = (agreement - chance) / (1 - chance)
        expected.append((first, second, len(pairs), agreement, kappa, len(same), mean(same)))
    rows = sample.run("kappa")
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row[3:] == pytest.approx(other[3:], abs=1e-4)


def test_confusion(sample: Sample) -> None:
    for methods in (("judge", "oracle"), ("monte_carlo", "judge")):
        counts = Counter(sample.step_verdicts(*methods))
        expected = []
        for verdict in (GOOD, BAD, UNKNOWN):
            row = [counts[verdict, other] for other in (GOOD, BAD, UNKNOWN)]
            expected.append((methods[0], verdict, methods[1], *row))
        assert sample.run("confusion", *methods) == expected


def test_first_errors(sample: Sample) -> None:
    counts = Counter[tuple[str, int | None]]()
    for annotation in sample.annotations:
        counts[annotation.method, annotation.first_error] += 1
    for label in sample.labels:
        counts["the labels", label.first_error] += label.kept
    expected = [(*key, count) for key, count in counts.items() if key[1] is not None]
    assert [row[:3] for row in sample.run("first_errors")] == sorted(expected)


def test_calibration(sample: Sample) -> None:
    bins = defaultdict[float, list[tuple[float, bool]]](list)
    oracle = sample.by_trace("oracle")
    for trace_id, annotation in sample.by_trace("monte_carlo").items():
        for step, gold in zip(annotation.steps, oracle[trace_id].steps, strict=True):
            if step.value is not None and gold.verdict is not UNKNOWN:
                start = {0.0: 0.0, 0.05: 0.0, 0.3: 0.3, 0.7: 0.7, 1.0: 0.9}[step.value]
                bins[start].append((step.value, gold.verdict is GOOD))
    expected = []
    for start, steps in sorted(bins.items()):
        values, correct = zip(*steps, strict=True)
        expected.append((start, len(steps), mean(values), mean(correct)))
    rows = sample.run("calibration")
    assert len(rows) == len(expected) == 4
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-4)


def test_dropped(sample: Sample) -> None:
    groups = defaultdict[str, list[Label]](list)
    for label in sample.labels:
        if not label.kept:
            groups[label.reason.partition(":")[0]].append(label)
    rows = sample.run("dropped")
    assert {row[0]: row[1] for row in rows} == {
        reason: len(labels) for reason, labels in groups.items()
    }
    for reason, _, example, trace_id in rows:
        assert (example, trace_id) in column(groups[reason], "reason", "trace_id")


def test_unsolved(sample: Sample) -> None:
    solved = {trace.problem_id for trace in sample.traces if trace.outcome is GOOD}
    unknown = Counter(trace.problem_id for trace in sample.traces if trace.outcome is UNKNOWN)
    expected = []
    for problem in sample.problems:
        name = problem.problem_id
        if name not in solved:
            expected.append((name, 4, unknown[name], problem.answer, "7", problem.question))
    assert expected
    assert sample.run("unsolved") == expected


def test_longest(sample: Sample) -> None:
    traces = sorted(
        sample.traces,
        key=lambda trace: (-len(trace.steps), -trace.generated_tokens, trace.trace_id),
    )
    expected = [(trace.trace_id, len(trace.steps), trace.generated_tokens) for trace in traces]
    assert [row[:3] for row in sample.run("longest", "5")] == expected[:5]
    assert [row[:3] for row in sample.run("longest")] == expected[:20]


def test_rollouts(sample: Sample) -> None:
    assert len(sample.run("rollouts", "p00-1")) == 3
    assert len(sample.run("rollouts", "p00")) == 12
    ids = [row[1:3] for row in sample.run("rollouts", "p00-1", "1")]
    assert ids == [("p00-1", 1), ("p00-1", 1)]
    assert sample.run("rollouts", "p00' OR true OR '") == []
    with pytest.raises(ConfigError, match="Could not convert"):
        sample.run("rollouts", "p00", "1 OR true")


def test_all_queries_have_a_test() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert named_queries().keys() <= tested


@pytest.mark.parametrize("arguments", [(), ("a", "b", "c")])
def test_wrong_number_of_arguments(arguments: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match=r"takes other arguments: :rollouts TRACE \[PREFIX\]"):
        named_query("rollouts").bind(arguments)


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(ConfigError, match=r"no query '\.\./x'; there are: calibration, "):
        named_query("../x")


def test_files_are_documented() -> None:
    documentation = Path(__file__).parents[2] / "docs" / "sql.md"
    text = documentation.read_text(encoding="utf-8")
    for named in named_queries().values():
        assert named.description.endswith(".")
        assert f"`:{named.name}" in text
