"""Tasks for reinforcement learning of a verifier: a request, and the first error that it must find.

Read by the GRPO trainer of TRL 1.16, which passes the columns besides `prompt` to the reward
function (tried with `make consumers`). For the rows of verl, see `verl_critic`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, user_turn
from storage.formats.verifiers.tasks import HAS_TASK, read_task_template, task_of

__all__ = ["VerificationTasks"]


@dataclass(frozen=True, kw_only=True)
class VerificationTasks:
    """One row per trace."""

    prompt: str = "first_error"
    """The request: a file in `storage/formats/verifiers/prompts`, or the path of your own."""
    template: str = field(init=False, repr=False)

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = f"count(*) FILTER ({HAS_TASK})"
    schema: ClassVar[pa.Schema] = pa.schema(
        {"prompt": MESSAGES, "first_error": pa.int64(), "total_steps": pa.int64()}
    )

    def __post_init__(self) -> None:
        # The dataclass is frozen, and this field is derived from another one.
        object.__setattr__(self, "template", read_task_template(self.prompt))

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; `first_error` is counted from 0, and -1 if there is none."""
        task = task_of(example, self.template)
        if isinstance(task, LeftOut):
            yield task
            return
        yield {
            "prompt": user_turn(task.request),
            "first_error": task.first_error,
            "total_steps": task.steps,
        }
