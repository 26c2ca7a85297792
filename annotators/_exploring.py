"""What an explorer is: a method that works on a whole problem, and discovers traces on its way.

Like an annotator it is ordinary async code, for ONE problem: all problems of a shard are in flight at once. What it discovers is a trace of
the dataset as others are, but no other method of the run is asked about it: they work on what the run itself has sampled.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, runtime_checkable

from annotators.base import Annotator, Services, Tools, checked, failed, one_of, passes, undecided
from stepmark.identity import digest
from stepmark.records import Annotation, Discovered, Problem, Rollout, Trace

__all__ = ["Explorer", "Method", "ProblemTools", "explore"]

Split = Callable[[str], tuple[str, ...]]
"""How the run cuts a solution into steps."""


class ProblemTools:
    """What an explorer may use on one problem. The rollouts of a trace, whoever wrote it, are on that trace's bill."""

    def __init__(self, services: Services, split: Split, method: str, own: Sequence[Tools]) -> None:
        self.own = tuple(own)
        """The tools of the run's traces of the problem, one or more."""
        self.found: list[Discovered] = []
        """The traces discovered so far."""
        self._services = services
        self._split = split
        self._method = method
        self._tools = {tools.trace.trace_id: tools for tools in own}

    @property
    def all_tools(self) -> Sequence[Tools]:
        """The tools of the run's traces, then of those that were discovered, with what was spent on each."""
        return list(self._tools.values())

    async def rollouts(self, trace: Trace, prefix_steps: int, count: int) -> Sequence[Rollout]:
        """As `Tools.rollouts`, from a trace of the problem or one discovered."""
        return await self._tools[trace.trace_id].rollouts(prefix_steps, count)

    def steps(self, trace: Trace, rollout: Rollout) -> tuple[str, ...]:
        """The solution that a rollout from a trace completes, as steps.

        Only the rollout's own text is cut: cut anew as a whole, a step of the prefix could come out as another one than was continued.
        """
        return trace.steps[: rollout.prefix_steps] + self._split(rollout.text)

    def drawn_alike(self, trace: Trace) -> bool:
        """Whether the trace is itself a sample of what rollouts are samples of: of the same model at the same temperature, not imported."""
        engine, sampling = self._services.engine, self._services.rollout_sampling
        if engine is None or trace.sampling is None or trace.model != engine.model_name:
            return False
        return replace(trace.sampling, n=1, seed=0) == replace(sampling, n=1, seed=0)

    def discover(self, trace: Trace, rollout: Rollout) -> Discovered:
        """Make the solution that a rollout from a trace completes a trace of its own."""
        engine = self._services.engine
        assert engine is not None, "it wrote the rollout"
        found = Discovered(
            trace_id=digest("trace", rollout.rollout_id),
            problem_id=trace.problem_id,
            steps=self.steps(trace, rollout),
            final_answer=rollout.final_answer,
            outcome=rollout.outcome,
            outcome_reason=rollout.outcome_reason,
            model=engine.model_name,
            sampling=replace(self._services.rollout_sampling, n=1, seed=rollout.seed),
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            cached_tokens=rollout.cached_tokens,
            generated_tokens=rollout.generated_tokens,
            found_by=self._method,
            parent_trace_id=trace.trace_id,
            parent_steps=rollout.prefix_steps,
            rollout_id=rollout.rollout_id,
        )
        self.found.append(found)
        problem, family = self.own[0].problem, self.own[0].family
        self._tools[found.trace_id] = Tools(self._services, self._method, problem, found, family)
        return found


@runtime_checkable
class Explorer(Protocol):
    """A step-labelling method that works problem by problem."""

    needs: ClassVar[frozenset[str]]
    """As `Annotator`."""

    async def explore(self, problem: Problem, traces: Sequence[Trace], tools: ProblemTools) -> Sequence[Annotation]:
        """An annotation for each of the problem's traces (all have steps), and for each that `tools` discovered meanwhile, in any order."""
        ...


Method = Annotator | Explorer
"""Whatever annotates, trace by trace or problem by problem."""


async def explore(explorer: Explorer, method: str, fingerprint: str, tools: ProblemTools) -> Sequence[Annotation]:
    """Have a method explore one problem: an annotation for each of the run's traces, then for each that was discovered.

    As with `annotators.base.run`, what goes wrong is the `error` of them all, and what is no trace's fault passes through. The seconds,
    which the traces had in common, are shared out among them.
    """
    started = time.perf_counter()
    try:
        said = await _explored(explorer, tools)
    except Exception as error:  # as in `annotators.base.run`
        if passes(error):
            raise
        said = [failed(each.trace, error) for each in tools.all_tools]
    seconds = (time.perf_counter() - started) / len(said)
    costs = (replace(each.cost, seconds=seconds) for each in tools.all_tools)
    return [replace(each, method=method, fingerprint=fingerprint, cost=cost) for each, cost in zip(said, costs, strict=True)]


async def _explored(explorer: Explorer, tools: ProblemTools) -> Sequence[Annotation]:
    own = [each.trace for each in tools.own]
    said = {trace.trace_id: undecided(trace, "no steps") for trace in own if not trace.steps}
    if whole := [trace for trace in own if trace.steps]:
        told = await one_of(explorer.explore(tools.own[0].problem, whole, tools))
        said |= {annotation.trace_id: annotation for annotation in told}
    every = [*own, *tools.found]
    if said.keys() != {trace.trace_id for trace in every}:
        raise ValueError(f"{len(said)} annotations for {len(every)} traces")
    return [checked(trace, said[trace.trace_id]) for trace in every]
