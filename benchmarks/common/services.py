"""Services for annotators that run outside a run."""

from collections.abc import Awaitable, Callable
from functools import partial

from annotators.context import Grade, RunServices
from engines.base import Engine, Prompt
from stepmark.records import Sampling
from stepmark.steps import split
from verifiers.base import Claim, Finding

__all__ = ["standalone_services"]


async def _reject_grading(text: str, finish_reason: str, reference: str | None) -> Grade:
    raise AssertionError("this benchmark grades no rollouts")


async def _reject_verification(verifier: str, claim: Claim) -> Finding:
    raise AssertionError("this benchmark uses no verifiers")


def standalone_services(
    *,
    seed: int,
    engine: Engine | None = None,
    grade: Callable[[str, str, str | None], Awaitable[Grade]] = _reject_grading,
    verify: Callable[[str, Claim], Awaitable[Finding]] = _reject_verification,
) -> RunServices:
    """Return services whose prompt is the question of the problem.

    What is not given raises an error when an annotator uses it.
    """
    return RunServices(
        seed=seed,
        engine=engine,
        judges=(),
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(),
        split=partial(split, how="line"),
        grade=grade,
        verify=verify,
    )
