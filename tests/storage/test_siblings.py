"""The views of solutions, continuations and siblings: by hand, and by a second implementation."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from stepmark.records import Label, Rollout, StepLabel, Trace, Verdict, first_error_of
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, discovered
from storage.queries import sql
from tests.storage.samples import BAD, DISCOVERED, GOOD, LABEL, PROBLEM, ROLLOUT, TRACE, UNKNOWN
from tests.storage.test_values import judge_steps, rollout, trace, write_dataset

CONTINUATION = "prefix, next_step, verdict, value, trials, unknowns, samples"
PAIR = "step_index, chosen, rejected, chosen_value, rejected_value, gap"

T = trace("t", ["a\n", "b\n", "c"], BAD)
U = trace("u", ["a\n", "x\n", "y"], GOOD)


def label(of: Trace, *verdicts: Verdict, kept: bool = True) -> Label:
    steps = tuple(StepLabel(label=verdict) for verdict in verdicts)
    first_error = first_error_of(verdicts)
    return replace(LABEL, trace_id=of.trace_id, steps=steps, first_error=first_error, kept=kept)


def rows(dataset: Dataset, *queries: str) -> list[list[tuple[Any, ...]]]:
    with sql.connect(dataset) as connection:
        return [connection.sql(text).fetchall() for text in queries]


def test_solutions_hold_prefix_and_rollout(tmp_path: Path) -> None:
    without_steps = replace(rollout(T, 1, "q", BAD, 2), steps=None)
    sampled = [rollout(T, 1, "b\nz", GOOD, 1), without_steps]
    dataset = write_dataset(tmp_path, [T], {}, {"monte_carlo": sampled})
    [solutions] = rows(dataset, "FROM solutions ORDER BY given_steps")
    assert solutions == [
        ("p0", "t", None, 0, ["a\n", "b\n", "c"], "incorrect", "stop"),
        ("p0", "t", "monte_carlo", 1, ["a\n", "b\n", "z"], "correct", "length"),
    ]


def test_continuations_count_free_solutions(tmp_path: Path) -> None:
    stopped = [
        rollout(T, 1, "b\nz", GOOD, 1),
        rollout(T, 2, "q", BAD, 2),  # a and b were given: evidence after ab, no sample of b
        rollout(T, 3, "r", GOOD, 3),  # c was given too
        rollout(T, 1, "b\n", UNKNOWN, 4),
    ]
    sampled = [replace(item, finish_reason="stop") for item in stopped]
    cut = rollout(T, 1, "b\nzz", UNKNOWN, 5)
    provers = [rollout(T, 1, "x\n", GOOD, 6)]
    dataset = write_dataset(
        tmp_path, [T, U], {}, {"monte_carlo": [*sampled, cut], "prover": provers}
    )
    dataset.write_part(LABELS, 0, [label(T, GOOD, BAD, GOOD), label(U, GOOD, GOOD, BAD)], "f")
    [continuations] = rows(dataset, f"SELECT {CONTINUATION} FROM continuations ORDER BY ALL")
    assert continuations == [
        # T and U, and the rollouts 1, 4 and 5 from a.
        ([], "a\n", "correct", 2 / 3, 3, 2, 2),
        # T and the rollouts 1 and 2 are decided.
        (["a\n"], "b\n", "incorrect", 1 / 3, 3, 2, 4),
        (["a\n"], "x\n", "correct", 1.0, 1, 0, 1),
        # Behind the error b no verdict counts. The truncated step zz is none.
        (["a\n", "b\n"], "c", "unknown", 1 / 2, 2, 0, 1),
        (["a\n", "b\n"], "q", "unknown", 0.0, 1, 0, 1),
        (["a\n", "b\n"], "z", "unknown", 1.0, 1, 0, 1),
        (["a\n", "b\n", "c"], "r", "unknown", 1.0, 1, 0, 1),
        (["a\n", "x\n"], "y", "incorrect", 1.0, 1, 0, 1),
    ]


def test_siblings_put_better_step_first(tmp_path: Path) -> None:
    sampled = [rollout(T, 1, "q\nlast", BAD, 1), rollout(T, 1, "x \nlast", GOOD, 2)]
    dataset = write_dataset(tmp_path, [T, U], {}, {"monte_carlo": sampled})
    dataset.write_part(LABELS, 0, [label(T, GOOD, BAD, BAD), label(U, GOOD, GOOD, GOOD)], "f")
    [pairs] = rows(dataset, f"SELECT {PAIR} FROM siblings ORDER BY ALL")
    assert pairs == [
        (1, "x\n", "b\n", 1.0, 0.0, 1.0),
        (1, "x\n", "q\n", 1.0, 0.0, 1.0),
        # The same words with another space are no sibling of x.
        (1, "x \n", "b\n", 1.0, 0.0, 1.0),
        (1, "x \n", "q\n", 1.0, 0.0, 1.0),
    ]


def test_verdicts_outrank_values(tmp_path: Path) -> None:
    sampled = [rollout(T, 1, "q\nlast", BAD, 1)]
    steps = {"judge": [judge_steps(GOOD, GOOD, UNKNOWN), judge_steps(GOOD, BAD, UNKNOWN)]}
    dataset = write_dataset(tmp_path, [T, U], steps, {"monte_carlo": sampled})
    # Without labels the values decide, and U is the correct solution.
    by_value, by_judge = rows(
        dataset,
        f"SELECT {PAIR} FROM siblings ORDER BY ALL",
        f"SELECT {PAIR} FROM siblings(source := 'judge') ORDER BY ALL",
    )
    assert by_value == [(1, "x\n", "b\n", 1.0, 0.0, 1.0), (1, "x\n", "q\n", 1.0, 0.0, 1.0)]
    # The judge calls the step of U incorrect, so that it is never chosen.
    assert by_judge == [(1, "b\n", "x\n", 0.0, 1.0, -1.0)]


def test_contradictory_and_dropped_labels_decide_nothing(tmp_path: Path) -> None:
    twin = replace(T, trace_id="twin")
    dataset = write_dataset(tmp_path, [T, twin, U], {})
    labels = [label(T, GOOD, BAD, BAD), label(twin, GOOD, GOOD, BAD)]
    dataset.write_part(LABELS, 0, [*labels, label(U, GOOD, BAD, BAD, kept=False)], "f")
    [verdicts] = rows(
        dataset, "SELECT next_step, verdict FROM continuations WHERE step_index = 1 ORDER BY ALL"
    )
    assert verdicts == [("b\n", "unknown"), ("x\n", "unknown")]


def test_discovered_traces_lend_their_labels(tmp_path: Path) -> None:
    branch = replace(rollout(T, 1, "q", BAD, 1), finish_reason="stop")
    dataset = write_dataset(tmp_path, [T], {}, {"tree_search": [branch]})
    found = replace(DISCOVERED, trace_id="f", steps=("a\n", "q"), outcome=BAD, parent_trace_id="t")
    dataset.write_part(discovered("tree_search"), 0, [found], "f")
    dataset.write_part(LABELS, 0, [label(T, GOOD, GOOD, BAD), label(found, GOOD, BAD)], "f")
    [pairs] = rows(dataset, "SELECT step_index, chosen, rejected, rejected_trials FROM siblings")
    assert pairs == [(1, "b\n", "q", 1)]


@dataclass(frozen=True)
class Evidence:
    """What is stored about one next step."""

    outcomes: Sequence[Verdict]
    verdicts: Sequence[Verdict]

    @property
    def verdict(self) -> Verdict:
        if len(set(self.verdicts)) == 1:
            return self.verdicts[0]
        return UNKNOWN

    @property
    def value(self) -> float | None:
        decided = [outcome is GOOD for outcome in self.outcomes if outcome is not UNKNOWN]
        return sum(decided) / len(decided) if decided else None


def is_better(step: Evidence, other: Evidence) -> bool:
    if step.verdict is BAD:
        return False
    if step.verdict is GOOD and other.verdict is BAD:
        return True
    return step.value is not None and other.value is not None and step.value > other.value


Key = tuple[tuple[str, ...], str]
"""A prefix and the step after it."""


def outcomes_by_step(
    traces: Mapping[str, Trace], rollouts: Sequence[Rollout]
) -> Mapping[Key, Sequence[Verdict]]:
    outcomes = defaultdict[Key, list[Verdict]](list)
    solutions = [(0, trace.steps, trace.outcome) for trace in traces.values()]
    for sampled in rollouts:
        prefix = traces[sampled.trace_id].steps[: sampled.prefix_steps]
        solutions.append((len(prefix), (*prefix, *(sampled.steps or ())), sampled.outcome))
    for given, steps, outcome in solutions:
        for place in range(max(given - 1, 0), len(steps)):
            outcomes[steps[:place], steps[place]].append(outcome)
    return outcomes


def verdicts_by_step(
    traces: Mapping[str, Trace], labels: Sequence[Label]
) -> Mapping[Key, Sequence[Verdict]]:
    verdicts = defaultdict[Key, list[Verdict]](list)
    for trace_label in labels:
        steps = traces[trace_label.trace_id].steps
        for place, step in enumerate(trace_label.steps):
            if step.label is not UNKNOWN:
                verdicts[steps[:place], steps[place]].append(step.label)
            if step.label is not GOOD:
                break
    return verdicts


def expected_pairs(
    traces: Sequence[Trace], rollouts: Sequence[Rollout], labels: Sequence[Label]
) -> Iterator[tuple[Any, ...]]:
    """Find the pairs with loops over all prefixes."""
    traces_by_id = {trace.trace_id: trace for trace in traces}
    outcomes = outcomes_by_step(traces_by_id, rollouts)
    verdicts = verdicts_by_step(traces_by_id, labels)
    by_prefix = defaultdict[tuple[str, ...], dict[str, Evidence]](dict)
    for prefix, step in {*outcomes, *verdicts}:
        key = (prefix, step)
        by_prefix[prefix][step] = Evidence(outcomes.get(key, ()), verdicts.get(key, ()))
    for prefix, steps_after in by_prefix.items():
        for chosen, rejected in permutations(steps_after, 2):
            if is_better(steps_after[chosen], steps_after[rejected]):
                yield (list(prefix), chosen, rejected)


@pytest.mark.parametrize("seed", range(3))
def test_siblings_match_loops(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    traces = []
    labels = []
    sampled = list[Rollout]()
    for number in range(12):
        steps = [draw.choice("abc") for _ in range(draw.randrange(1, 5))]
        solution = replace(
            TRACE,
            trace_id=f"t{number}",
            problem_id=PROBLEM.problem_id,
            steps=tuple(steps),
            outcome=draw.choice([*Verdict]),
        )
        traces.append(solution)
        labels.append(label(solution, *(draw.choice([GOOD, GOOD, BAD, UNKNOWN]) for _ in steps)))
        for _ in range(4):
            continued = replace(
                ROLLOUT,
                rollout_id=f"r{len(sampled)}",
                trace_id=solution.trace_id,
                prefix_steps=draw.randrange(len(steps) + 1),
                steps=tuple(draw.choice("abc") for _ in range(draw.randrange(4))),
                outcome=draw.choice([*Verdict]),
                finish_reason="stop",
            )
            sampled.append(replace(continued, text="".join(continued.steps or ())))
    dataset = write_dataset(tmp_path, traces, {}, {"monte_carlo": sampled})
    dataset.write_part(LABELS, 0, labels, "f")
    [pairs] = rows(dataset, "SELECT prefix, chosen, rejected FROM siblings")
    assert len(pairs) > 5
    assert sorted(pairs) == sorted(expected_pairs(traces, sampled, labels))
