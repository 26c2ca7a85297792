"""Values derived from what is stored: worked by hand, against a second reading of each formula, and what every formula owes."""

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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


def estimated(right: int, wrong: int, unknowns: int = 0) -> StepAnnotation:
    verdict = UNKNOWN if not right + wrong else GOOD if right else BAD
    value = right / (right + wrong) if right + wrong else None
    return StepAnnotation(
        verdict=verdict, value=value, successes=right, trials=right + wrong, unknowns=unknowns
    )


def verdict_of(verdict: Verdict) -> StepAnnotation:
    return StepAnnotation(verdict=verdict)


def written(
    folder: Path,
    traces: Sequence[Trace],
    said: Mapping[str, Sequence[Sequence[StepAnnotation]]],
    drawn: Mapping[str, Sequence[Rollout]] = {},
) -> Dataset:
    """A dataset of one problem's traces, and what the methods say of each."""
    dataset = Dataset(str(folder))
    dataset.write_run_file("")
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, traces, "f")
    for method, all_steps in said.items():
        of = [
            replace(
                ANNOTATION, trace_id=trace.trace_id, method=method, steps=tuple(steps), error=None
            )
            for trace, steps in zip(traces, all_steps, strict=True)
        ]
        dataset.write_part(annotations(method), 0, of, "f")
    for method, found in drawn.items():
        dataset.write_part(rollouts(method), 0, found, "f")
    return dataset


@dataclass(frozen=True)
class Asked:
    """A dataset and one connection to it: to make the views costs more than to ask them."""

    dataset: Dataset
    connection: duckdb.DuckDBPyConnection

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.sql(text).fetchall()

    def said_by(self, values: StepValues, columns: str = "value") -> list[Any]:
        """What a formula gives the steps of the trace t, in order."""
        rows = self.ask(
            f"SELECT {columns} FROM {call(values)} WHERE trace_id = 't' ORDER BY step_index"
        )
        return [row[0] if len(row) == 1 else row for row in rows]


@contextmanager
def asking(dataset: Dataset) -> Iterator[Asked]:
    with sql.connect(dataset) as connection:
        yield Asked(dataset, connection)


T = trace("t", ["a\n", "b\n", "c\n", "d"], BAD)
U = trace("u", ["a\n", "x\n", "y"], GOOD)
CUT = trace("cut", ["a\n", "b\n"], UNKNOWN)
SHARES = [estimated(3, 1), estimated(2, 2), estimated(0, 3, 1), estimated(0, 1)]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """One problem, half of whose decided traces are right."""
    none = [estimated(0, 0)]
    said = {
        "monte_carlo": [SHARES, none * 3, none * 2],
        "prover": [
            [estimated(1, 3), estimated(0, 0, 4), estimated(3, 1), estimated(0, 1)],
            none * 3,
            none * 2,
        ],
        "judge": [
            [verdict_of(v) for v in (GOOD, BAD, UNKNOWN, GOOD)],
            [verdict_of(GOOD)] * 3,
            [verdict_of(UNKNOWN)] * 2,
        ],
    }
    steps = tuple(StepLabel(label=verdict, value=0.5) for verdict in (GOOD, GOOD, BAD, UNKNOWN))
    dataset = written(tmp_path_factory.mktemp("worked"), [T, U, CUT], said)
    dataset.write_part(LABELS, 0, [replace(LABEL, trace_id="t", steps=steps, first_error=2)], "f")
    with asking(dataset) as asked:
        yield asked


def test_er_prm_is_log_mean_exp(worked: Asked) -> None:
    by_hand = [
        math.log(sum(math.exp(2 * reward) for reward in rewards) / 4) / 2
        for rewards in ([1, 1, 1, 0], [1, 1, 0, 0])
    ]
    assert worked.said_by(ErPrm()) == pytest.approx([*by_hand, 0.0, 0.0])
    assert worked.said_by(ErPrm(eta=1e-6)) == pytest.approx([0.75, 0.5, 0.0, 0.0], abs=1e-5)
    assert worked.said_by(ErPrm(eta=100)) == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=0.01)


def test_progress_is_change_of_prover(worked: Asked) -> None:
    assert worked.said_by(Progress()) == [None, None, None, -0.75]
    assert worked.said_by(Progress(prover="monte_carlo")) == pytest.approx([None, -0.25, -0.5, 0.0])
    assert worked.said_by(Progress(prover="nobody")) == []


def test_relative_progress_starts_at_pass_rate(worked: Asked) -> None:
    assert worked.said_by(Rpe(), "value, label") == [
        (1.5, 1),
        (pytest.approx(2 / 3), 0),
        (0.0, 0),
        (0.0, 0),
    ]
    assert worked.said_by(Rpe(threshold=0.6), "label") == [1, 1, 0, 0]


def test_relative_progress_stays_zero(tmp_path: Path) -> None:
    shares = [estimated(1, 1), estimated(0, 4), estimated(4, 0), estimated(0, 0, 2)]
    with asking(written(tmp_path, [replace(T, outcome=GOOD)], {"monte_carlo": [shares]})) as asked:
        assert asked.said_by(Rpe()) == [0.5, 0.0, 0.0, 0.0]


def test_zero_pass_rate_gives_unknown_progress(tmp_path: Path) -> None:
    with asking(written(tmp_path, [T], {"monte_carlo": [SHARES]})) as asked:
        assert asked.said_by(Rpe(), "value, label")[:2] == [(None, None), (pytest.approx(2 / 3), 0)]


def test_ranks_follow_step_verdicts(worked: Asked) -> None:
    assert worked.said_by(Pqm()) == [1, 2, -1, -2]
    assert worked.said_by(Pqm(source="judge")) == [1, -1, None, 2]


def test_dua_shepherd_combines_both_labels(worked: Asked) -> None:
    assert worked.said_by(DuaShepherd(), "correctness, potential, value") == [
        (1.0, 0.75, 0.75),
        (0.0, 0.5, 0.0),
        (None, 0.0, 0.0),
        (1.0, 0.0, 0.0),
    ]
    assert worked.said_by(DuaShepherd(potential_by="prover")) == [0.25, 0.0, None, 0.0]


def test_correctness_can_be_the_labels(worked: Asked) -> None:
    assert worked.said_by(DuaShepherd(correctness_by="the labels"), "correctness, value") == [
        (1.0, 0.75),
        (1.0, 0.5),
        (0.0, 0.0),
        (None, 0.0),
    ]


def test_leaves_count_for_unforced_prefixes(
    tmp_path: Path,
) -> None:
    drawn = {
        "monte_carlo": [
            rollout(T, 1, "b\nc\nz", GOOD, 1),  # passes a, ab, abc
            rollout(T, 1, "q", BAD, 2),  # passes a
            rollout(T, 2, "c\nd", BAD, 3),  # drawn from ab: tells nothing of a
            rollout(U, 1, "b\nbig", UNKNOWN, 4),  # drawn from a, which t begins with, too
        ],
        "search": [rollout(T, 0, "a\nb\nc\nd", GOOD, 5)],
        "prover": [rollout(T, 1, "b\nc\nd", GOOD, 6)],
    }
    with asking(written(tmp_path, [T, U, CUT], {}, drawn)) as asked:
        assert asked.said_by(PrefixTree(), "value, leaves, unknowns") == [
            (
                pytest.approx(3 / 5),
                5,
                2,
            ),  # t wrong, u right, r1 right, r2 wrong, r5 right; cut and r4 unknown
            (
                pytest.approx(2 / 4),
                4,
                2,
            ),  # t wrong, r1 right, r3 wrong, r5 right; cut and r4 unknown
            (pytest.approx(2 / 4), 4, 0),  # t, r1, r3, r5
            (pytest.approx(1 / 3), 3, 0),  # t, r3 and r5 are the whole text
        ]
        assert asked.said_by(PrefixTree(but=()), "leaves") == [6, 5, 5, 4]
        query = "SELECT step_index, value, leaves FROM prefix_tree(but := ['monte_carlo', 'search', 'prover']) WHERE trace_id = 'u'"
        assert sorted(asked.ask(query)) == [(0, 0.5, 2), (1, 1.0, 1), (2, 1.0, 1)]


def test_trace_scores_aggregate_step_values(worked: Asked) -> None:
    assert worked.ask("FROM trace_scores() WHERE trace_id = 't'") == [
        ("t", 0.0, 0.0, 0.0, 0.3125, 0)
    ]
    ((_, least, product, last, mean, unknown),) = worked.ask(
        "FROM trace_scores(source := 'prover') WHERE trace_id = 't'"
    )
    assert (least, product, last, mean, unknown) == (0.0, 0.0, 0.0, pytest.approx(1 / 3), 1)


def test_step_values_has_every_formula(worked: Asked) -> None:
    answer = worked.connection.sql("FROM step_values").to_arrow_table()
    columns = [
        column
        for name in NAMES
        for column in (name, *(f"{name}_{more}" for more in plugins.load(KIND, name).columns))
    ]
    assert answer.column_names == ["trace_id", "problem_id", "step_index", "text", *columns]
    assert answer.num_rows == 9
    assert worked.ask(
        "SELECT step_index, text, pqm, rpe_label FROM step_values WHERE trace_id = 't' ORDER BY 1"
    )[2] == (2, "c\n", -1, 0)


@pytest.mark.parametrize("right_at_least_once", [True, False])
def test_formulas_match_reference_implementations(
    tmp_path: Path, right_at_least_once: bool
) -> None:
    """Of traces whose steps have any numbers of right, wrong and unknown rollouts, drawn from a fixed seed."""
    draw = random.Random(20_261_121)
    counts = [
        [
            (draw.randrange(4), draw.randrange(4), draw.randrange(3))
            for _ in range(draw.randrange(1, 7))
        ]
        for _ in range(60)
    ]
    outcomes = [draw.choice([*Verdict] if right_at_least_once else [BAD, UNKNOWN]) for _ in counts]
    traces = [
        trace(f"t{i}", [f"{j}\n" for j in range(len(of))], outcome)
        for i, (of, outcome) in enumerate(zip(counts, outcomes, strict=True))
    ]
    said = [[estimated(*step) for step in of] for of in counts]
    with asking(
        written(tmp_path, traces, {"monte_carlo": said, "prover": said, "judge": said})
    ) as asked:
        columns = "er_prm, progress, rpe, pqm, dua_shepherd"
        found = {
            (row[0], row[1]): row[2:]
            for row in asked.ask(f"SELECT trace_id, step_index, {columns} FROM step_values")
        }
    decided = [outcome is GOOD for outcome in outcomes if outcome is not UNKNOWN]
    start = sum(decided) / len(decided) if decided else None
    for one, steps in zip(traces, said, strict=True):
        for index, expected in enumerate(
            zip(
                *map(
                    list,
                    (
                        soft(steps),
                        gains(steps),
                        ratios(steps, start),
                        ranks(steps),
                        products(steps),
                    ),
                ),
                strict=True,
            )
        ):
            for mine, theirs in zip(found[one.trace_id, index], expected, strict=True):
                assert (mine is None) == (theirs is None)
                assert mine == pytest.approx(theirs)


def soft(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    for step in steps:
        rewards = [1] * step.successes + [0] * (step.trials - step.successes)
        yield (
            math.log(sum(math.exp(2 * reward) for reward in rewards) / len(rewards)) / 2
            if rewards
            else None
        )


def gains(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    for before, step in zip([None, *(step.value for step in steps)], steps, strict=False):
        yield None if before is None or step.value is None else step.value - before


def ratios(steps: Sequence[StepAnnotation], start: float | None) -> Iterator[float | None]:
    dead = False
    for before, step in zip([start, *(step.value for step in steps)], steps, strict=False):
        dead = dead or step.value == 0
        yield 0.0 if dead else None if not before or step.value is None else step.value / before


def ranks(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    seen = {GOOD: 0, BAD: 0, UNKNOWN: 0}
    for step in steps:
        seen[step.verdict] += 1
        yield {GOOD: seen[GOOD], BAD: -seen[BAD], UNKNOWN: None}[step.verdict]


def products(steps: Sequence[StepAnnotation]) -> Iterator[float | None]:
    for step in steps:
        yield None if step.value is None else step.value * (step.verdict is GOOD)


@pytest.mark.parametrize("name", NAMES)
def test_formulas_follow_the_protocol(worked: Asked, name: str) -> None:
    formula = plugins.load(KIND, name)
    answer = worked.connection.sql(f"FROM {name}() ORDER BY ALL").to_arrow_table()
    assert set(answer.column_names) == {"trace_id", "step_index", "value", *formula.columns}
    assert (
        str(answer.schema.field("step_index").type),
        str(answer.schema.field("value").type),
    ) == ("int32", "double")
    steps = [(row["trace_id"], row["step_index"]) for row in answer.to_pylist()]
    assert len(set(steps)) == len(steps)
    assert set(steps) <= {
        (one.trace_id, index) for one in (T, U, CUT) for index in range(len(one.steps))
    }
    assert worked.ask(f"FROM {call(formula())} ORDER BY ALL") == worked.ask(
        f"FROM {name}() ORDER BY ALL"
    )


def test_formulas_of_empty_dataset_are_empty(tmp_path: Path) -> None:
    bare = Dataset(str(tmp_path))
    bare.write_run_file("")
    with asking(bare) as asked:
        assert [asked.ask(f"FROM {name}()") for name in NAMES] == [[]] * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_method_name_is_escaped(worked: Asked, name: str) -> None:
    formula = plugins.load(KIND, name)
    hostile = "x') UNION SELECT 't', 0, 1 --"
    texts = [field.name for field in dataclasses.fields(formula) if isinstance(field.default, str)]
    rows = worked.ask(f"FROM {call(formula(**dict.fromkeys(texts, hostile)))}")
    assert rows == [] or not texts
    assert len(worked.ask(f"FROM {call(PrefixTree(but=(hostile,)))}")) == 9


def test_invalid_parameter_is_rejected() -> None:
    with pytest.raises(
        PluginError,
        match=r"storage\.values\.rpe: threshold: Input should be less than or equal to 1",
    ):
        plugins.build(KIND, {"use": "rpe", "threshold": "1.5"})
    assert plugins.build(KIND, {"use": "er_prm", "eta": "10"}) == ErPrm(eta=10)


def test_values_are_exported_per_step(worked: Asked, tmp_path: Path) -> None:
    done = export(
        worked.dataset, SoftLabels(), str(tmp_path / "out"), labels_by="judge", values=Pqm()
    )
    assert (done.rows, done.left_out) == (1, {"no step has a value": 2})
    [row] = list(SoftLabels().rows([labelled("t", [GOOD] * 4, [1.0, 2.0, -1.0, None])]))
    assert row == {
        "prompt": PROBLEM.question,
        "completions": ["a", "b", "c", "d"],
        "values": [1.0, 2.0, -1.0, None],
    }
    assert "soft_labels, values pqm(source := 'monte_carlo')" in (
        tmp_path / "out" / "README.md"
    ).read_text(encoding="utf-8")
    with pytest.raises(
        ConfigError, match="this format has no values, only labels: export soft_labels"
    ):
        export(worked.dataset, Trl(), str(tmp_path / "other"), labels_by="judge", values=Pqm())


def labelled(name: str, verdicts: Sequence[Verdict], values: Sequence[float | None]) -> Example:
    steps = tuple(
        StepLabel(label=verdict, value=value)
        for verdict, value in zip(verdicts, values, strict=True)
    )
    label = replace(LABEL, trace_id=name, steps=steps, first_error=first_error_of(verdicts))
    return Example(
        problem=PROBLEM,
        trace=trace(name, ["a\n", "b\n", "c\n", "d\n", "e\n"][: len(verdicts)], GOOD),
        label=label,
    )


def test_merged_steps_have_second_label() -> None:
    example = labelled("t", [GOOD, BAD, GOOD, GOOD], [0.9, 0.0, 0.7, None])
    even, odd = merged_examples(example)
    assert (even.trace.steps, [step.label for step in even.label.steps]) == (
        ("a\nb\n", "c\nd\n"),
        [BAD, GOOD],
    )
    assert (odd.trace.steps, [step.value for step in odd.label.steps]) == (
        ("a\n", "b\nc\n", "d\n"),
        [0.9, 0.7, None],
    )
    assert (even.label.first_error, odd.label.first_error) == (0, -1)


@pytest.mark.parametrize(("steps", "traces"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2)])
def test_neighbours_are_merged_once(steps: int, traces: int) -> None:
    example = labelled("t", [GOOD] * steps, [1.0] * steps)
    found = list(merged_examples(example))
    assert len(found) == traces
    assert all("".join(one.trace.steps) == "".join(example.trace.steps) for one in found)
    assert all(len(one.trace.steps) == len(one.label.steps) < steps for one in found)
    pairs = [step for one in found for step in one.trace.steps if step not in example.trace.steps]
    assert sorted(pairs) == sorted(
        a + b for a, b in zip(example.trace.steps, example.trace.steps[1:], strict=False)
    )


def test_merged_traces_are_exported_too(filled: Dataset, tmp_path: Path) -> None:
    done = export(filled, Trl(), str(tmp_path / "out"), merge=True)
    assert (done.rows, done.left_out) == (5, {"a step is undecided": 1, "its label is not kept": 1})
