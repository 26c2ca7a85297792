"""The contract of export formats."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import PROBLEM, label_of, traces
from stepmark.records import (
    NO_ERROR,
    Annotation,
    Critique,
    Label,
    Rollout,
    StepAnnotation,
    Trace,
    Verdict,
)
from storage.formats.base import Example, ExportedRow, Format, LeftOut, exported_rows

__all__ = ["CHECKS"]


def _examples() -> Iterator[Example]:
    for trace in traces():
        for first_error in (NO_ERROR, None, *range(len(trace.steps))):
            for value in (None, 0.25):
                label = label_of(trace, first_error, value)
                yield Example(
                    problem=PROBLEM,
                    trace=trace,
                    label=label,
                    critiques=_critiques(label),
                    rollouts=_rollouts(trace),
                    annotations=[_annotation(label)],
                )


def _critiques(label: Label) -> Sequence[Critique]:
    """Return two replies to one request: one agrees with the label, the other one does not."""
    agreeing = Critique(
        method="judge",
        trace_id=label.trace_id,
        prompt="sample",
        system="",
        request="Is every step right?",
        model="judge",
        vote=0,
        step=None,
        text="The reply.",
        verdicts=tuple(step.label for step in label.steps),
        first_error=label.first_error,
        finish_reason="stop",
        prompt_tokens=5,
        cached_tokens=0,
        generated_tokens=3,
    )
    other = NO_ERROR if label.first_error != NO_ERROR else 0
    return [agreeing, replace(agreeing, vote=1, text="Another reply.", first_error=other)]


def _rollouts(trace: Trace) -> Sequence[Rollout]:
    """Return one rollout of every outcome after the first step."""
    rollouts = list[Rollout]()
    for outcome in Verdict:
        rollout = Rollout(
            method="monte_carlo",
            rollout_id=f"{trace.trace_id} {outcome}",
            trace_id=trace.trace_id,
            prefix_steps=min(1, len(trace.steps)),
            text="The answer is 4.",
            steps=("The answer is 4.",),
            final_answer="4",
            outcome=outcome,
            outcome_reason="a sample",
            seed=0,
            finish_reason="stop",
            prompt_tokens=5,
            cached_tokens=0,
            generated_tokens=3,
        )
        rollouts.append(rollout)
    return rollouts


def _annotation(label: Label) -> Annotation:
    """Return an annotation by Monte Carlo with the verdicts of the label."""
    steps = list[StepAnnotation]()
    for step in label.steps:
        steps.append(StepAnnotation(verdict=step.label, value=0.5, successes=1, trials=2))
    return Annotation(
        trace_id=label.trace_id,
        method="monte_carlo",
        first_error=label.first_error,
        steps=tuple(steps),
    )


def _declares_split(subject: Subject) -> None:
    split = getattr(subject.load(), "split", "")
    require(re.fullmatch(r"\w+", split), 'declare `split: ClassVar[str] = "train"`')


def _rows_match_the_schema(subject: Subject) -> None:
    plugin: Format = subject.build()
    items = exported_rows(plugin, _examples())
    rows = [dict(item.row) for item in items if isinstance(item, ExportedRow)]
    require(rows, "it exports none of the samples")
    names = set(plugin.schema.names)
    for row in rows:
        require(row.keys() <= names, f"columns that the schema lacks: {sorted(row.keys() - names)}")
    table = plugin.schema.empty_table().from_pylist(rows, schema=plugin.schema)
    table.validate(full=True)
    filled = [{name: row.get(name) for name in plugin.schema.names} for row in rows]
    require(table.to_pylist() == filled, "a row that is read back differs")


def _left_out_examples_have_reasons(subject: Subject) -> None:
    plugin: Format = subject.build()
    for item in exported_rows(plugin, _examples()):
        if isinstance(item, LeftOut):
            require(item.reason, "an example is left out without a reason")


def _is_deterministic(subject: Subject) -> None:
    first = list(exported_rows(subject.build(), _examples()))
    require(first == list(exported_rows(subject.build(), _examples())), "two exports differ")


CHECKS: Sequence[Check] = (
    Check(what="names the split of its rows", run=_declares_split),
    Check(what="yields rows of its schema", run=_rows_match_the_schema),
    Check(what="gives a reason for what it leaves out", run=_left_out_examples_have_reasons),
    Check(what="is deterministic", run=_is_deterministic),
)
