"""What stopping early spares, told by rollouts that a run has stored: `python -m benchmarks.stopping --dataset DIR` (see `README.md`)."""

import argparse
import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from annotators.base import Annotator
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, Grade, ProblemGroup, RunServices
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from annotators.running import run
from engines.base import Completion, Prompt, Scored
from stepmark.errors import EngineError
from stepmark.records import Annotation, Problem, Rollout, Sampling, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES, annotations, rollouts
from verifiers.base import Claim, Finding

__all__ = ["main"]

SECONDS_PER_TOKEN = 0.001
"""So that short completions come back before long ones, as from a real engine."""
METHODS: Mapping[str, Annotator] = {
    "monte_carlo": MonteCarlo(stop_early=True),
    "binary_search": BinarySearch(stop_early=True),
}


class Replay:
    """An engine for one trace that gives the stored rollouts of a prefix, in their order, to whoever goes on from it."""

    model_name = identity = "replay"

    def __init__(self, trace: Trace, stored: Sequence[Rollout]) -> None:
        self.aborted_tokens = 0
        """What the cancelled requests would have come to."""
        self._left = defaultdict[str, list[Rollout]](list)
        self._graded: dict[str, Grade] = {}
        for rollout in sorted(stored, key=lambda one: one.seed):
            prefix = "".join(trace.steps[: rollout.prefix_steps])
            self._left[prefix].append(rollout)
            self._graded[prefix + rollout.text] = Grade(
                final_answer=rollout.final_answer,
                outcome=rollout.outcome,
                reason=rollout.outcome_reason,
            )

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """The next `n` of the prefix."""
        left = self._left[prompt.prefix]
        taken, left[:] = left[: sampling.n], left[sampling.n :]
        assert len(taken) == sampling.n, (
            "early stopping asks for no more than was bought without it"
        )
        try:
            await asyncio.sleep(SECONDS_PER_TOKEN * max(one.generated_tokens for one in taken))
        except asyncio.CancelledError:
            self.aborted_tokens += sum(one.generated_tokens for one in taken)
            raise
        return [
            Completion(
                text=one.text,
                finish_reason=one.finish_reason,
                prompt_tokens=one.prompt_tokens,
                cached_tokens=one.cached_tokens,
                generated_tokens=one.generated_tokens,
            )
            for one in taken
        ]

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Not asked for here."""
        raise EngineError("this engine only completes", retryable=False)

    async def close(self) -> None:
        """Nothing to give back."""

    async def grade(self, text: str, finish_reason: str, reference: str | None) -> Grade:
        """As it was graded."""
        return self._graded[text]


async def measure(dataset: Dataset, method: str) -> dict[str, Any]:
    """Every trace annotated again from what is stored, stopping early."""
    problems = {problem.problem_id: problem for problem in dataset.read(PROBLEMS)}
    families = defaultdict[str, ProblemGroup](lambda: ProblemGroup(traces={}))
    for trace in dataset.read(TRACES):
        families[trace.problem_id].traces[trace.trace_id] = trace
    stored = defaultdict[str, list[Rollout]](list)
    for rollout in dataset.read(rollouts(method)):
        stored[rollout.trace_id].append(rollout)
    said = {annotation.trace_id: annotation for annotation in dataset.read(annotations(method))}
    engines = {
        trace.trace_id: Replay(trace, stored[trace.trace_id])
        for family in families.values()
        for trace in family.traces.values()
    }
    done = await gather_or_cancel(
        _annotated(method, engines[trace.trace_id], problems[problem_id], trace, family)
        for problem_id, family in families.items()
        for trace in family.traces.values()
    )
    return {
        "method": method,
        "traces": len(done),
        "generated_tokens": sum(one.generated_tokens for each in stored.values() for one in each),
        "stopping_early": sum(each.cost.generated_tokens for each in done),
        "of_aborted_at_most": sum(engine.aborted_tokens for engine in engines.values()),
        "rollouts": sum(map(len, stored.values())),
        "rollouts_stopping_early": sum(each.cost.rollouts for each in done),
        "aborted": sum(each.cost.aborted for each in done),
        "first_errors": dict(Counter(_compared(said[each.trace_id], each) for each in done)),
    }


async def _annotated(
    method: str, engine: Replay, problem: Problem, trace: Trace, family: ProblemGroup
) -> Annotation:
    services = RunServices(
        seed=0,
        engine=engine,
        judge_engine=None,
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(),
        grade=engine.grade,
        verify=_no_checker,
    )
    return await run(
        METHODS[method],
        method,
        "",
        problem,
        trace,
        AnnotationContext(services, method, problem, trace, family),
    )


async def _no_checker(verifier: str, claim: Claim) -> Finding:
    raise AssertionError("neither method asks one")


def _compared(whole: Annotation, early: Annotation) -> str:
    if early.error:
        return early.error
    return "same" if whole.first_error == early.first_error else "later, by implication"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__)
    parser.add_argument(
        "--dataset",
        required=True,
        help="of a run with monte_carlo and binary_search, rollouts = 8, without stop_early",
    )
    return parser.parse_args()


def main() -> None:
    """Replay and print JSON; exit status 1 where a first error differs and no implication explains it."""
    dataset = Dataset(_options().dataset)
    dataset.require()
    told = [asyncio.run(measure(dataset, method)) for method in METHODS]
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    allowed = {"monte_carlo": {"same", "later, by implication"}, "binary_search": {"same"}}
    raise SystemExit(any(one["first_errors"].keys() - allowed[one["method"]] for one in told))


if __name__ == "__main__":
    main()
