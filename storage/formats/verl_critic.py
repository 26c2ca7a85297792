r"""The FAPO critic rows of verl: a request to find the first error, which a rule rewards.

The rows are those of `recipe/fapo` of verl (arXiv 2510.22543), whose reward function compares the
last `\boxed{}` of a reply with `ground_truth`. Read by `RLHFDataset` of verl 0.9.1, which is tried
with `make consumers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, user_turn
from storage.formats.verifiers.tasks import HAS_TASK, read_task_template, task_of

__all__ = ["VerlCritic"]


@dataclass(frozen=True, kw_only=True)
class VerlCritic:
    """One row per trace."""

    prompt: str = "first_error_with_answer"
    """The request: a file in `storage/formats/verifiers/prompts`, or the path of your own."""
    data_source: str = "fapo_critic"
    """The name by which verl selects the reward function."""
    template: str = field(init=False, repr=False)

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = f"count(*) FILTER ({HAS_TASK} AND answer <> '')"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "data_source": pa.string(),
            "prompt": MESSAGES,
            "ability": pa.string(),
            "reward_model": pa.struct({"ground_truth": pa.int64(), "style": pa.string()}),
            "extra_info": pa.struct({"total_steps": pa.int64(), "trace_id": pa.string()}),
        }
    )

    def __post_init__(self) -> None:
        # The dataclass is frozen, and this field is derived from another one.
        object.__setattr__(self, "template", read_task_template(self.prompt))

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; a trace whose first error is undecided is left out."""
        task = task_of(example, self.template)
        if isinstance(task, LeftOut):
            yield task
            return
        yield {
            "data_source": self.data_source,
            "prompt": user_turn(task.request),
            "ability": "math_critic",
            "reward_model": {"ground_truth": task.first_error, "style": "rule"},
            "extra_info": {"total_steps": task.steps, "trace_id": example.trace.trace_id},
        }
