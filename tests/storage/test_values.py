"""Values of steps: computed by hand, by reference implementations, and the common contract."""

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stepmark import plugins
from stepmark.errors import ConfigError, PluginError
from stepmark.records import Rollout, StepAnnotation, StepLabel, Trace, Verdict, first_error_of
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    annotations,
    discovered,
    rollouts,
)
from storage.formats.base import Example
from storage.formats.soft_labels import SoftLabels
from storage.formats.trl import Trl
from storage.publishing.export import export
from storage.publishing.merging import merged_examples
from storage.queries import sql
from storage.values.base import KIND, StepValues, call
from storage.values.clip import Clip
from storage.values.delta import Delta
from storage.values.dua_shepherd import DuaShepherd
from storage.values.er_prm import ErPrm
from storage.values.pqm import Pqm
from storage.values.prefix_tree import PrefixTree
from storage.values.progress import Progress
from storage.values.rest_mcts import RestMcts
from storage.values.rpe import Rpe
from storage.values.softmin import Softmin
from storage.values.td import Td
from storage.values.wilson_interval import WilsonInterval
from tests.columns import column
from tests.storage.samples import (
    ANNOTATION,
    BAD,
    DISCOVERED,
    GOOD,
    LABEL,
    PROBLEM,
    ROLLOUT,
    TRACE,
    UNKNOWN,
)

NAMES = plugins.available(KIND)


def trace(name: str, steps: Sequence[str], outcome: Verdict) -> Trace:
    return replace(TRACE, trace_id=name, steps=tuple(steps), outcome=outcome)


def rollout(of: Trace, prefix_steps: int, text: str, outcome: Verdict, number: int) -> Rollout:
    """Build a rollout whose steps are the lines of its text."""
    return replace(
        ROLLOUT,
        rollout_id=f"r{number}",
        trace_id=of.trace_id,
        prefix_steps=prefix_steps,
        text=text,
        steps=tuple(text.splitlines(keepends=True)),
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


def test_clip_counts_what_is_missing(sample: Connected) -> None:
    # 0.75 and 0.5 reach the default threshold.
    assert sample.values(Clip()) == [0.0, 0.0, -0.5, -0.5]
    assert sample.values(Clip(threshold=1)) == [-0.25, -0.5, -1.0, -1.0]
    assert sample.values(Clip(source="prover")) == [-0.25, None, 0.0, -0.5]


def test_differences_sum_to_first_value(sample: Connected) -> None:
    differences = sample.values(Delta())
    assert differences == [0.25, 0.5, 0.0, 0.0]
    assert sum(differences) == 0.75
    # The last step has no next one; the second one has an unknown value.
    assert sample.values(Delta(source="prover")) == [None, None, 0.75, 0.0]


def test_softmin_credits_worst_step(sample: Connected) -> None:
    # With r = 2v - 1: 0.5, 0, -1 and -1.
    assert sample.values(Softmin(temperature=0.01)) == pytest.approx([0, 0, -0.5, -0.5])
    # The mean for a large temperature, by hand.
    assert sample.values(Softmin(temperature=100))[0] == pytest.approx(0.5 / 4, abs=2e-3)
    assert sample.values(Softmin(source="prover"))[1] is None


def test_interval_bounds_solve_score_equation(sample: Connected) -> None:
    z = WilsonInterval().z
    rows = sample.values(WilsonInterval(), "value, low, high, trials")
    assert [(row[0], row[3]) for row in rows] == [(0.75, 4), (0.5, 4), (0.0, 3), (0.0, 1)]
    for share, low, high, trials in rows:
        assert 0 <= low <= share <= high <= 1
        for bound in (low, high):
            # The bounds are where the score test rejects: |p - b| = z · sqrt(b(1 - b) / n).
            distance = z * math.sqrt(bound * (1 - bound) / trials)
            assert abs(share - bound) == pytest.approx(distance, abs=1e-12)
    # A step without decided rollouts has no interval.
    undecided = sample.values(WilsonInterval(source="prover"), "value, low, high, trials")[1]
    assert undecided == (None, None, None, 0)


def test_td_matches_published_advantage(tmp_path: Path) -> None:
    """Compare with TEMPO's advantage by hand, on sampled solutions alone."""
    right = trace("right", ["a\n", "b\n", "x"], GOOD)
    with connect_to(write_dataset(tmp_path, [T, U, right, CUT], {})) as connection:
        # V is 2/3 for the question and a, 1/2 for ab, 0 for abc.
        changes = [0, 1 / 2 - 2 / 3, -1 / 2, 0]
        assert connection.values(Td()) == pytest.approx(changes)
        # The outcomes 0, 1 and 1 have the mean 2/3 and the standard deviation sqrt(1/3).
        expected = [(0 - 2 / 3 + change) / (math.sqrt(1 / 3) + 1e-6) for change in changes]
        assert connection.values(Td(), "advantage") == pytest.approx(expected)
        ((undecided,),) = connection.query(
            "SELECT count(advantage) FROM td() WHERE trace_id = 'cut'"
        )
        assert undecided == 0


def test_td_starts_at_question(tmp_path: Path) -> None:
    rollouts_by_method = {"monte_carlo": [rollout(T, 0, "z\n", GOOD, 1)]}
    with connect_to(write_dataset(tmp_path, [T], {}, rollouts_by_method)) as connection:
        # The rollout from the question has the value of the question 1/2, and leaves the first
        # step with T alone.
        assert connection.values(Td()) == [-0.5, 0, 0, 0]
        # One trace has no standard deviation.
        assert connection.values(Td(), "advantage") == [None] * 4


def test_discovered_traces_are_counted_once(tmp_path: Path) -> None:
    branch = rollout(T, 1, "q", BAD, 1)
    dataset = write_dataset(tmp_path, [T, U], {}, {"tree_search": [branch]})
    found = replace(DISCOVERED, trace_id="f", steps=("a\n", "q"), outcome=BAD, parent_trace_id="t")
    dataset.write_part(discovered("tree_search"), 0, [found], "f")
    with connect_to(dataset) as connection:
        # U is correct; T and the rollout are not.
        assert connection.values(PrefixTree(), "value, leaves")[0] == (pytest.approx(1 / 3), 3)
        assert connection.query("SELECT count(*) FROM solutions") == [(3,)]


def test_progress_to_correct_answer(tmp_path: Path) -> None:
    # From ab it takes 2 steps to the end of the rollout, from a 2 steps to that of U.
    rollouts_by_method = {
        "monte_carlo": [rollout(T, 2, "r\ns", GOOD, 1)],
        "prover": [rollout(T, 4, "e", GOOD, 2)],
    }
    with connect_to(write_dataset(tmp_path, [T, U], {}, rollouts_by_method)) as connection:
        # m: 3, 3, then 3 of the prefix ab for the two wrong prefixes below it.
        a = 1 / 3
        ab = a + (1 - a) / 3
        abc = ab - (1 - ab) / 3
        expected = [a, ab, abc, abc - (1 - abc) / 3]
        assert connection.values(RestMcts()) == pytest.approx(expected)
        # With the prover's rollout all prefixes are correct.
        assert connection.values(RestMcts(but=()))[-1] == pytest.approx(
            1 - 2 / 3 * 2 / 3 * 2 / 3 / 2
        )


def test_unknown_leaves_give_no_progress(tmp_path: Path) -> None:
    with connect_to(write_dataset(tmp_path, [T, U, CUT], {})) as connection:
        # No correct solution begins with ab, and CUT may be one.
        assert connection.values(RestMcts()) == [pytest.approx(1 / 3), None, None, None]
    with connect_to(write_dataset(tmp_path / "wrong", [T], {})) as connection:
        assert connection.values(RestMcts()) == [None] * 4


@dataclass
class TreeNode:
    """A prefix in the tree of a problem's solutions, with what ReST-MCTS* computes for it."""

    children: dict[str, "TreeNode"] = field(default_factory=dict)
    is_correct_end: bool = False
    value: float = 0.0

    def steps_to_correct(self) -> float:
        """Return 1 for the end of a correct solution, one more for every step before it."""
        distances = [child.steps_to_correct() + 1 for child in self.children.values()]
        return min([1 if self.is_correct_end else math.inf, *distances])

    def set_values(self, inherited: float = math.inf) -> None:
        """Compute the values below this prefix, whose own value is set."""
        distance = self.steps_to_correct()
        if distance == math.inf:
            distance = inherited
        for child in self.children.values():
            is_correct = child.steps_to_correct() < math.inf
            remaining = child.steps_to_correct() if is_correct else distance
            sign = 1 if is_correct else -1
            child.value = max(0, self.value + (1 - self.value) * sign / remaining)
            child.set_values(distance)


def test_progress_matches_published_recursion(tmp_path: Path) -> None:
    """Compare with the recursion over a tree, on random trees of one problem each."""
    draw = random.Random(20_261_130)
    traces = []
    roots = []
    for number in range(200):
        root = TreeNode()
        problem = replace(PROBLEM, problem_id=f"p{number}")
        for solution in range(draw.randrange(1, 6)):
            steps = [draw.choice("ab") for _ in range(draw.randrange(1, 7))]
            outcome = draw.choice([GOOD, BAD, BAD])
            sampled = trace(f"t{number}.{solution}", steps, outcome)
            traces.append(replace(sampled, problem_id=problem.problem_id))
            node = root
            for step in steps:
                node = node.children.setdefault(step, TreeNode())
            node.is_correct_end = node.is_correct_end or outcome is GOOD
        root.set_values()
        roots.append(root)
    with connect_to(write_dataset(tmp_path, traces, {})) as connection:
        computed = dict[tuple[str, int], float | None]()
        for trace_id, step_index, value in connection.query(
            "SELECT trace_id, step_index, value FROM rest_mcts()"
        ):
            computed[trace_id, step_index] = value
    for sampled in traces:
        node = roots[int(sampled.problem_id[1:])]
        has_correct = node.steps_to_correct() < math.inf
        for index, step in enumerate(sampled.steps):
            node = node.children[step]
            expected = pytest.approx(node.value) if has_correct else None
            assert computed[sampled.trace_id, index] == expected


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

    columns = "trace_id, step_index, er_prm, progress, rpe, pqm, dua_shepherd, clip, delta, softmin"
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
            shortfalls(steps),
            losses(steps),
            shares_of_worst(steps),
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


def shortfalls(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `clip`."""
    for step in steps:
        yield None if step.value is None else min(step.value - 0.5, 0)


def losses(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `delta`."""
    for step, following in zip_longest(steps, steps[1:], fillvalue=StepAnnotation(value=0)):
        if step.value is None or following.value is None:
            yield None
        else:
            yield step.value - following.value


def shares_of_worst(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    """Compute `softmin`."""
    total = 0.0
    for step in steps:
        if step.value is not None:
            total += math.exp(-(2 * step.value - 1) / 0.1)
    for step in steps:
        if step.value is None:
            yield None
        else:
            reward = 2 * step.value - 1
            yield reward * math.exp(-reward / 0.1) / total


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
    built = plugins.build(KIND, {"use": "rest_mcts", "but": "prover, other"}, from_texts=True)
    assert built == RestMcts(but=("prover", "other"))
    built = plugins.build(KIND, {"use": "rest_mcts", "but": ""}, from_texts=True)
    assert built == RestMcts(but=())


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
        ConfigError, match="this format has no values, only labels: export er_prm, math_aps, "
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
    assert column(even.label.steps, "label") == [BAD, GOOD]
    assert even.label.first_error == 0
    assert odd.trace.steps == ("a\n", "b\nc\n", "d\n")
    assert column(odd.label.steps, "value") == [0.9, 0.7, None]
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
