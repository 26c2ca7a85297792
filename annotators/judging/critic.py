"""A critic: a prompt file that asks a model for verdicts on a solution, and the votes that its replies make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotators.judging.reply_parser import LONGEST_REPLY, Said, read_verdicts, reply_schema
from engines.base import Completion, Prompt
from stepmark.errors import ConfigError
from stepmark.prompt_templates import fill, placeholders_in, read_template
from stepmark.records import Critique, Problem, Trace, first_error_of

__all__ = ["Critic", "Vote", "meta_critic", "read_critic"]

PROMPTS = Path(__file__).parents[1] / "prompts"
PLACES = ("question", "steps", "numbered", "answer", "number", "schema")
META_PLACES = ("question", "steps", "numbered", "answer", "schema", "critiques")
# Prompts that grow by a step each, and grammars that count the steps, grow with the square of their number or worse.
MOST_STEPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One reading of a whole solution: what is said of each step, and the replies that say it."""

    said: tuple[Said, ...]
    replies: tuple[Completion, ...]

    @property
    def first_error(self) -> int | None:
        """The first wrong step that it names."""
        return first_error_of([said.verdict for said in self.said])

    @property
    def text(self) -> str:
        """All that it says, "" where a part is cut or too long to be read."""
        return (
            "\n\n".join(reply.text for reply in self.replies)
            if all(map(_whole, self.replies))
            else ""
        )


@dataclass(frozen=True, kw_only=True)
class Critic:
    """A prompt, and what its places make of it.

    With {number} each step is judged alone, in a request of its own that shows the steps up to it: a trace's requests share their
    beginnings, which an engine reads once. With {answer} the reference is shown, with {schema} the form of a reply in JSON, to which
    engines that can hold the model.
    """

    name: str
    template: str

    def shows(self, place: str) -> bool:
        """Whether the prompt has this place."""
        return place in placeholders_in(self.template)

    def declines(self, problem: Problem, trace: Trace) -> str:
        """Why the trace cannot be asked about, or ""."""
        if self.shows("answer") and not problem.answer:
            return f"prompt {self.name} shows the reference answer, and the problem has none"
        if len(trace.steps) > MOST_STEPS and (self.shows("number") or self.shows("schema")):
            return f"prompt {self.name} is for at most {MOST_STEPS} steps"
        return ""

    def prompts(self, problem: Problem, trace: Trace, critiques: str = "") -> Sequence[Prompt]:
        """One request about all steps, or one a step."""
        steps = trace.steps
        shown = (
            [steps[: index + 1] for index in range(len(steps))] if self.shows("number") else [steps]
        )
        return [self._prompt(problem, prefix, critiques) for prefix in shown]

    def vote(self, replies: Sequence[Completion], steps: int) -> Vote:
        """What the replies to `prompts` say together."""
        if self.shows("number"):
            said = [_said(reply, steps)[index] for index, reply in enumerate(replies)]
        else:
            (reply,) = replies
            said = list(_said(reply, steps))
        return Vote(said=tuple(said), replies=tuple(replies))

    def critiques(self, trace: Trace, vote: Vote, number: int) -> Iterator[Critique]:
        """The record of each reply of a vote."""
        for index, reply in enumerate(vote.replies):
            step = index if self.shows("number") else None
            about = vote.said if step is None else vote.said[step : step + 1]
            yield Critique(
                trace_id=trace.trace_id,
                prompt=self.name,
                vote=number,
                step=step,
                text=reply.text[:LONGEST_REPLY],
                verdicts=tuple(said.verdict for said in about),
                first_error=vote.first_error,
                finish_reason=reply.finish_reason,
                prompt_tokens=reply.prompt_tokens,
                cached_tokens=reply.cached_tokens,
                generated_tokens=reply.generated_tokens,
            )

    def _prompt(self, problem: Problem, steps: Sequence[str], critiques: str) -> Prompt:
        schema = (
            reply_schema(1 if self.shows("number") else len(steps)) if self.shows("schema") else ""
        )
        user = fill(
            self.template,
            question=problem.question,
            steps="".join(steps).rstrip("\n") + "\n",
            numbered="\n".join(
                f"Step {number}: {step.strip()}" for number, step in enumerate(steps, start=1)
            ),
            answer=problem.answer or "",
            number=str(len(steps)),
            schema=schema,
            critiques=critiques,
        )
        return Prompt(user=user, schema=schema)


def read_critic(prompt: str) -> Critic:
    """The critic of a shipped prompt or of one's own; `ConfigError` when there is none."""
    return Critic(name=prompt, template=read_template(prompt, PROMPTS, PLACES))


def meta_critic(prompt: str) -> Critic:
    """A critic of critiques: one that is shown them."""
    critic = Critic(name=prompt, template=read_template(prompt, PROMPTS, META_PLACES))
    if not critic.shows("critiques"):
        raise ConfigError(f"prompt {prompt}: a meta-critic must be shown the {{critiques}}")
    return critic


def _said(reply: Completion, steps: int) -> Sequence[Said]:
    """A reply that was cut might have gone on to say something else."""
    return read_verdicts(reply.text if _whole(reply) else "", steps)


def _whole(reply: Completion) -> bool:
    return reply.finish_reason == "stop" and len(reply.text) <= LONGEST_REPLY
