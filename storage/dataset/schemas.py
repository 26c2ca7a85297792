"""The Arrow schemas of all tables.

`migrations` lists the changes since earlier versions, whose parts stay readable. Columns are NOT
NULL unless wrapped in `_nullable`: a column is nullable if a value can be missing, or if older
versions did not write the column. The fields of an annotation's cost are separate columns, so that
SQL can sum them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import pyarrow as pa

__all__ = ["ENTRIES", "SCHEMAS"]

_Column: TypeAlias = pa.DataType | pa.Field


def _nullable(kind: pa.DataType) -> pa.Field:
    return pa.field("", kind, nullable=True)


def _fields(columns: Mapping[str, _Column]) -> list[pa.Field]:
    fields = []
    for name, column in columns.items():
        if isinstance(column, pa.Field):
            fields.append(column.with_name(name))
        else:
            fields.append(pa.field(name, column, nullable=False))
    return fields


def _schema(**columns: _Column) -> pa.Schema:
    return pa.schema(_fields(columns))


def _struct(**columns: _Column) -> pa.StructType:
    return pa.struct(_fields(columns))


def _list(element: pa.DataType) -> pa.ListType:
    return pa.list_(pa.field("element", element, nullable=False))


_TEXT = pa.string()
_FLAG = pa.bool_()
# A step index, or a number of steps or trials.
_STEP = pa.int32()
_COUNT = pa.int64()
_REAL = pa.float64()
# The keys of completions are digests of 128 bits.
_KEY = pa.binary(16)

ENTRIES = _list(_struct(key=_TEXT, value=_TEXT))
"""The type of a mapping. The library `datasets` cannot read Arrow's own map type."""

# Seeds are below 2**53 and token counts can be summed, so both are 64-bit.
_SAMPLING = _struct(
    n=_STEP, temperature=_REAL, top_p=_REAL, max_tokens=_COUNT, stop=_list(_TEXT), seed=_COUNT
)
_STEP_ANNOTATION = _struct(
    verdict=_TEXT,
    value=_nullable(_REAL),
    successes=_STEP,
    trials=_STEP,
    unknowns=_STEP,
    rationale=_TEXT,
)
_STEP_LABEL = _struct(label=_TEXT, value=_nullable(_REAL))

_TRACE: Mapping[str, _Column] = {
    "trace_id": _TEXT,
    "problem_id": _TEXT,
    "steps": _list(_TEXT),
    "final_answer": _nullable(_TEXT),
    "outcome": _TEXT,
    "outcome_reason": _TEXT,
    "outcome_parts": _nullable(_list(_TEXT)),
    "model": _TEXT,
    "sampling": _nullable(_SAMPLING),
    "reasoning": _nullable(_TEXT),
    "finish_reason": _TEXT,
    "prompt_tokens": _COUNT,
    "cached_tokens": _COUNT,
    "generated_tokens": _COUNT,
    "metadata": ENTRIES,
}

_ANNOTATION: Mapping[str, _Column] = {
    "trace_id": _TEXT,
    "method": _TEXT,
    "fingerprint": _TEXT,
    "first_error": _nullable(_STEP),
    "confidence": _nullable(_REAL),
    "steps": _list(_STEP_ANNOTATION),
    "neutral_steps": _nullable(_list(_STEP)),
    "posterior": _list(_REAL),
    "learned": _TEXT,
    "claims_checked": _nullable(_STEP),
    "claims_holding": _nullable(_STEP),
    "rollouts": _COUNT,
    "aborted": _COUNT,
    "prompt_tokens": _COUNT,
    "cached_tokens": _COUNT,
    "generated_tokens": _COUNT,
    "seconds": _REAL,
    "waited_seconds": _nullable(_REAL),
    "error": _nullable(_TEXT),
}

SCHEMAS: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "problems": _schema(
            problem_id=_TEXT,
            question=_TEXT,
            answer=_nullable(_TEXT),
            domain=_TEXT,
            source=_TEXT,
            license=_TEXT,
            metadata=ENTRIES,
        ),
        "rejected": _schema(file=_TEXT, row=_COUNT, field=_TEXT, reason=_TEXT),
        "traces": _schema(**_TRACE),
        "discovered": _schema(
            **_TRACE,
            found_by=_TEXT,
            method=_nullable(_TEXT),
            parent_trace_id=_TEXT,
            parent_steps=_STEP,
            rollout_id=_TEXT,
        ),
        "rollouts": _schema(
            method=_nullable(_TEXT),
            rollout_id=_TEXT,
            trace_id=_TEXT,
            prefix_steps=_STEP,
            text=_TEXT,
            steps=_nullable(_list(_TEXT)),
            final_answer=_nullable(_TEXT),
            outcome=_TEXT,
            outcome_reason=_TEXT,
            outcome_parts=_nullable(_list(_TEXT)),
            seed=_COUNT,
            reasoning=_nullable(_TEXT),
            finish_reason=_TEXT,
            prompt_tokens=_COUNT,
            cached_tokens=_COUNT,
            generated_tokens=_COUNT,
        ),
        "critiques": _schema(
            method=_nullable(_TEXT),
            trace_id=_TEXT,
            prompt=_TEXT,
            system=_nullable(_TEXT),
            request=_nullable(_TEXT),
            model=_nullable(_TEXT),
            vote=_STEP,
            step=_nullable(_STEP),
            text=_TEXT,
            verdicts=_list(_TEXT),
            first_error=_nullable(_STEP),
            reasoning=_nullable(_TEXT),
            finish_reason=_TEXT,
            prompt_tokens=_COUNT,
            cached_tokens=_COUNT,
            generated_tokens=_COUNT,
        ),
        "annotations": _schema(**_ANNOTATION),
        "labels": _schema(
            trace_id=_TEXT,
            first_error=_nullable(_STEP),
            steps=_list(_STEP_LABEL),
            confidence=_nullable(_REAL),
            kept=_FLAG,
            reason=_TEXT,
            sources=_list(_TEXT),
            fingerprint=_TEXT,
        ),
        "stale_labels": _schema(
            **_ANNOTATION,
            problem_id=_TEXT,
            reason=_TEXT,
            is_carried_over=_FLAG,
            step_texts=_list(_TEXT),
        ),
        # Not a table of parts: the files are those of `storage.completions`.
        "completions": _schema(
            key=_KEY,
            model=_TEXT,
            seed=_COUNT,
            text=_TEXT,
            finish_reason=_TEXT,
            prompt_tokens=_COUNT,
            cached_tokens=_COUNT,
            generated_tokens=_COUNT,
            logprobs=_nullable(_list(_REAL)),
            reasoning=_nullable(_TEXT),
            revision=_STEP,
        ),
    }
)
