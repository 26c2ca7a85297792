"""The summary counts the rows of a format as an export makes them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepmark import plugins
from stepmark.records import Critique, Discovered, Label, Problem, StepLabel, Trace, first_error_of
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, critiques, discovered
from storage.formats.base import Example, HasRowCount, LeftOut, ReadsEvidence, exported_rows
from storage.formats.trl import Trl
from storage.publishing.export import export
from storage.queries.examples import ExampleJoin
from storage.queries.format_rows import count_format_rows
from storage.queries.sql import query_session
from tests.storage.samples import BAD, CRITIQUE, DISCOVERED, GOOD, LABEL, PROBLEM, TRACE, UNKNOWN

FORMATS = plugins.available("storage.formats")
# Blank ones as Python and Unicode have them, and texts that a format cannot hold.
STEPS = ["a = 1\n", "b = 2\n", "c\n\n", " \n", "\x0b\x1c", "\u2003\x85", "", "к", "и", "a ки b"]
STEPS += ["a\n\n\n\n\nb", "a\n\n\n\n\n", " Step 1: a\n", "a Step 1: b", "Step 1: a Step 1: b"]
STEPS += ["a <extra_0>"]
QUESTIONS = ["How many?", "Step 1: how many?", "How many ки?", "How\n\n\n\n\nmany?", "<extra_0>?"]


def labelled(chance: random.Random, trace: Any) -> tuple[Any, Label]:
    """Return a trace with random steps, and a label of them."""
    count = chance.choice([0, 1, 1, 2, 3, 4])
    weights = [chance.choice([1, 8]), 1, chance.choice([0, 1])]
    verdicts = chance.choices([GOOD, BAD, UNKNOWN], weights, k=count)
    has_values = chance.random() < 0.7
    steps = list[StepLabel]()
    for verdict in verdicts:
        value = chance.choice([None, 0.5]) if has_values else None
        steps.append(StepLabel(label=verdict, value=value))
    trace = replace(
        trace,
        steps=tuple(chance.choices(STEPS, [9, 9, 9, *[1] * (len(STEPS) - 3)], k=count)),
        outcome=chance.choice([GOOD, BAD, UNKNOWN]),
        metadata=chance.choice([{}, {}, {"process": "original"}, {"question_id": "7"}]),
    )
    first_error = first_error_of(verdicts)
    if chance.random() < 0.2:
        first_error = chance.choice([None, -1, 0, 1])
    label = replace(
        LABEL,
        trace_id=trace.trace_id,
        first_error=first_error,
        steps=tuple(steps),
        kept=chance.random() < 0.8,
        reason=("undecided: judge: one", "too far", "veto: formal")[count % 3],
    )
    return trace, label


def replies(chance: random.Random, trace_id: str, steps: int) -> list[Critique]:
    """Return random replies of two judges: about all steps, and about one that may not exist."""
    critiques = list[Critique]()
    for vote in range(chance.choice([0, 4, 8])):
        first_error = chance.choice([None, -1, -1, 0, 1])
        step = chance.choice([None, None, 0, 1, 7, -1])
        verdicts = tuple(chance.choices([GOOD, BAD, UNKNOWN], k=steps if step is None else 1))
        critique = replace(
            CRITIQUE,
            trace_id=trace_id,
            vote=vote,
            prompt=chance.choice(["judge", "judge", "other"]),
            step=step,
            verdicts=verdicts,
            first_error=first_error,
            request=chance.choice(["Is it right?"] * 5 + [None]),
            finish_reason=chance.choice(["stop"] * 5 + ["length"]),
        )
        critiques.append(critique)
    return critiques


def write_random_dataset(dataset: Dataset, seed: int) -> None:
    chance = random.Random(seed)
    for shard in range(2):
        problems = list[Problem]()
        traces = list[Trace]()
        found = list[Discovered]()
        labels = list[Label]()
        judged = list[Critique]()
        for index in range(40):
            name = f"{shard}-{index}"
            question = chance.choice([QUESTIONS[0], *QUESTIONS])
            problems.append(replace(PROBLEM, problem_id=name, question=question))
            # Imported question ids divide the traces of a problem in order.
            of_problem = [
                labelled(chance, replace(TRACE, trace_id=f"{name}-{n}", problem_id=name))
                for n in range(4)
            ]
            of_problem.sort(key=lambda item: item[0].metadata.get("question_id", ""))
            for trace, label in of_problem:
                traces.append(trace)
                labels.append(label)
            if chance.random() < 0.3:
                record, label = labelled(
                    chance, replace(DISCOVERED, trace_id=f"{name}-d", problem_id=name)
                )
                found.append(record)
                labels.append(label)
        dataset.write_part(PROBLEMS, shard, problems, "f")
        dataset.write_part(TRACES, shard, traces, "f")
        dataset.write_part(discovered("tree_search"), shard, found, "f")
        for trace in [*traces, *found]:
            judged.extend(replies(chance, trace.trace_id, len(trace.steps)))
        dataset.write_part(critiques("judge"), shard, judged, "f")
        dataset.write_part(LABELS, shard, labels, "f")


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_exported_rows(tmp_path: Path, seed: int) -> None:
    dataset = Dataset(str(tmp_path))
    write_random_dataset(dataset, seed)
    with query_session(dataset) as run_query:
        counts = count_format_rows(run_query).by_format
    exported = dict[str, int]()
    for name in counts:
        exporter = plugins.load("storage.formats", name)()
        reads = exporter.reads if isinstance(exporter, ReadsEvidence) else frozenset()
        kept = list[Example]()
        for item in ExampleJoin(dataset=dataset, reads=reads).examples():
            if isinstance(item, Example) and item.label.kept:
                kept.append(item)
        items = exported_rows(exporter, kept)
        exported[name] = sum(not isinstance(item, LeftOut) for item in items)
    assert counts == exported
    assert min(counts.values()) > 0


def test_reasons_equal_those_of_export(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    write_random_dataset(dataset, 0)
    # One trace has no label, and one label has a step more.
    _, other, *labels = dataset.read_part(LABELS, 0)
    other = replace(other, steps=(*other.steps, StepLabel(label=GOOD)), kept=True)
    dataset.write_part(LABELS, 0, [other, *labels], "f")
    with query_session(dataset) as run_query:
        counts = count_format_rows(run_query)
    done = export(dataset, Trl(), str(tmp_path / "out"))
    assert counts.traces == done.rows + sum(done.left_out.values())
    causes = {reason: count for reason, count in counts.left_out.items() if "not kept" in reason}
    assert set(causes) == {f"its label is not kept{end}" for end in ("", ": undecided", ": veto")}
    others = {reason: counts.left_out[reason] for reason in counts.left_out.keys() - causes}
    assert {**others, "its label is not kept": sum(causes.values())} == done.left_out
    assert min(counts.left_out.values()) > 0
    assert counts.trainable_rows().startswith(f"{done.rows} of {counts.traces} in trl (1 × it has ")


def test_many_causes_are_one_line(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    labels = [
        replace(LABEL, trace_id=f"t{number}", kept=False, reason=f"cause {number}: x")
        for number in range(50)
    ]
    dataset.write_part(LABELS, 0, labels, "f")
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    traces = [replace(TRACE, trace_id=label.trace_id) for label in labels]
    dataset.write_part(TRACES, 0, traces, "f")
    with query_session(dataset) as run_query:
        left_out = count_format_rows(run_query).left_out
    assert len(left_out) == 7
    assert left_out["its label is not kept"] == 44


@pytest.mark.parametrize("name", FORMATS)
def test_formats_declare_their_count(name: str) -> None:
    plugin = plugins.load("storage.formats", name)
    # Counting rollouts, or pairs of their steps, would take a run's summary too long.
    reads_rollouts = isinstance(plugin, ReadsEvidence) and bool(
        plugin.reads & {"rollouts", "annotations"}
    )
    assert isinstance(plugin, HasRowCount) or reads_rollouts
