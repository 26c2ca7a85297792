"""A language model as judge: it reads the whole solution and gives a verdict on every step, several times."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from annotators.base import Samples, Tools
from engines.base import Completion, Prompt
from stepmark.records import Annotation, Problem, Sampling, StepAnnotation, Trace, Verdict, first_error_of
from stepmark.templates import fill, read_template

__all__ = ["Judge"]

PROMPTS = Path(__file__).parent / "prompts"
PLACES = ("question", "steps", "numbered", "answer")
# "Step 3: … correct", "**Step 3**: Incorrect.", "Step 3: \boxed{incorrect}": a line about one step that ends with a verdict. Nothing
# here reaches beyond its line or is tried twice, since a hostile reply of a million line breaks must not hold the event loop.
VERDICT_LINE = re.compile(
    r"^(?:[^\w\n]|_)*+step[^\w\n]*+(?P<number>\d{1,6})\b(?P<before>[^\n]*)\b(?P<verdict>correct|incorrect)\b[^\w\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
# "not correct", "isn't quite correct", "correct or incorrect": not said in a known form.
HEDGED = re.compile(r"(?:\b(?:not|never|hardly)|n['’]t)[ *]+(?:[a-z]+[ *]+)?$|\bor[ *]+$|/[ *]*$", re.IGNORECASE)
LONGEST_HEDGE = 40
LONGEST_RATIONALE = 500


@dataclass(frozen=True, kw_only=True)
class Judge:
    """`votes` independent verdicts on all steps in one pass each (LLM-as-judge; Zheng et al. 2025, arXiv 2501.07301, section 3.1).

    `prompt` is the name of a file in `annotators/prompts` or the path of one's own; it may hold {question}, {steps} (as written, with one
    line break at the end), {numbered} (one "Step k:" a step) and {answer} (the reference). The reply must hold a line for each step that
    begins with "Step k" and ends with "correct" or "incorrect"; a step without one, and all of a reply that was cut, is unknown in that
    vote. The first error is the one most votes name; its share of the readable votes is the confidence, and a tie is undecided. A step's
    rationale is what the first vote of its majority says of it.
    """

    votes: Samples = 4
    temperature: float = 1.0
    max_tokens: int = 1024
    prompt: str = "judge"
    template: str = field(init=False, repr=False)

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset({"judge_engine"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "template", read_template(self.prompt, PROMPTS, PLACES))

    async def annotate(self, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
        """Ask once for all votes, and count them."""
        prompt = Prompt(user=self._render(problem, trace))
        sampling = Sampling(n=self.votes, temperature=self.temperature, max_tokens=self.max_tokens)
        replies = await tools.ask(prompt, sampling)
        votes = [_vote(reply, len(trace.steps)) for reply in replies]
        first_error, confidence = _most_named([first_error_of([said.verdict for said in vote]) for vote in votes])
        steps = tuple(_tally([vote[index] for vote in votes]) for index in range(len(trace.steps)))
        return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, confidence=confidence, steps=steps)

    def _render(self, problem: Problem, trace: Trace) -> str:
        return fill(
            self.template,
            question=problem.question,
            steps="".join(trace.steps).rstrip("\n") + "\n",
            numbered="\n".join(f"Step {number}: {step.strip()}" for number, step in enumerate(trace.steps, start=1)),
            answer=problem.answer or "not known",
        )


@dataclass(frozen=True, slots=True)
class Said:
    """What one reply says of one step."""

    verdict: Verdict = Verdict.UNKNOWN
    line: str = ""


def read_verdicts(reply: str, steps: int) -> Sequence[Said]:
    """What is said of each of `steps` steps; unknown where the reply gives no verdict, or two that differ."""
    found: dict[int, list[Said]] = {}
    for line in VERDICT_LINE.finditer(reply):
        hedged = HEDGED.search(line["before"][-LONGEST_HEDGE:])
        verdict = Verdict.UNKNOWN if hedged else Verdict(line["verdict"].lower())
        found.setdefault(int(line["number"]) - 1, []).append(Said(verdict, line[0].strip()[:LONGEST_RATIONALE]))
    return [_single(found.get(index, ())) for index in range(steps)]


def _vote(reply: Completion, steps: int) -> Sequence[Said]:
    """A reply that was cut might have gone on to say something else."""
    return read_verdicts(reply.text if reply.finish_reason == "stop" else "", steps)


def _single(lines: Sequence[Said]) -> Said:
    return lines[0] if len({said.verdict for said in lines}) == 1 else Said()


def _most_named(first_errors: Sequence[int | None]) -> tuple[int | None, float | None]:
    """(the first error that most readable votes name, its share); undecided on a tie or without a readable vote."""
    readable = Counter(error for error in first_errors if error is not None)
    ranked = readable.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None, None
    error, count = ranked[0]
    return error, count / readable.total()


def _tally(votes: Sequence[Said]) -> StepAnnotation:
    """Majority of the votes on one step."""
    verdicts = [said.verdict for said in votes]
    right, wrong = verdicts.count(Verdict.CORRECT), verdicts.count(Verdict.INCORRECT)
    trials = right + wrong
    majority = Verdict.CORRECT if right > wrong else Verdict.INCORRECT if wrong > right else Verdict.UNKNOWN
    rationale = next((said.line for said in votes if said.verdict is majority), "")
    return StepAnnotation(
        verdict=majority,
        value=right / trials if trials else None,
        successes=right,
        trials=trials,
        unknowns=len(votes) - trials,
        rationale=rationale,
    )
