"""Critics: prompt files that ask a model to judge a solution, and the votes in its replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annotators.judging.reply_parser import (
    MAX_REPLY_CHARS,
    StepVerdict,
    read_step_verdict,
    read_verdicts,
    reply_schema,
)
from engines.base import Completion, Prompt
from stepmark.errors import ConfigError
from stepmark.identity import digest
from stepmark.prompt_templates import fill, placeholders_in, read_template
from stepmark.records import Critique, Problem, Trace, first_error_of

__all__ = ["Critic", "Vote", "read_critic", "read_meta_critic"]

PROMPTS = Path(__file__).parents[1] / "prompts"
PLACEHOLDERS = ("question", "steps", "numbered", "answer", "number", "schema", "boundary")
# A meta-critic sends a single request about all steps, so it cannot use {number}.
META_PLACEHOLDERS = ("question", "steps", "numbered", "answer", "schema", "critiques", "boundary")
# Prompts for each step with all steps before it have quadratic size in total, and the grammar of a
# schema that counts the steps grows at least as fast.
MAX_STEPS = 256
INDENT = " " * 4
# The ten digits as letters that are no hexadecimal digits.
LETTERS = str.maketrans("0123456789", "ghijklmnop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One judgement of a whole solution, from one reply or from one reply per step."""

    step_verdicts: tuple[StepVerdict, ...]
    replies: tuple[Completion, ...]
    prompts: tuple[Prompt, ...]
    """The request that each reply answers."""

    @property
    def first_error(self) -> int | None:
        """The index of the first step called incorrect; -1 for no error, None if undecided."""
        return first_error_of([step_verdict.verdict for step_verdict in self.step_verdicts])

    @property
    def text(self) -> str:
        """The text of all replies, or "" if one of them is truncated or too long to be read."""
        if not all(_is_complete(reply) for reply in self.replies):
            return ""
        return "\n\n".join(reply.text for reply in self.replies)


@dataclass(frozen=True, kw_only=True)
class Critic:
    """A prompt template for judging solutions.

    Its placeholders determine the requests. With {number} every step is judged in a separate
    request that shows the steps up to it; the requests of a trace share their beginnings, so an
    engine with a prefix cache processes these once. With {answer} the prompt contains the reference
    answer, with {schema} the JSON schema of a reply, which engines with structured output enforce.
    {boundary} is a mark for delimiters that the solution cannot contain.
    """

    name: str
    template: str

    def uses(self, placeholder: str) -> bool:
        """Return whether the prompt contains this placeholder."""
        return placeholder in placeholders_in(self.template)

    def skip_reason(self, problem: Problem, trace: Trace) -> str:
        """Return why the prompt cannot be used for a trace, or an empty string."""
        if self.uses("answer") and not problem.answer:
            return f"prompt {self.name} shows the reference answer, but the problem has none"
        grows_with_steps = self.uses("number") or self.uses("schema")
        if grows_with_steps and len(trace.steps) > MAX_STEPS:
            return f"prompt {self.name} supports at most {MAX_STEPS} steps"
        return ""

    def prompts(self, problem: Problem, trace: Trace, critiques: str = "") -> Sequence[Prompt]:
        """Return the requests for one vote: one per step with {number}, else one for all steps."""
        # Of all steps, so that the requests of a trace share their beginnings.
        boundary = _boundary(problem, trace.steps, critiques)
        if not self.uses("number"):
            return [self._prompt(problem, trace.steps, critiques, boundary)]
        prompts = list[Prompt]()
        for length in range(1, len(trace.steps) + 1):
            prompts.append(self._prompt(problem, trace.steps[:length], critiques, boundary))
        return prompts

    def vote(
        self, prompts: Sequence[Prompt], replies: Sequence[Completion], steps: Sequence[str]
    ) -> Vote:
        """Parse one reply to each of the prompts into a vote on a trace with these steps."""
        if self.uses("number"):
            step_verdicts = list[StepVerdict]()
            for number, reply in enumerate(replies, start=1):
                text = _readable_text(reply)
                step_verdicts.append(read_step_verdict(text, number, steps[:number]))
        else:
            (reply,) = replies
            step_verdicts = list(read_verdicts(_readable_text(reply), len(steps), steps))
        return Vote(
            step_verdicts=tuple(step_verdicts), replies=tuple(replies), prompts=tuple(prompts)
        )

    def critiques(self, trace: Trace, vote: Vote, number: int) -> Sequence[Critique]:
        """Return the records of the replies of a vote, which is the critic's vote `number`."""
        critiques = list[Critique]()
        for index, (prompt, reply) in enumerate(zip(vote.prompts, vote.replies, strict=True)):
            step: int | None = None
            step_verdicts = vote.step_verdicts
            if self.uses("number"):
                step = index
                step_verdicts = vote.step_verdicts[index : index + 1]
            critiques.append(
                Critique(
                    trace_id=trace.trace_id,
                    prompt=self.name,
                    system=prompt.system,
                    request=prompt.user,
                    vote=number,
                    step=step,
                    text=reply.text[:MAX_REPLY_CHARS],
                    verdicts=tuple(step_verdict.verdict for step_verdict in step_verdicts),
                    first_error=vote.first_error,
                    reasoning=reply.reasoning,
                    finish_reason=reply.finish_reason,
                    prompt_tokens=reply.prompt_tokens,
                    cached_tokens=reply.cached_tokens,
                    generated_tokens=reply.generated_tokens,
                )
            )
        return critiques

    def _prompt(
        self, problem: Problem, steps: Sequence[str], critiques: str, boundary: str
    ) -> Prompt:
        schema = ""
        if self.uses("schema"):
            # A request for a single step gets a verdict on that step only.
            first = len(steps) if self.uses("number") else 1
            schema = reply_schema(len(steps), first)
        numbered_steps = list[str]()
        for number, step in enumerate(steps, start=1):
            # Indented, so that no line of a step begins like a step.
            lines = f"\n{INDENT}".join(step.strip().splitlines())
            numbered_steps.append(f"Step {number}: {lines}")
        user = fill(
            self.template,
            question=problem.question,
            # One line break at the end, however many the last step has.
            steps="".join(steps).rstrip("\n") + "\n",
            numbered="\n".join(numbered_steps),
            answer=problem.answer or "",
            number=str(len(steps)),
            schema=schema,
            critiques=critiques,
            boundary=boundary,
        )
        return Prompt(user=user, schema=schema)


def _boundary(problem: Problem, steps: Sequence[str], critiques: str) -> str:
    """Return a mark that no text of the prompt can contain: a digest of these texts.

    A request has the same mark whenever it is sent, so its completion is found in the store. A
    text with the digest of itself and of the others cannot be constructed. Letters alone, because
    digits could be taken for a part of the mathematics.
    """
    return digest("boundary", problem.question, problem.answer, steps, critiques).translate(LETTERS)


def read_critic(prompt: str) -> Critic:
    """Read a critic from a bundled prompt, by name, or from the user's own file, by path.

    Raises:
        ConfigError: The prompt does not exist or contains an unknown placeholder.
    """
    return Critic(name=prompt, template=read_template(prompt, PROMPTS, PLACEHOLDERS))


def read_meta_critic(prompt: str) -> Critic:
    """Read a critic that judges the critiques of other critics; see `read_critic`.

    Raises:
        ConfigError: As in `read_critic`, or the prompt does not contain {critiques}.
    """
    critic = Critic(name=prompt, template=read_template(prompt, PROMPTS, META_PLACEHOLDERS))
    if not critic.uses("critiques"):
        raise ConfigError(
            f"prompt {prompt}: the prompt of a meta-critic must contain {{critiques}}"
        )
    return critic


def _readable_text(reply: Completion) -> str:
    # A truncated reply has no verdicts: the missing rest might have changed them.
    return reply.text if _is_complete(reply) else ""


def _is_complete(reply: Completion) -> bool:
    """Return whether a reply was not truncated by the engine and is short enough to be read."""
    return reply.finish_reason == "stop" and len(reply.text) <= MAX_REPLY_CHARS
