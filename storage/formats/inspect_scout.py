"""Inspect Scout's transcript database: one transcript per trace, with a message per step.

The columns are those of `inspect_scout` 0.6.1, whose reader is tried with `make consumers`; all
other columns are metadata of a transcript, on which Scout filters. `scout view -T FOLDER/data`
displays the transcripts. Texts are marked as not trusted, so Scout shows them without rendering.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stepmark.records import Annotation, Trace, Verdict
from storage.formats.base import Example, LeftOut, Row, written_steps

__all__ = ["InspectScout"]

SUCCESS: Mapping[Verdict, bool | None] = {
    Verdict.CORRECT: True,
    Verdict.INCORRECT: False,
    Verdict.UNKNOWN: None,
}


@dataclass(frozen=True, kw_only=True)
class InspectScout:
    """One row per trace.

    `score` is the first error according to the label, null if it is undecided; `success` is whether
    the final answer is correct. The metadata of the message of a step has its label, and in
    `verdicts` the verdict of each method.
    """

    version: ClassVar[int] = 3
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"annotations"})
    row_count: ClassVar[str] = "count(*) FILTER (len(texts) > 0)"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "transcript_id": pa.string(),
            "source_type": pa.string(),
            "source_id": pa.string(),
            "task_set": pa.string(),
            "task_id": pa.string(),
            "model": pa.string(),
            "model_options": pa.string(),
            "score": pa.string(),
            "score_explanation": pa.string(),
            "success": pa.bool_(),
            "message_count": pa.int64(),
            "total_tokens": pa.int64(),
            "trust_content": pa.bool_(),
            "messages": pa.string(),
            # Metadata.
            "reference_answer": pa.string(),
            "final_answer": pa.string(),
            "confidence": pa.float64(),
            "first_errors": pa.string(),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the transcript of a trace."""
        trace = example.trace
        if not trace.steps:
            yield LeftOut("it has no steps")
            return
        label = example.label
        messages = _messages(example)
        yield {
            "transcript_id": trace.trace_id,
            "source_type": "stepmark",
            "source_id": example.problem.source,
            "task_set": example.problem.domain,
            "task_id": trace.problem_id,
            "model": trace.model,
            "model_options": _model_options(trace),
            "score": None if label.first_error is None else str(label.first_error),
            "score_explanation": label.reason,
            "success": SUCCESS[trace.outcome],
            "message_count": len(messages),
            "total_tokens": trace.prompt_tokens + trace.generated_tokens,
            "trust_content": False,
            "messages": json.dumps(messages, ensure_ascii=False),
            "reference_answer": example.problem.answer,
            "final_answer": trace.final_answer,
            "confidence": label.confidence,
            "first_errors": json.dumps(
                {annotation.method: annotation.first_error for annotation in example.annotations}
            ),
        }


def _messages(example: Example) -> list[dict[str, Any]]:
    trace_id = example.trace.trace_id
    messages: list[dict[str, Any]] = [
        {"id": f"{trace_id}-question", "role": "user", "content": example.problem.question}
    ]
    for index, text in enumerate(written_steps(example.trace)):
        messages.append(
            {
                "id": f"{trace_id}-{index}",
                "role": "assistant",
                "content": text,
                "model": example.trace.model,
                "metadata": _step_metadata(example, index),
            }
        )
    return messages


def _step_metadata(example: Example, index: int) -> dict[str, Any]:
    step_label = example.label.steps[index]
    # Apart from the other keys: a method can be named `label`.
    verdicts = dict[str, str]()
    for annotation in example.annotations:
        verdicts[annotation.method] = _verdict(annotation, index)
    return {
        "step": index,
        "label": step_label.label,
        "value": step_label.value,
        "verdicts": verdicts,
    }


def _verdict(annotation: Annotation, index: int) -> str:
    """Return the verdict of a method, with its reason if it states one."""
    # A method that failed has no steps.
    if index >= len(annotation.steps):
        return Verdict.UNKNOWN
    step = annotation.steps[index]
    return f"{step.verdict}: {step.rationale}" if step.rationale else step.verdict


def _model_options(trace: Trace) -> str | None:
    return None if trace.sampling is None else json.dumps(asdict(trace.sampling))
