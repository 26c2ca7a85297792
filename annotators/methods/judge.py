"""LLM judges: a model gives a verdict on every step several times, and its votes are counted."""

from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, ClassVar

from annotators.base import CostBound, SampleCount
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.failures import abstention
from annotators.judging.critic import Critic, Vote, read_critic, read_meta_critic
from annotators.judging.reply_parser import StepVerdict
from engines.base import Completion, Prompt
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Problem, Sampling, StepAnnotation, Trace, Verdict

__all__ = ["Judge"]

# Requests for votes are numbered from 0, so this number is never one of theirs.
META_SEED = -1


@dataclass(frozen=True, kw_only=True)
class Judge:
    """`votes` independent verdicts from each prompt (LLM-as-a-judge).

    The method is described in arXiv 2501.07301, section 3.1. `prompt` is the name of a file in
    `annotators/prompts`, the path of a custom file, or a list of these. A list is an ensemble
    (AURORA, arXiv 2502.11520) in which every readable vote counts the same. The placeholders of a
    prompt determine its requests:

    - {question}; {steps}, as written, with one line break at the end; {numbered}, with a line
      "Step k: ..." per step, whose further lines are indented.
    - {boundary}: a mark for the delimiters of these texts, which none of them can contain.
    - {number}: each step is judged in a separate request that shows the steps before it. All T
      requests of a trace run concurrently and cost votes * T completions. They do not stop at an
      incorrect step, because the dissenting votes would then be incomplete and the confidence of
      the others too high.
    - {answer}: the reference answer. The prompt is skipped for problems without one. The prompt
      `reverse` checks a solution backwards from it (AURORA).
    - {schema}: the JSON schema of a reply, which engines with structured output enforce.

    A reply may contain JSON of this schema, anywhere after the model's reasoning, or for each step
    a line that begins with "Step k" and states "correct" or "incorrect" at its end, without
    negation or doubt. A step without either is UNKNOWN in that vote. So is every step of a
    truncated reply, of a reply about steps that do not exist, and of one whose last words
    contradict or withdraw its verdicts. A line or a JSON object that the reply copies from the
    solution is no verdict of the judge.

    The first error is the one that most votes name. Its share of the readable votes is the
    confidence; a tie is undecided. The verdict on a step is the majority of the votes on it, with
    the rationale of the first vote of that majority. These two counts can contradict each other,
    because votes for different first errors may agree on a step. If the majority calls the first
    error correct or an earlier step incorrect, the first error is undecided.

    `meta` names a prompt that shows the {critiques} of all votes except truncated ones and gives
    the final verdicts in one more reply (SPARK, arXiv 2512.03244: self-consistency followed by a
    meta-critique). The value, successes and trials of a step still count the votes, and the
    confidence is the share of readable votes that name the first error of the meta-critic.

    With several judges, every prompt is sent to each of them: an ensemble of models, in which every
    readable vote counts the same too. Only the first judge gets the prompt of the meta-critic.

    Every reply is stored as a `Critique`, including the unreadable ones.
    """

    votes: SampleCount = 4
    """Replies per prompt and model."""
    temperature: float = 1.0
    """Sampling temperature of the replies."""
    max_tokens: int = 1024
    """Longest reply. A truncated reply is unknown for all steps."""
    prompt: str | tuple[str, ...] = "judge"
    """Prompt file by name or path, or a list of them (an ensemble)."""
    meta: str = ""
    """Prompt that reads all critiques and gives the final verdicts; empty for none."""
    # The fingerprint covers these two fields, and with them the text of the prompts.
    critics: tuple[Critic, ...] = field(init=False, repr=False)
    meta_critic: Critic | None = field(init=False, repr=False)

    version: ClassVar[int] = 6
    needs: ClassVar[frozenset[str]] = frozenset({"judge_engines"})

    def __post_init__(self) -> None:
        names = (self.prompt,) if isinstance(self.prompt, str) else self.prompt
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                "judge: prompt is empty or lists a prompt twice; raise `votes` to ask it more often"
            )
        critics = tuple(read_critic(name) for name in names)
        meta_critic = read_meta_critic(self.meta) if self.meta else None
        # The dataclass is frozen, and these fields are derived from the others.
        object.__setattr__(self, "critics", critics)
        object.__setattr__(self, "meta_critic", meta_critic)

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return `votes` replies to every prompt from every judge, and one of the meta-critic."""
        replies = 0
        for critic in self.critics:
            for count in steps:
                # A prompt with {number} is sent for each step.
                replies += count if critic.uses("number") else 1
        replies *= self.votes * judges
        if self.meta_critic is not None:
            replies += len(steps)
        return CostBound(replies=replies, reply_tokens=replies * self.max_tokens)

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Count the votes of all critics, then let the meta-critic decide if there is one."""
        # Checked before any request, because votes without a final verdict would be wasted.
        meta_skip_reason = ""
        if self.meta_critic is not None:
            meta_skip_reason = self.meta_critic.skip_reason(problem, trace)
        if meta_skip_reason:
            return abstention(trace, meta_skip_reason)
        critics = list[Critic]()
        skip_reasons = list[str]()
        for critic in self.critics:
            reason = critic.skip_reason(problem, trace)
            if reason:
                skip_reasons.append(reason)
            else:
                critics.append(critic)
        if not critics:
            return abstention(trace, skip_reasons[0])
        votes = await self._collect_votes(critics, problem, trace, context)
        annotation = _majority_annotation(trace, votes)
        if self.meta_critic is None:
            return annotation
        meta_vote = await self._ask_meta_critic(self.meta_critic, votes, problem, trace, context)
        return _with_meta_verdicts(annotation, votes, meta_vote)

    async def _collect_votes(
        self, critics: Sequence[Critic], problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Sequence[Vote]:
        """Ask all critics of all judges concurrently, store the replies and return the votes."""
        prompts_by_critic = [critic.prompts(problem, trace) for critic in critics]
        requests = list[Coroutine[Any, Any, Sequence[Completion]]]()
        for judge in range(len(context.judge_models)):
            for prompt in chain.from_iterable(prompts_by_critic):
                # The seed is the number of the request, so that no two requests of a trace share
                # one, even if two judges are the same model.
                requests.append(self._ask(context, prompt, self.votes, len(requests), judge))
        remaining_replies = iter(await gather_or_cancel(requests))
        votes = list[Vote]()
        for judge in range(len(context.judge_models)):
            for critic, critic_prompts in zip(critics, prompts_by_critic, strict=True):
                # One sequence of `votes` replies per prompt. Reply i to every prompt forms vote i.
                replies_by_prompt = list(islice(remaining_replies, len(critic_prompts)))
                # The votes of a prompt are numbered across all judges.
                first_vote = judge * self.votes
                for number, replies in enumerate(zip(*replies_by_prompt, strict=True), first_vote):
                    vote = critic.vote(critic_prompts, replies, trace.steps)
                    _store_vote(critic, vote, number, judge, trace, context)
                    votes.append(vote)
        return votes

    async def _ask_meta_critic(
        self,
        critic: Critic,
        votes: Sequence[Vote],
        problem: Problem,
        trace: Trace,
        context: AnnotationContext,
    ) -> Vote:
        """Return the meta-critic's vote; an unknown one, without a request, if no vote has text."""
        reviews = list[str]()
        for vote in votes:
            text = vote.text.strip()
            if text:
                reviews.append(f"Review {len(reviews) + 1}:\n{text}")
        if not reviews:
            unknown = (StepVerdict(),) * len(trace.steps)
            return Vote(step_verdicts=unknown, replies=(), prompts=())
        prompts = critic.prompts(problem, trace, "\n\n".join(reviews))
        (prompt,) = prompts
        replies = await self._ask(context, prompt, 1, META_SEED, 0)
        vote = critic.vote(prompts, replies, trace.steps)
        _store_vote(critic, vote, 0, 0, trace, context)
        return vote

    async def _ask(
        self, context: AnnotationContext, prompt: Prompt, votes: int, seed: int, judge: int
    ) -> Sequence[Completion]:
        sampling = Sampling(
            n=votes, temperature=self.temperature, max_tokens=self.max_tokens, seed=seed
        )
        return await context.ask(prompt, sampling, judge)


def _store_vote(
    critic: Critic, vote: Vote, number: int, judge: int, trace: Trace, context: AnnotationContext
) -> None:
    """Add the critiques of a vote, which one of the judges wrote, to the context."""
    model = context.judge_models[judge]
    critiques = critic.critiques(trace, vote, number)
    context.add_critiques([replace(critique, model=model) for critique in critiques])


def _majority_annotation(trace: Trace, votes: Sequence[Vote]) -> Annotation:
    """Return the annotation that results from counting the votes."""
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        steps.append(_count_step_votes([vote.step_verdicts[index] for vote in votes]))
    first_error, confidence = _most_frequent_first_error(votes)
    if first_error is not None and _is_contradicted(first_error, steps):
        first_error = None
        confidence = None
    return Annotation(
        trace_id=trace.trace_id,
        method="",
        first_error=first_error,
        confidence=confidence,
        steps=tuple(steps),
    )


def _with_meta_verdicts(
    annotation: Annotation, votes: Sequence[Vote], meta_vote: Vote
) -> Annotation:
    """Return the annotation with the verdicts of the meta-critic instead of the majority's."""
    readable = [vote.first_error for vote in votes if vote.first_error is not None]
    confidence: float | None = None
    if readable and meta_vote.first_error is not None:
        confidence = readable.count(meta_vote.first_error) / len(readable)
    steps = list[StepAnnotation]()
    for step, final in zip(annotation.steps, meta_vote.step_verdicts, strict=True):
        steps.append(replace(step, verdict=final.verdict, rationale=final.rationale))
    return replace(
        annotation, first_error=meta_vote.first_error, confidence=confidence, steps=tuple(steps)
    )


def _most_frequent_first_error(votes: Sequence[Vote]) -> tuple[int | None, float | None]:
    """Return the first error that most readable votes name, and its share of these votes.

    Both are None when no vote is readable or two first errors tie.
    """
    counts = Counter(vote.first_error for vote in votes if vote.first_error is not None)
    ranked = counts.most_common(2)  # the second one reveals a tie
    if not ranked:
        return None, None
    first_error, count = ranked[0]
    if len(ranked) == 2 and ranked[1][1] == count:
        return None, None
    return first_error, count / counts.total()


def _is_contradicted(first_error: int, steps: Sequence[StepAnnotation]) -> bool:
    """Return whether the majority calls the first error correct or an earlier step incorrect."""
    earlier_steps = steps
    if first_error != NO_ERROR:
        if steps[first_error].verdict is Verdict.CORRECT:
            return True
        earlier_steps = steps[:first_error]
    return any(step.verdict is Verdict.INCORRECT for step in earlier_steps)


def _count_step_votes(votes: Sequence[StepVerdict]) -> StepAnnotation:
    """Return the majority of the votes on one step; UNKNOWN on a tie."""
    verdicts = [vote.verdict for vote in votes]
    correct = verdicts.count(Verdict.CORRECT)
    incorrect = verdicts.count(Verdict.INCORRECT)
    decided = correct + incorrect
    if correct > incorrect:
        majority = Verdict.CORRECT
    elif incorrect > correct:
        majority = Verdict.INCORRECT
    else:
        majority = Verdict.UNKNOWN
    rationale = ""
    for vote in votes:
        if vote.verdict is majority:
            rationale = vote.rationale
            break
    return StepAnnotation(
        verdict=majority,
        value=correct / decided if decided else None,
        successes=correct,
        trials=decided,
        unknowns=len(votes) - decided,
        rationale=rationale,
    )
