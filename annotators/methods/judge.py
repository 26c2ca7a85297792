"""Language models as judges: they read a solution and give a verdict on every step, several times, and the votes are counted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from annotators.base import SampleCount
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.failures import abstention
from annotators.judging.critic import Critic, Vote, meta_critic, read_critic
from annotators.judging.reply_parser import Said
from engines.base import Completion, Prompt
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Problem, Sampling, StepAnnotation, Trace, Verdict

__all__ = ["Judge"]

META_SEED = -1
"""Told apart from the votes' requests, which are counted from 0."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """`votes` independent verdicts from each prompt (LLM-as-judge; Zheng et al. 2025, arXiv 2501.07301, section 3.1).

    `prompt` is the name of a file in `annotators/prompts` or the path of one's own, or a list of them: an ensemble (AURORA,
    arXiv 2502.11520), in which every readable vote counts the same. What a prompt shows decides how it asks:

    - {question}, {steps} (as written, with one line break at the end), {numbered} (one "Step k:" a step);
    - {number}: each step is judged alone, given those before it. All T requests of a trace run at once, for votes · T completions: to
      stop at a wrong step would leave the votes that disagree unfinished, and make the others look surer than they are;
    - {answer}: the reference. Of a problem without one nothing is asked with that prompt; `reverse` checks backwards from it (AURORA);
    - {schema}: the JSON form of a reply, to which engines that can hold the model.

    Any reply may be of that JSON, or hold a line for each step that begins with "Step k" and ends with "correct" or "incorrect"; a step
    without either, and all of a reply that was cut, is unknown in that vote.

    The first error is the one most votes name, and its share of the readable votes the confidence; a tie is undecided. A step's verdict is
    the majority of the votes on it, its rationale what the first of them says. These two counts may differ, as judgements that are put
    together can: votes for one place are votes against no other. Where the majority contradicts the place outright (calls it right, or a
    step before it wrong), the first error is undecided; where it is a tie, both stand.

    `meta` names a prompt that is shown the {critiques} of all votes but the cut ones and gives the final verdicts in one more reply (SPARK,
    arXiv 2512.03244: self-consistency first, then a meta-critique). The votes stay what they are in a step's value, successes and trials;
    the confidence is the share of readable votes that name the meta-critic's first error.

    Every reply is kept as a `Critique`, those that say nothing too.
    """

    votes: SampleCount = 4
    temperature: float = 1.0
    max_tokens: int = 1024
    prompt: str | tuple[str, ...] = "judge"
    meta: str = ""
    critics: tuple[Critic, ...] = field(init=False, repr=False)
    meta_critic: Critic | None = field(init=False, repr=False)

    version: ClassVar[int] = 3
    needs: ClassVar[frozenset[str]] = frozenset({"judge_engine"})

    def __post_init__(self) -> None:
        names = (self.prompt,) if isinstance(self.prompt, str) else self.prompt
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                "judge: prompt is empty, or names one prompt twice: more `votes` ask it more often"
            )
        object.__setattr__(self, "critics", tuple(map(read_critic, names)))
        object.__setattr__(self, "meta_critic", meta_critic(self.meta) if self.meta else None)

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Have every critic vote at once, count the votes, and have the meta-critic weigh them."""
        reasons = [critic.declines(problem, trace) for critic in self.critics]
        jury = [
            critic for critic, why_not in zip(self.critics, reasons, strict=True) if not why_not
        ]
        reason = self.meta_critic.declines(problem, trace) if self.meta_critic else ""
        if reason or not jury:
            return abstention(trace, reason or reasons[0])
        votes = await self._votes(jury, problem, trace, context)
        annotation = _counted(trace, votes)
        if self.meta_critic is None:
            return annotation
        return _weighed(
            annotation, votes, await self._final(self.meta_critic, votes, problem, trace, context)
        )

    async def _votes(
        self, jury: Sequence[Critic], problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Sequence[Vote]:
        """All votes of all critics, asked for at once."""
        requests = [
            (critic, prompt) for critic in jury for prompt in critic.prompts(problem, trace)
        ]
        answers = await gather_or_cancel(
            self._ask(context, prompt, self.votes, seed)
            for seed, (_, prompt) in enumerate(requests)
        )
        votes = list[Vote]()
        for critic in jury:
            rows = [
                replies
                for (asked, _), replies in zip(requests, answers, strict=True)
                if asked is critic
            ]
            votes += _heard(critic, trace, zip(*rows, strict=True), context)
        return votes

    async def _final(
        self,
        critic: Critic,
        votes: Sequence[Vote],
        problem: Problem,
        trace: Trace,
        context: AnnotationContext,
    ) -> Vote:
        """What the meta-critic makes of the votes; nothing where there is nothing to read."""
        texts = [vote.text.strip() for vote in votes if vote.text.strip()]
        if not texts:
            return Vote(said=(Said(),) * len(trace.steps), replies=())
        critiques = "\n\n".join(
            f"Review {number}:\n{text}" for number, text in enumerate(texts, start=1)
        )
        (prompt,) = critic.prompts(problem, trace, critiques)
        replies = await self._ask(context, prompt, 1, META_SEED)
        (vote,) = _heard(critic, trace, [tuple(replies)], context)
        return vote

    async def _ask(
        self, context: AnnotationContext, prompt: Prompt, votes: int, seed: int
    ) -> Sequence[Completion]:
        return await context.ask(
            prompt,
            Sampling(n=votes, temperature=self.temperature, max_tokens=self.max_tokens, seed=seed),
        )


def _heard(
    critic: Critic,
    trace: Trace,
    ballots: Iterable[Sequence[Completion]],
    context: AnnotationContext,
) -> Sequence[Vote]:
    """The votes that a critic's replies make, kept with what they say."""
    votes = [critic.vote(replies, len(trace.steps)) for replies in ballots]
    for number, vote in enumerate(votes):
        context.critiques.extend(critic.critiques(trace, vote, number))
    return votes


def _counted(trace: Trace, votes: Sequence[Vote]) -> Annotation:
    """The annotation that the votes alone make."""
    steps = tuple(_tally([vote.said[index] for vote in votes]) for index in range(len(trace.steps)))
    first_error, confidence = _most_named([vote.first_error for vote in votes])
    if first_error is None or _contradicted(first_error, [step.verdict for step in steps]):
        first_error = confidence = None
    return Annotation(
        trace_id=trace.trace_id,
        method="",
        first_error=first_error,
        confidence=confidence,
        steps=steps,
    )


def _weighed(annotation: Annotation, votes: Sequence[Vote], final: Vote) -> Annotation:
    """The annotation with the meta-critic's verdicts in the place of the majority's."""
    readable = [vote.first_error for vote in votes if vote.first_error is not None]
    agreeing = (
        readable.count(final.first_error) / len(readable)
        if readable and final.first_error is not None
        else None
    )
    steps = tuple(
        replace(step, verdict=said.verdict, rationale=said.words)
        for step, said in zip(annotation.steps, final.said, strict=True)
    )
    return replace(annotation, first_error=final.first_error, confidence=agreeing, steps=steps)


def _most_named(first_errors: Sequence[int | None]) -> tuple[int | None, float | None]:
    """(the first error that most readable votes name, its share); undecided on a tie or without a readable vote."""
    readable = Counter(error for error in first_errors if error is not None)
    ranked = readable.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None, None
    error, count = ranked[0]
    return error, count / readable.total()


def _contradicted(first_error: int, verdicts: Sequence[Verdict]) -> bool:
    """Whether the majority calls the first error right, or a step before it wrong."""
    before = verdicts if first_error == NO_ERROR else verdicts[:first_error]
    return Verdict.INCORRECT in before or (
        first_error != NO_ERROR and verdicts[first_error] is Verdict.CORRECT
    )


def _tally(votes: Sequence[Said]) -> StepAnnotation:
    """Majority of the votes on one step."""
    verdicts = [said.verdict for said in votes]
    right, wrong = verdicts.count(Verdict.CORRECT), verdicts.count(Verdict.INCORRECT)
    trials = right + wrong
    majority = (
        Verdict.CORRECT
        if right > wrong
        else Verdict.INCORRECT
        if wrong > right
        else Verdict.UNKNOWN
    )
    rationale = next((said.words for said in votes if said.verdict is majority), "")
    return StepAnnotation(
        verdict=majority,
        value=right / trials if trials else None,
        successes=right,
        trials=trials,
        unknowns=len(votes) - trials,
        rationale=rationale,
    )
