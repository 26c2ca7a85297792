"""Step scores that need no labels: log-probabilities, the model's own checks, and random ones."""

import random
from collections.abc import Mapping, Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from annotators.concurrency import gather_or_cancel
from annotators.judging.reply_parser import read_verdicts
from benchmarks.training.heads import TEMPLATE
from benchmarks.training.pool import CHECK_TOKENS, Pool
from engines.base import Engine, Prompt
from engines.pocket import SHIPPED
from examples import prm_head
from stepmark.records import Sampling, Trace, Verdict

__all__ = ["CHECK_THRESHOLD", "check_traces", "log_probability_scores", "random_scores"]

VERDICT_SCORES: Mapping[Verdict, float] = {
    Verdict.CORRECT: 1.0,
    Verdict.UNKNOWN: 0.5,
    Verdict.INCORRECT: 0.0,
}
CHECK_THRESHOLD = 0.25
"""A step is wrong if the check says so, and not if its verdict cannot be read."""
CHECK_PROMPT = "Problem: {question}\nSolution:\n{steps}Check:\n"


def random_scores(traces: Sequence[Trace]) -> Sequence[Sequence[float]]:
    """Return a random score of each step."""
    rng = random.Random(0)
    return [[rng.random() for _ in trace.steps] for trace in traces]


@torch.inference_mode()
def log_probability_scores(pool: Pool, traces: Sequence[Trace]) -> Sequence[Sequence[float]]:
    """Return the lowest log-probability of a token of each step under the model that wrote it.

    The line break after a step is no part of it: after the last step, the model ends the text.
    """
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    model.eval()
    scores = list[Sequence[float]]()
    for trace in traces:
        question = pool.problems[trace.problem_id].question
        solution = prm_head.Solution(question, trace.steps, ())
        tokens = prm_head.tokenize(solution, tokenizer, TEMPLATE)
        # The last features are the lowest and the mean log-probability.
        scores.append(prm_head.step_features(model, [tokens])[:, -2].tolist())
    return scores


async def check_traces(
    engine: Engine, pool: Pool, traces: Sequence[Trace]
) -> Sequence[Sequence[float]]:
    """Return the verdict on each step in a greedy check of each trace; see `VERDICT_SCORES`."""
    sampling = Sampling(n=1, temperature=0.0, max_tokens=CHECK_TOKENS)

    async def check(trace: Trace) -> Sequence[float]:
        # As the judge's prompt: exactly one line break after the solution.
        steps = "".join(trace.steps).rstrip("\n") + "\n"
        question = pool.problems[trace.problem_id].question
        prompt = Prompt(user=CHECK_PROMPT.format(question=question, steps=steps))
        (completion,) = await engine.complete(prompt, sampling)
        readings = read_verdicts(completion.text, len(trace.steps))
        return [VERDICT_SCORES[reading.verdict] for reading in readings]

    return await gather_or_cancel(check(trace) for trace in traces)
