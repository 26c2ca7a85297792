"""Wrong drafts with a right solution, for models that refine solutions.

A row is a conversation, as TRL's `SFTTrainer` reads it (TRL 1.16.0, tried with `make consumers`).
Similar to the refinement data of GLoRe (Havrilla et al. 2024, arXiv 2402.10963). Global
refinement: the draft alone, and a right solution of the same problem, the one that shares the most
steps with it. Local refinement: the draft with the mark [BAD] before its first error, and the sound
steps before it with a correct rollout from there, or a right solution that begins with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from stepmark.records import Verdict
from storage.formats.base import Example, ExportedRow, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.solutions.quality import is_right, solution_text

__all__ = ["Refinement"]

MARK = "[BAD]"
GLOBAL_TASK = "The draft below has a wrong answer. Write a correct solution."
LOCAL_TASK = (
    f"The draft below has its first error after the mark {MARK}. Write a correct solution that"
    " begins with the steps before the mark."
)


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """One row per draft with an incorrect answer, if there is a right solution for it."""

    style: Literal["global", "local"] = "global"
    """Whether the draft is given alone, or with its first error marked."""
    but: tuple[str, ...] = ("prover",)
    """The methods whose rollouts are not used, because another model wrote them."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"rollouts"})
    schema: ClassVar[pa.Schema] = pa.schema({"messages": MESSAGES})

    def problem_rows(self, examples: Sequence[Example]) -> Iterator[ExportedRow | LeftOut]:
        """Yield the rows of a problem; right solutions are no drafts, and not counted."""
        right = [example for example in examples if is_right(example) is True]
        for example in examples:
            verdict = is_right(example)
            if isinstance(verdict, LeftOut):
                yield verdict
            elif not verdict and self.style == "global":
                yield _global_row(example, right)
            elif not verdict:
                yield self._local_row(example, right)

    def _local_row(self, draft: Example, right: Sequence[Example]) -> ExportedRow | LeftOut:
        first_error = draft.label.first_error
        if first_error is None or first_error < 0:
            return LeftOut("its first error is undecided")
        steps = draft.trace.steps
        if any(MARK in step for step in steps):
            return LeftOut(f"its text holds the mark {MARK}")
        prefix = "".join(steps[:first_error])
        marked = f"{prefix}{MARK} {''.join(steps[first_error:])}"
        for rollout in draft.rollouts:
            if (
                rollout.prefix_steps == first_error
                and rollout.outcome is Verdict.CORRECT
                and rollout.method not in self.but
            ):
                return ExportedRow(_row(draft, LOCAL_TASK, marked, prefix + rollout.text), (draft,))
        for example in right:
            if _shared_steps(draft, example) >= first_error:
                row = _row(draft, LOCAL_TASK, marked, solution_text(example.trace))
                return ExportedRow(row, (draft, example))
        return LeftOut("no correct solution continues the steps before its first error")


def _global_row(draft: Example, right: Sequence[Example]) -> ExportedRow | LeftOut:
    if not right:
        return LeftOut("its problem has no right solution")
    # `max` returns the first of equal ones.
    nearest = max(right, key=lambda example: _shared_steps(draft, example))
    row = _row(draft, GLOBAL_TASK, solution_text(draft.trace), solution_text(nearest.trace))
    return ExportedRow(row, (draft, nearest))


def _shared_steps(first: Example, second: Example) -> int:
    count = 0
    # The two solutions can have different numbers of steps.
    for step, other in zip(first.trace.steps, second.trace.steps, strict=False):
        if step != other:
            break
        count += 1
    return count


def _row(draft: Example, task: str, draft_text: str, target: str) -> Row:
    request = f"{draft.problem.question}\n\n{task}\n\nDraft:\n{draft_text}"
    return {"messages": [*user_turn(request), *assistant_turn(target)]}
