"""Measure what early stopping saves, by replaying the rollouts that a run has stored.

`README.md` describes the benchmark and its results.
"""

import argparse
import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from annotators.base import Annotator
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, Grade, ProblemGroup
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from annotators.running import run
from benchmarks.common.console import print_json
from benchmarks.common.records import annotations_by_trace, problems_by_id
from benchmarks.common.services import standalone_services
from engines.base import Completion, Prompt, Scored
from stepmark.errors import EngineError
from stepmark.records import Annotation, Problem, Rollout, Sampling, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, rollouts

__all__ = ["main"]

# Short completions arrive before long ones, as from a real engine.
SECONDS_PER_TOKEN = 0.001
METHODS: Mapping[str, Annotator] = {
    "monte_carlo": MonteCarlo(stop_early=True),
    "binary_search": BinarySearch(stop_early=True),
}
# Differences to the stored first error. Monte Carlo infers from a correct rollout of a later step
# that earlier steps are correct, even if all rollouts after them were wrong.
SAME = "same"
LATER = "later, by implication"
ALLOWED_DIFFERENCES = {"monte_carlo": {SAME, LATER}, "binary_search": {SAME}}


class ReplayEngine:
    """The engine of one trace, which returns the stored rollouts after a prefix in their order."""

    model_name = identity = "replay"

    def __init__(self, trace: Trace, stored: Sequence[Rollout]) -> None:
        self.aborted_tokens = 0
        """The tokens of the rollouts whose requests were cancelled."""
        self._remaining = defaultdict[str, list[Rollout]](list)
        self._grades: dict[str, Grade] = {}
        # The order of the seeds is that in which the run requested them.
        for rollout in sorted(stored, key=lambda rollout: rollout.seed):
            prefix = "".join(trace.steps[: rollout.prefix_steps])
            self._remaining[prefix].append(rollout)
            self._grades[prefix + rollout.text] = Grade(
                final_answer=rollout.final_answer,
                outcome=rollout.outcome,
                reason=rollout.outcome_reason,
            )

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the next `n` rollouts after the prefix."""
        remaining = self._remaining[prompt.prefix]
        replayed = remaining[: sampling.n]
        del remaining[: sampling.n]
        assert len(replayed) == sampling.n, "early stopping requests no more rollouts than the run"
        longest = max(rollout.generated_tokens for rollout in replayed)
        try:
            await asyncio.sleep(SECONDS_PER_TOKEN * longest)
        except asyncio.CancelledError:
            self.aborted_tokens += sum(rollout.generated_tokens for rollout in replayed)
            raise
        return [_completion(rollout) for rollout in replayed]

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Raise `EngineError`: this engine cannot score."""
        raise EngineError("this engine only completes", retryable=False)

    async def close(self) -> None:
        """Do nothing: there are no resources to release."""

    async def grade(self, text: str, finish_reason: str, reference: str | None) -> Grade:
        """Return the stored grade."""
        return self._grades[text]


def _completion(rollout: Rollout) -> Completion:
    return Completion(
        text=rollout.text,
        finish_reason=rollout.finish_reason,
        prompt_tokens=rollout.prompt_tokens,
        cached_tokens=rollout.cached_tokens,
        generated_tokens=rollout.generated_tokens,
    )


async def measure(dataset: Dataset, method: str) -> dict[str, Any]:
    """Annotate every trace again with early stopping, and compare with the stored annotations."""
    problems = problems_by_id(dataset)
    groups = defaultdict[str, ProblemGroup](lambda: ProblemGroup(traces={}))
    for trace in dataset.read(TRACES):
        groups[trace.problem_id].traces[trace.trace_id] = trace
    stored = list(dataset.read(rollouts(method)))
    by_trace = defaultdict[str, list[Rollout]](list)
    for rollout in stored:
        by_trace[rollout.trace_id].append(rollout)
    engines = list[ReplayEngine]()
    tasks = []
    for problem_id, group in groups.items():
        for trace in group.traces.values():
            engine = ReplayEngine(trace, by_trace[trace.trace_id])
            engines.append(engine)
            tasks.append(_annotate(method, engine, problems[problem_id], trace, group))
    early_annotations = await gather_or_cancel(tasks)
    stored_annotations = annotations_by_trace(dataset, method)
    differences = Counter[str]()
    totals = Counter[str]()
    for early in early_annotations:
        differences[_difference(stored_annotations[early.trace_id], early)] += 1
        totals["generated_tokens"] += early.cost.generated_tokens
        totals["rollouts"] += early.cost.rollouts
        totals["aborted"] += early.cost.aborted
    return {
        "method": method,
        "traces": len(early_annotations),
        "generated_tokens": sum(rollout.generated_tokens for rollout in stored),
        "stopping_early": totals["generated_tokens"],
        "of_aborted_at_most": sum(engine.aborted_tokens for engine in engines),
        "rollouts": len(stored),
        "rollouts_stopping_early": totals["rollouts"],
        "aborted": totals["aborted"],
        "first_errors": dict(differences),
    }


async def _annotate(
    method: str, engine: ReplayEngine, problem: Problem, trace: Trace, group: ProblemGroup
) -> Annotation:
    services = standalone_services(seed=0, engine=engine, grade=engine.grade)
    context = AnnotationContext(services, method, problem, trace, group)
    return await run(METHODS[method], method, "", problem, trace, context)


def _difference(stored: Annotation, early: Annotation) -> str:
    if early.error:
        return early.error
    if stored.first_error == early.first_error:
        return SAME
    return LATER


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__)
    parser.add_argument(
        "--dataset",
        required=True,
        help="a run with monte_carlo and binary_search, rollouts = 8, without stop_early",
    )
    return parser.parse_args()


def main() -> None:
    """Replay and print JSON; the exit status is 1 if a first error differs unexpectedly."""
    dataset = Dataset(_options().dataset)
    dataset.require()
    results = list[Mapping[str, Any]]()
    for method in METHODS:
        results.append(asyncio.run(measure(dataset, method)))
    print_json(results)
    for result in results:
        if result["first_errors"].keys() - ALLOWED_DIFFERENCES[result["method"]]:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
