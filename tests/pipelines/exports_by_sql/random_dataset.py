"""A dataset of random rows that are hard to export, with all that formats read.

Problems have few different steps, so that their solutions share prefixes. Labels contradict each
other, leave steps, values and first errors undecided, or are not kept. Texts contain the marks of
formats, or are blank.
"""

from collections.abc import Sequence
from random import Random

from stepmark.records import (
    Annotation,
    Critique,
    Discovered,
    Label,
    Problem,
    Rollout,
    Sampling,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    annotations,
    critiques,
    discovered,
    rollouts,
)

__all__ = ["METHODS", "write_random_dataset"]

METHODS = ("judge", "monte_carlo")
SHARDS = 2
PROBLEMS_PER_SHARD = 12
TRACES_PER_PROBLEM = 5
MAX_STEPS = 4
SEARCH = "tree_search"
# Common steps first.
TEXTS = (
    "Step 1: 2 + 3 = 5.\n",
    "So there are 5.\n",
    "\tHence \u00a0",
    "Step 2: it is 7.\n\n",
    "The answer is 7.",
    "The answer is 7.\n",
    "<paragraph_0>\n",
    "See Step 1: above.\n",
    "ки 1\n",
    "<extra_0>\n",
    "a\n\n\n\n\nb",
    " \u2003\n",
)
QUESTIONS = (
    "How many?",
    "Step 1: count. How many?",
    "How many ки?\n",
    "How\n\n\n\n\nmany?",
    "<extra_0>?",
)
SAMPLING = Sampling(n=1, temperature=0.7, top_p=0.9, max_tokens=64, stop=("\n\n", '"'), seed=7)


def write_random_dataset(dataset: Dataset, seed: int) -> None:
    """Write all parts of a dataset.

    Args:
        dataset: An empty dataset.
        seed: The seed of all random choices.
    """
    rng = Random(seed)
    for shard in range(SHARDS):
        problems = [_problem(rng, f"p{shard}-{number}") for number in range(PROBLEMS_PER_SHARD)]
        traces = list[Trace]()
        for problem in problems:
            traces.extend(_trace(rng, problem, number) for number in range(TRACES_PER_PROBLEM))
        found = [_discovered(rng, trace) for trace in rng.sample(traces, len(traces) // 5)]
        everything = [*traces, *found]
        dataset.write_part(PROBLEMS, shard, problems, "f")
        dataset.write_part(TRACES, shard, traces, "f")
        dataset.write_part(discovered(SEARCH), shard, found, "f")
        dataset.write_part(LABELS, shard, [_label(rng, trace) for trace in everything], "f")
        for method in METHODS:
            rows = [_annotation(rng, trace, method) for trace in everything]
            dataset.write_part(annotations(method), shard, rows, "f")
        for method in ("monte_carlo", "prover"):
            samples = list[Rollout]()
            for trace in everything:
                samples.extend(_rollouts(rng, trace, method))
            dataset.write_part(rollouts(method), shard, samples, "f")
        replies = list[Critique]()
        for trace in everything:
            replies.extend(_critiques(rng, trace))
        dataset.write_part(critiques("judge"), shard, replies, "f")
    dataset.write_run_file('dataset = "x"\n')


def _problem(rng: Random, problem_id: str) -> Problem:
    return Problem(
        problem_id=problem_id,
        question=rng.choices(QUESTIONS, (12, 1, 1, 1, 1))[0],
        answer=rng.choice(["7", "7", "", None]),
        domain=rng.choice(["sums", "counts"]),
        source="random",
    )


def _steps(rng: Random, count: int) -> tuple[str, ...]:
    return tuple(rng.choices(TEXTS, (40, 40, 10, 10, 10, 10, 1, 1, 1, 1, 1, 1), k=count))


def _outcome(rng: Random) -> Verdict:
    return rng.choices(list(Verdict), (4, 4, 1))[0]


def _verdicts(rng: Random, count: int) -> tuple[Verdict, ...]:
    return tuple(rng.choices(list(Verdict), (8, 2, 1), k=count))


def _value(rng: Random) -> float | None:
    return rng.choice([0.0, 0.25, 1 / 3, 2 / 3, 1.0, None])


def _first_error(rng: Random, verdicts: Sequence[Verdict]) -> int | None:
    """Return the first incorrect step, and sometimes an index that contradicts the steps."""
    if rng.random() < 0.2:
        indices: list[int | None] = [None, *range(-1, len(verdicts))]
        return rng.choice(indices)
    if Verdict.INCORRECT in verdicts:
        return verdicts.index(Verdict.INCORRECT)
    return None if Verdict.UNKNOWN in verdicts else -1


def _trace(rng: Random, problem: Problem, number: int) -> Trace:
    return Trace(
        trace_id=f"{problem.problem_id}-t{number}",
        problem_id=problem.problem_id,
        steps=_steps(rng, rng.randint(0 if number == 0 else 1, MAX_STEPS)),
        final_answer=rng.choice(["7", None]),
        outcome=_outcome(rng),
        outcome_reason="random",
        model="a model",
        sampling=SAMPLING,
        finish_reason=rng.choices(["stop", "length"], (5, 1))[0],
        prompt_tokens=rng.randint(0, 9),
        generated_tokens=rng.randint(1, 99),
    )


def _discovered(rng: Random, parent: Trace) -> Discovered:
    """Return a trace that begins with steps of another one."""
    parent_steps = len(parent.steps) // 2
    return Discovered(
        trace_id=f"{parent.trace_id}-d",
        problem_id=parent.problem_id,
        steps=(*parent.steps[:parent_steps], *_steps(rng, 2)),
        final_answer=None,
        outcome=_outcome(rng),
        outcome_reason="random",
        model="a model",
        sampling=SAMPLING,
        generated_tokens=5,
        found_by=SEARCH,
        method=SEARCH,
        parent_trace_id=parent.trace_id,
        parent_steps=parent_steps,
        rollout_id=f"{parent.trace_id}-r",
    )


def _label(rng: Random, trace: Trace) -> Label:
    verdicts = _verdicts(rng, len(trace.steps))
    has_values = rng.random() < 0.9
    steps = list[StepLabel]()
    for verdict in verdicts:
        steps.append(StepLabel(label=verdict, value=_value(rng) if has_values else None))
    return Label(
        trace_id=trace.trace_id,
        first_error=_first_error(rng, verdicts),
        steps=tuple(steps),
        confidence=_value(rng),
        kept=rng.random() < 0.8,
        reason="random",
        sources=METHODS,
        fingerprint="f",
    )


def _annotation(rng: Random, trace: Trace, method: str) -> Annotation:
    verdicts = _verdicts(rng, len(trace.steps))
    steps = list[StepAnnotation]()
    for verdict in verdicts:
        trials = rng.choice([0, 4, 8, 8, 8])
        step = StepAnnotation(
            verdict=verdict,
            value=_value(rng),
            successes=rng.randint(0, trials),
            trials=trials,
            rationale=rng.choice(["", 'a "reason"\n']),
        )
        steps.append(step)
    return Annotation(
        trace_id=trace.trace_id,
        method=method,
        fingerprint="f",
        first_error=_first_error(rng, verdicts),
        confidence=_value(rng),
        steps=tuple(steps),
        error=rng.choices(["", "it broke"], (9, 1))[0] or None,
    )


def _rollouts(rng: Random, trace: Trace, method: str) -> list[Rollout]:
    samples = list[Rollout]()
    for number in range(rng.randint(0, 4) if trace.steps else 0):
        steps = _steps(rng, rng.randint(1, 3))
        rollout = Rollout(
            method=method,
            rollout_id=f"{trace.trace_id}-{method}-{number}",
            trace_id=trace.trace_id,
            prefix_steps=rng.randint(0, len(trace.steps)),
            text="".join(steps),
            steps=steps if rng.random() < 0.9 else None,
            final_answer=None,
            outcome=_outcome(rng),
            outcome_reason="random",
            seed=number,
            finish_reason=rng.choices(["stop", "length"], (5, 1))[0],
            prompt_tokens=1,
            cached_tokens=0,
            generated_tokens=1,
        )
        samples.append(rollout)
    return samples


def _critiques(rng: Random, trace: Trace) -> list[Critique]:
    """Return replies to two requests about all steps, and to one about a step."""
    replies = list[Critique]()
    for vote in range(8):
        step: int | None = None
        verdicts = _verdicts(rng, len(trace.steps))
        if vote >= 6 and trace.steps:
            step = len(trace.steps) - 1
            verdicts = verdicts[:1]
        critique = Critique(
            method="judge",
            trace_id=trace.trace_id,
            prompt=f"prompt{vote % 2}",
            system="You judge." if vote % 2 else "",
            request=f"Request {vote % 2} {step}" if rng.random() < 0.9 else None,
            model="a judge",
            vote=vote,
            step=step,
            text=f"reply {vote}",
            verdicts=verdicts,
            first_error=_first_error(rng, verdicts),
            finish_reason=rng.choices(["stop", "length"], (9, 1))[0],
            prompt_tokens=1,
            cached_tokens=0,
            generated_tokens=1,
        )
        replies.append(critique)
    return replies
