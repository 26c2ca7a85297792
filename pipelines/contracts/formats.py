"""The contract of export formats."""

import re
from collections.abc import Iterator, Sequence

from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import PROBLEM, label_of, traces
from stepmark.records import NO_ERROR
from storage.formats.base import Example, Format, LeftOut

__all__ = ["CHECKS"]


def _examples() -> Iterator[Example]:
    for trace in traces():
        for first_error in (NO_ERROR, None, *range(len(trace.steps))):
            for value in (None, 0.25):
                label = label_of(trace, first_error, value)
                yield Example(problem=PROBLEM, trace=trace, label=label)


def _declares_split(subject: Subject) -> None:
    split = getattr(subject.load(), "split", "")
    require(re.fullmatch(r"\w+", split), 'declare `split: ClassVar[str] = "train"`')


def _rows_match_the_schema(subject: Subject) -> None:
    plugin: Format = subject.build()
    rows = [dict(item) for item in plugin.rows(_examples()) if not isinstance(item, LeftOut)]
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
    for item in plugin.rows(_examples()):
        if isinstance(item, LeftOut):
            require(item.reason, "an example is left out without a reason")


def _is_deterministic(subject: Subject) -> None:
    first = list(subject.build().rows(_examples()))
    require(first == list(subject.build().rows(_examples())), "two exports differ")


CHECKS: Sequence[Check] = (
    Check(what="names the split of its rows", run=_declares_split),
    Check(what="yields rows of its schema", run=_rows_match_the_schema),
    Check(what="gives a reason for what it leaves out", run=_left_out_examples_have_reasons),
    Check(what="is deterministic", run=_is_deterministic),
)
