"""Values of steps: computed by hand, by reference implementations, and the common contract."""

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stepmark import plugins
from stepmark.errors import ConfigError, PluginError
from stepmark.records import Rollout, StepAnnotation, StepLabel, Trace, Verdict, first_error_of
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, rollouts
from storage.formats.base import Example
from storage.formats.soft_labels import SoftLabels
from storage.formats.trl import Trl
from storage.publishing.export import export
from storage.publishing.merging import merged_examples
from storage.queries import sql
from storage.values.base import KIND, StepValues, call
from storage.values.dua_shepherd import DuaShepherd
from storage.values.er_prm import ErPrm
from storage.values.pqm import Pqm
from storage.values.prefix_tree import PrefixTree
from storage.values.progress import Progress
from storage.values.rpe import Rpe
from tests.storage.samples import ANNOTATION, BAD, GOOD, LABEL, PROBLEM, ROLLOUT, TRACE, UNKNOWN

NAMES = plugins.available(KIND)


def trace(name: str, steps: Sequence[str], outcome: Verdict) -> Trace:
    return replace(TRACE, trace_id=name, steps=tuple(steps), outcome=outcome)


def rollout(of: Trace, prefix_steps: int, text: str, outcome: Verdict, number: int) -> Rollout:
    return replace(
        ROLLOUT,
        rollout_id=f"r{number}",
        trace_id=of.trace_id,
        prefix_steps=prefix_steps,
        text=text,
        outcome=outcome,
    )


def estimate(right: int, wrong: int, unknowns: int = 0) -> StepAnnotation:
    """Build the Monte Carlo annotation of a step from the numbers of its rollouts."""
    trials = right + wrong
    if trials == 0:
        return StepAnnotation(verdict=UNKNOWN, unknowns=unknowns)
    return StepAnnotation(
        verdict=GOOD if right else BAD,
        value=right / trials,
        successes=right,
        trials=trials,
        unknowns=unknowns,
    )


def judge_steps(*verdicts: Verdict) -> list[StepAnnotation]:
    return [StepAnnotation(verdict=verdict) for verdict in verdicts]


def write_dataset(
    folder: Path,
    traces: Sequence[Trace],
    steps_by_method: Mapping[str, Sequence[Sequence[StepAnnotation]]],
    rollouts_by_method: Mapping[str, Sequence[Rollout]] = {},
) -> Dataset:
    """Write a dataset with the traces of one problem and the annotations of each method."""
    dataset = Dataset(str(folder))
    dataset.write_run_file("")
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, traces, "f")
    for method, steps_by_trace in steps_by_method.items():
        rows = []
        for trace, steps in zip(traces, steps_by_trace, strict=True):
            annotation = replace(ANNOTATION, trace_id=trace.trace_id, method=method, error=None)
            rows.append(replace(annotation, steps=tuple(steps)))
        dataset.write_part(annotations(method), 0, rows, "f")
    for method, sampled in rollouts_by_method.items():
        of_method = [replace(rollout, method=method) for rollout in sampled]
        dataset.write_part(rollouts(method), 0, of_method, "f")
    return dataset


@dataclass(frozen=True)
class Connected:
    """A dataset and one connection to it, because creating the views takes longer than queries."""

    dataset: Dataset
    connection: duckdb.DuckDBPyConnection

    def query(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.sql(text).fetchall()

    def values(self, values: StepValues, columns: str = "value") -> list[Any]:
        """Return the values of a formula for the steps of the trace t, in order."""
        rows = self.query(
            f"SELECT {columns} FROM {call(values)} WHERE trace_id = 't' ORDER BY step_index"
        )
        return [row[0] if len(row) == 1 else row for row in rows]


@contextmanager
def connect_to(dataset: Dataset) -> Iterator[Connected]:
    with sql.connect(dataset) as connection:
        yield Connected(dataset, connection)


# The text of U begins as that of T does, and CUT is a proper prefix of T.
T = trace("t", ["a\n", "b\n", "c\n", "d"], BAD)
U = trace("u", ["a\n", "x\n", "y"], GOOD)
CUT = trace("cut", ["a\n", "b\n"], UNKNOWN)
# Shares 0.75, 0.5, 0 and 0; the third step has an unknown rollout as well.
SHARES = [estimate(3, 1), estimate(2, 2), estimate(0, 3, 1), estimate(0, 1)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    """Write the traces of one problem, of which half of the decided ones are correct."""
    # The other traces have no rollouts, so that only T has Monte Carlo values.
    undecided = estimate(0, 0)
    # The second step has only unknown rollouts, so no change from it or to it is known.
    prover_steps = [estimate(1, 3), estimate(0, 0, 4), estimate(3, 1), estimate(0, 1)]
    steps_by_method = {
        "monte_carlo": [SHARES, [undecided] * 3, [undecided] * 2],
        "prover": [prover_steps, [undecided] * 3, [undecided] * 2],
        "judge": [
            judge_steps(GOOD, BAD, UNKNOWN, GOOD),
            judge_steps(GOOD, GOOD, GOOD),
            judge_steps(UNKNOWN, UNKNOWN),
        ],
    }
    steps = tuple(StepLabel(label=verdict, value=0.5) for verdict in (GOOD, GOOD, BAD, UNKNOWN))
    dataset = write_dataset(tmp_path_factory.mktemp("sample"), [T, U, CUT], steps_by_method)
    dataset.write_part(LABELS, 0, [replace(LABEL, trace_id="t", steps=steps, first_error=2)], "f")
    with connect_to(dataset) as connection:
        yield connection


def test_er_prm_is_log_mean_exp(sample: Connected) -> None:
    # By hand: log(mean(exp(eta * reward))) / eta with eta = 2.
    three_of_four = math.log((3 * math.exp(2) + 1) / 4) / 2
    two_of_four = math.log((2 * math.exp(2) + 2) / 4) / 2
    assert sample.values(ErPrm()) == pytest.approx([three_of_four, two_of_four, 0.0, 0.0])
    # A small eta approaches the mean, a large one the maximum.
    assert sample.values(ErPrm(eta=1e-6)) == pytest.approx([0.75, 0.5, 0.0, 0.0], abs=1e-5)
    assert sample.values(ErPrm(eta=100)) == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=0.01)


def test_progress_is_change_of_prover(sample: Connected) -> None:
    assert sample.values(Progress()) == [None, None, None, -0.75]
    assert sample.values(Progress(prover="monte_carlo")) == pytest.approx([None, -0.25, -0.5, 0.0])
    assert sample.values(Progress(prover="nobody")) == []


def test_relative_progress_starts_at_pass_rate(sample: Connected) -> None:
    assert sample.values(Rpe(), "value, label") == [
        # 0.75 / 0.5, since half of the decided traces are correct.
        (1.5, 1),
        (pytest.approx(2 / 3), 0),
        (0.0, 0),
        (0.0, 0),
    ]
    assert sample.values(Rpe(threshold=0.6), "label") == [1, 1, 0, 0]


def test_relative_progress_stays_zero(tmp_path: Path) -> None:
    # The second step has the value 0; a later recovery does not count.
    shares = [estimate(1, 1), estimate(0, 4), estimate(4, 0), estimate(0, 0, 2)]
    with connect_to(
        write_dataset(tmp_path, [replace(T, outcome=GOOD)], {"monte_carlo": [shares]})
    ) as connection:
        assert connection.values(Rpe()) == [0.5, 0.0, 0.0, 0.0]


def test_zero_pass_rate_gives_unknown_progress(tmp_path: Path) -> None:
    # T is the only trace and incorrect, so that the pass rate is 0.
    with connect_to(write_dataset(tmp_path, [T], {"monte_carlo": [SHARES]})) as connection:
        assert connection.values(Rpe(), "value, label")[:2] == [
            (None, None),
            (pytest.approx(2 / 3), 0),
        ]


def test_ranks_follow_step_verdicts(sample: Connected) -> None:
    # Correct steps count up from 1, incorrect ones down from -1.
    assert sample.values(Pqm()) == [1, 2, -1, -2]
    assert sample.values(Pqm(source="judge")) == [1, -1, None, 2]


def test_dua_shepherd_combines_both_labels(sample: Connected) -> None:
    assert sample.values(DuaShepherd(), "correctness, potential, value") == [
        (1.0, 0.75, 0.75),
        (0.0, 0.5, 0.0),
        (None, 0.0, 0.0),
        (1.0, 0.0, 0.0),
    ]
    assert sample.values(DuaShepherd(potential_by="prover")) == [0.25, 0.0, None, 0.0]


def test_correctness_can_be_the_labels(sample: Connected) -> None:
    assert sample.values(DuaShepherd(correctness_by="the labels"), "correctness, value") == [
        (1.0, 0.75),
        (1.0, 0.5),
        (0.0, 0.0),
        (None, 0.0),
    ]


def test_leaves_count_for_unforced_prefixes(
    tmp_path: Path,
) -> None:
    rollouts_by_method = {
        "monte_carlo": [
            rollout(T, 1, "b\nc\nz", GOOD, 1),  # begins with a, ab, abc
            rollout(T, 1, "q", BAD, 2),  # begins with a
            rollout(T, 2, "c\nd", BAD, 3),  # sampled from ab, so not a leaf of a
            rollout(U, 1, "b\nbig", UNKNOWN, 4),  # sampled from a, a prefix of t
        ],
        "search": [rollout(T, 0, "a\nb\nc\nd", GOOD, 5)],
        "prover": [rollout(T, 1, "b\nc\nd", GOOD, 6)],
    }
    with connect_to(write_dataset(tmp_path, [T, U, CUT], {}, rollouts_by_method)) as connection:
        assert connection.values(PrefixTree(), "value, leaves, unknowns") == [
            # Correct: u, r1, r5; incorrect: t, r2; unknown: cut, r4.
            (pytest.approx(3 / 5), 5, 2),
            # Correct: r1, r5; incorrect: t, r3; unknown: cut, r4.
            (pytest.approx(2 / 4), 4, 2),
            (pytest.approx(2 / 4), 4, 0),  # t, r1, r3, r5
            (pytest.approx(1 / 3), 3, 0),  # t, r3 and r5 are the complete text
        ]
        assert connection.values(PrefixTree(but=()), "leaves") == [6, 5, 5, 4]
        traces_only = "prefix_tree(but := ['monte_carlo', 'search', 'prover'])"
        select = f"SELECT step_index, value, leaves FROM {traces_only} WHERE trace_id = 'u'"
        assert sorted(connection.query(select)) == [(0, 0.5, 2), (1, 1.0, 1), (2, 1.0, 1)]


def test_trace_scores_aggregate_step_values(sample: Connected) -> None:
    assert sample.query("FROM trace_scores() WHERE trace_id = 't'") == [
        # Minimum, product, last and mean of 0.75, 0.5, 0 and 0, with no unknown step.
        ("t", 0.0, 0.0, 0.0, 0.3125, 0)
    ]
    ((_, least, product, last, mean, unknown),) = sample.query(
        "FROM trace_scores(source := 'prover') WHERE trace_id = 't'"
    )
    assert (least, product, last, mean, unknown) == (0.0, 0.0, 0.0, pytest.approx(1 / 3), 1)


def test_step_values_has_every_formula(sample: Connected) -> None:
    answer = sample.connection.sql("FROM step_values").to_arrow_table()
    columns = ["trace_id", "problem_id", "step_index", "text"]
    for name in NAMES:
        columns.append(name)
        columns.extend(f"{name}_{column}" for column in plugins.load(KIND, name).columns)
    assert answer.column_names == columns
    # 4 + 3 + 2 steps.
    assert answer.num_rows == 9
    assert sample.query(
        "SELECT step_index, text, pqm, rpe_label FROM step_values WHERE trace_id = 't' ORDER BY 1"
    )[2] == (2, "c\n", -1, 0)


@pytest.mark.parametrize("right_at_least_once", [True, False])
def test_formulas_match_reference_implementations(
    tmp_path: Path, right_at_least_once: bool
) -> None:
    """Compare all formulas on traces with random numbers of rollouts, from a fixed seed."""
    draw = random.Random(20_261_121)
    steps_by_trace = [random_steps(draw) for _ in range(60)]
    # Without a correct outcome the pass rate is 0, which needs a separate rule.
    possible_outcomes = [*Verdict] if right_at_least_once else [BAD, UNKNOWN]
    outcomes = [draw.choice(possible_outcomes) for _ in steps_by_trace]
    traces = []
    for number, steps in enumerate(steps_by_trace):
        texts = [f"{index}\n" for index in range(len(steps))]
        traces.append(trace(f"t{number}", texts, outcomes[number]))
    methods = ("monte_carlo", "prover", "judge")
    dataset = write_dataset(tmp_path, traces, dict.fromkeys(methods, steps_by_trace))

    columns = "trace_id, step_index, er_prm, progress, rpe, pqm, dua_shepherd"
    computed = {}
    with connect_to(dataset) as connection:
        for trace_id, step_index, *values in connection.query(f"SELECT {columns} FROM step_values"):
            computed[trace_id, step_index] = values

    decided = [outcome is GOOD for outcome in outcomes if outcome is not UNKNOWN]
    pass_rate = sum(decided) / len(decided) if decided else None
    for number, steps in enumerate(steps_by_trace):
        references = zip(
            soft(steps),
            gains(steps),
            ratios(steps, pass_rate),
            ranks(steps),
            products(steps),
            strict=True,
        )
        for index, expected in enumerate(references):
            assert computed[f"t{number}", index] == pytest.approx(list(expected))


def random_steps(draw: random.Random) -> list[StepAnnotation]:
    """Draw the numbers of correct, incorrect and unknown rollouts for 1 to 6 steps."""
    steps = []
    for _ in range(draw.randrange(1, 7)):
        steps.append(estimate(draw.randrange(4), draw.randrange(4), draw.randrange(3)))
    return steps


def soft(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `er_prm` from the reward of each rollout."""
    for step in steps:
        if step.trials == 0:
            yield None
            continue
        rewards = [1] * step.successes + [0] * (step.trials - step.successes)
        mean_exponential = sum(math.exp(2 * reward) for reward in rewards) / step.trials
        yield math.log(mean_exponential) / 2


def gains(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `progress`."""
    before: float | None = None
    for step in steps:
        if before is None or step.value is None:
            yield None
        else:
            yield step.value - before
        before = step.value


def ratios(steps: Sequence[StepAnnotation], start: float | None) -> Iterator[float | None]:
    """Compute `rpe`; `start` is the value of the question."""
    has_zero = False
    before = start
    for step in steps:
        has_zero = has_zero or step.value == 0
        if has_zero:
            yield 0.0
        elif not before or step.value is None:
            yield None
        else:
            yield step.value / before
        before = step.value


def ranks(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `pqm`."""
    correct = 0
    incorrect = 0
    for step in steps:
        if step.verdict is GOOD:
            correct += 1
            yield correct
        elif step.verdict is BAD:
            incorrect += 1
            yield -incorrect
        else:
            yield None


def products(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `dua_shepherd`."""
    for step in steps:
        if step.value is None:
            yield None
        else:
            yield step.value if step.verdict is GOOD else 0.0


@pytest.mark.parametrize("name", NAMES)
def test_formulas_follow_the_protocol(sample: Connected, name: str) -> None:
    formula = plugins.load(KIND, name)
    answer = sample.connection.sql(f"FROM {name}() ORDER BY ALL").to_arrow_table()
    assert set(answer.column_names) == {"trace_id", "step_index", "value", *formula.columns}
    assert str(answer.schema.field("step_index").type) == "int32"
    assert str(answer.schema.field("value").type) == "double"
    steps = [(row["trace_id"], row["step_index"]) for row in answer.to_pylist()]
    assert len(set(steps)) == len(steps)
    step_counts = {trace.trace_id: len(trace.steps) for trace in (T, U, CUT)}
    for trace_id, step_index in steps:
        assert 0 <= step_index < step_counts[trace_id]
    assert sample.query(f"FROM {call(formula())} ORDER BY ALL") == sample.query(
        f"FROM {name}() ORDER BY ALL"
    )


def test_formulas_of_empty_dataset_are_empty(tmp_path: Path) -> None:
    bare = Dataset(str(tmp_path))
    bare.write_run_file("")
    with connect_to(bare) as connection:
        for name in NAMES:
            assert connection.query(f"FROM {name}()") == []


@pytest.mark.parametrize("name", NAMES)
def test_hostile_method_name_is_escaped(sample: Connected, name: str) -> None:
    formula = plugins.load(KIND, name)
    # It ends the quoted text if it is not escaped.
    hostile = "x') UNION SELECT 't', 0, 1 --"
    texts = [field.name for field in dataclasses.fields(formula) if isinstance(field.default, str)]
    rows = sample.query(f"FROM {call(formula(**dict.fromkeys(texts, hostile)))}")
    assert rows == [] or not texts
    assert len(sample.query(f"FROM {call(PrefixTree(but=(hostile,)))}")) == 9


def test_invalid_parameter_is_rejected() -> None:
    with pytest.raises(
        PluginError,
        match=r"storage\.values\.rpe: threshold: Input should be less than or equal to 1",
    ):
        plugins.build(KIND, {"use": "rpe", "threshold": "1.5"}, from_texts=True)
    built = plugins.build(KIND, {"use": "er_prm", "eta": "10"}, from_texts=True)
    assert built == ErPrm(eta=10)


def test_values_are_exported_per_step(sample: Connected, tmp_path: Path) -> None:
    done = export(
        sample.dataset, SoftLabels(), str(tmp_path / "out"), labels_by="judge", values=Pqm()
    )
    assert (done.rows, done.left_out) == (1, {"no step has a value": 2})
    [row] = list(SoftLabels().rows(labelled("t", [GOOD] * 4, [1.0, 2.0, -1.0, None])))
    assert row == {
        "prompt": PROBLEM.question,
        "completions": ["a", "b", "c", "d"],
        "values": [1.0, 2.0, -1.0, None],
    }
    assert "soft_labels, values pqm(source := 'monte_carlo')" in (
        tmp_path / "out" / "README.md"
    ).read_text(encoding="utf-8")
    with pytest.raises(
        ConfigError, match="this format has no values, only labels: export math_aps, "
    ):
        export(sample.dataset, Trl(), str(tmp_path / "other"), labels_by="judge", values=Pqm())


def labelled(name: str, verdicts: Sequence[Verdict], values: Sequence[float | None]) -> Example:
    steps = []
    for verdict, value in zip(verdicts, values, strict=True):
        steps.append(StepLabel(label=verdict, value=value))
    first_error = first_error_of(verdicts)
    label = replace(LABEL, trace_id=name, steps=tuple(steps), first_error=first_error)
    texts = ["a\n", "b\n", "c\n", "d\n", "e\n"][: len(verdicts)]
    return Example(problem=PROBLEM, trace=trace(name, texts, GOOD), label=label)


def test_merged_steps_have_second_label() -> None:
    example = labelled("t", [GOOD, BAD, GOOD, GOOD], [0.9, 0.0, 0.7, None])
    even, odd = merged_examples(example)
    assert even.trace.steps == ("a\nb\n", "c\nd\n")
    assert [step.label for step in even.label.steps] == [BAD, GOOD]
    assert even.label.first_error == 0
    assert odd.trace.steps == ("a\n", "b\nc\n", "d\n")
    assert [step.value for step in odd.label.steps] == [0.9, 0.7, None]
    assert odd.label.first_error == -1


# From three steps on there are two ways to merge: from the first step or the second.
@pytest.mark.parametrize(("steps", "traces"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2)])
def test_neighbours_are_merged_once(steps: int, traces: int) -> None:
    example = labelled("t", [GOOD] * steps, [1.0] * steps)
    merged = list(merged_examples(example))
    assert len(merged) == traces
    single_steps = example.trace.steps
    pairs = []
    for coarser in merged:
        assert "".join(coarser.trace.steps) == "".join(single_steps)
        assert len(coarser.trace.steps) == len(coarser.label.steps) < steps
        pairs += [step for step in coarser.trace.steps if step not in single_steps]
    assert sorted(pairs) == sorted(first + second for first, second in pairwise(single_steps))


def test_merged_traces_are_exported_too(filled: Dataset, tmp_path: Path) -> None:
    done = export(filled, Trl(), str(tmp_path / "out"), merge=True)
    assert (done.rows, done.left_out) == (5, {"a step is undecided": 1, "its label is not kept": 1})
