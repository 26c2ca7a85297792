"""The prefix tree of a problem: its solutions and rollouts, merged where their steps are equal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stepmark.records import Discovered, Rollout, Trace, Verdict
from storage.dataset.dataset import Dataset
from viewer.trace_records import TraceRecords, read_rollouts, read_siblings

__all__ = ["Branch", "Leaf", "branches", "read_leaves"]

# More branches are no picture.
MAX_BRANCHES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A solution of a problem, or a rollout together with its prefix."""

    steps: Sequence[str]
    outcome: Verdict
    trace_id: str = ""
    """The trace; "" for a rollout."""

    @classmethod
    def of_trace(cls, trace: Trace) -> "Leaf":
        """Return the leaf of a trace."""
        return cls(steps=trace.steps, outcome=trace.outcome, trace_id=trace.trace_id)

    @classmethod
    def of_rollout(cls, trace: Trace, rollout: Rollout) -> "Leaf":
        """Return the leaf of a rollout from a prefix of a trace."""
        continuation = rollout.steps
        # Earlier versions did not store the steps of rollouts.
        if continuation is None:
            continuation = (rollout.text,)
        steps = (*trace.steps[: rollout.prefix_steps], *continuation)
        return cls(steps=steps, outcome=rollout.outcome)


@dataclass(slots=True, kw_only=True)
class Branch:
    """Steps without a fork, which one or more solutions continue with."""

    depth: int
    """The number of forks before the branch."""
    steps: list[str] = field(default_factory=list)
    correct: int = 0
    """The number of solutions through the branch with a correct answer."""
    incorrect: int = 0
    unknown: int = 0
    trace_ids: list[str] = field(default_factory=list)
    """The traces that end with the branch."""

    @property
    def share(self) -> float | None:
        """The share of correct solutions; None if no outcome is known."""
        decided = self.correct + self.incorrect
        if not decided:
            return None
        return self.correct / decided


def read_leaves(dataset: Dataset, records: TraceRecords) -> Sequence[Leaf]:
    """Return the solutions and rollouts of the problem of a trace.

    Raises:
        DatasetError: A part is damaged, or was removed.
    """
    traces = dict[str, Trace]()
    for sibling in read_siblings(dataset, records):
        traces[sibling.trace.trace_id] = sibling.trace
    leaves = [Leaf.of_trace(trace) for trace in traces.values()]
    # A discovered trace is one of the rollouts, which must not count twice.
    counted = {trace.rollout_id for trace in traces.values() if isinstance(trace, Discovered)}
    for rollout in read_rollouts(dataset, records.shard, traces):
        if rollout.rollout_id not in counted:
            leaves.append(Leaf.of_rollout(traces[rollout.trace_id], rollout))
    return leaves


def branches(leaves: Iterable[Leaf]) -> tuple[Sequence[Branch], bool]:
    """Return the branches of the tree, each before those that it forks into.

    Returns:
        The branches, and whether some are left out, because there are too many.
    """
    # The groups that are still to be divided: their solutions, the first step that differs from
    # the parent's, and their depth. A stack instead of recursion, since solutions can be long.
    groups = [(list(leaves), 0, 0)]
    tree = list[Branch]()
    while groups and len(tree) < MAX_BRANCHES:
        solutions, start, depth = groups.pop()
        branch = Branch(depth=depth)
        end = start
        while _is_shared(solutions, end):
            branch.steps.append(solutions[0].steps[end])
            end += 1
        for leaf in solutions:
            _count(branch, leaf)
            if len(leaf.steps) == end and leaf.trace_id:
                branch.trace_ids.append(leaf.trace_id)
        # The solutions of a problem need not begin alike: the root is then no branch.
        if branch.steps or depth:
            tree.append(branch)
        by_step = dict[str, list[Leaf]]()
        for leaf in solutions:
            if len(leaf.steps) > end:
                by_step.setdefault(_key(leaf, end), []).append(leaf)
        for group in reversed(by_step.values()):
            groups.append((group, end, depth + 1))
    return tree, bool(groups)


def _is_shared(solutions: Sequence[Leaf], index: int) -> bool:
    """Check that all solutions have the same step at an index."""
    if not solutions or any(len(leaf.steps) <= index for leaf in solutions):
        return False
    return len({_key(leaf, index) for leaf in solutions}) == 1


def _key(leaf: Leaf, index: int) -> str:
    # Steps that differ only in white space at their ends are the same.
    return leaf.steps[index].strip()


def _count(branch: Branch, leaf: Leaf) -> None:
    if leaf.outcome is Verdict.CORRECT:
        branch.correct += 1
    elif leaf.outcome is Verdict.INCORRECT:
        branch.incorrect += 1
    else:
        branch.unknown += 1
