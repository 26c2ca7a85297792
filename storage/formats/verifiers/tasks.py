"""Tasks for verifiers: a request to find the first error of a solution, and the right answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stepmark.prompt_templates import fill, placeholders_in, read_template
from storage.formats.base import Example, LeftOut, decided_first_error, written_steps

__all__ = ["HAS_TASK", "TAGS", "Task", "read_task_template", "task_of"]

PROMPTS = Path(__file__).parent / "prompts"
PLACEHOLDERS = ("question", "answer", "paragraphs")
# A text that contains one of these tags could end its paragraph and forge others.
TAGS = ("<paragraph_", "</paragraph_")

HAS_TASK = "has_first_error AND NOT has_paragraph_tag"
"""The condition in `storage.queries.format_rows` for a task without the reference answer."""


class Task(NamedTuple):
    """A request to a verifier, and what it must find."""

    request: str
    first_error: int
    steps: int
    """The number of steps of the solution."""


def read_task_template(prompt: str) -> str:
    """Read a prompt of this package by name, or the user's own file by path.

    It can contain {question}, {answer} and {paragraphs}: the steps in tags with their numbers.

    Raises:
        ConfigError: The prompt does not exist or contains an unknown placeholder.
    """
    return read_template(prompt, PROMPTS, PLACEHOLDERS)


def task_of(example: Example, template: str) -> Task | LeftOut:
    """Return the task of a labelled trace, or why there is none."""
    steps = written_steps(example.trace)
    if not steps:
        return LeftOut("it has no steps")
    first_error = decided_first_error(example.label)
    if first_error is None:
        return LeftOut("its first error is undecided")
    answer = example.problem.answer or ""
    if not answer and "answer" in placeholders_in(template):
        return LeftOut("its problem has no reference answer")
    # No tag contains a line break, so that none begins in one text and ends in another.
    text = "\n".join([example.problem.question, answer, *steps])
    if any(tag in text for tag in TAGS):
        return LeftOut("its text holds a paragraph tag")
    request = fill(
        template,
        question=example.problem.question,
        answer=answer,
        paragraphs=_paragraphs(steps),
    )
    return Task(request, first_error, len(steps))


def _paragraphs(steps: Sequence[str]) -> str:
    paragraphs = list[str]()
    for number, step in enumerate(steps):
        paragraphs.append(f"<paragraph_{number}>\n{step}\n</paragraph_{number}>")
    return "\n".join(paragraphs)
