"""Run the contract tests of a plugin."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.contracts import (
    annotators,
    engines,
    every_kind,
    filters,
    formats,
    labelers,
    problems,
    shapes,
    values,
    verifiers,
)
from pipelines.contracts.base import Check, ContractError, Subject
from stepmark.errors import UserError

__all__ = ["CONTRACTS", "Result", "results"]

CONTRACTS: Mapping[str, Sequence[Check]] = {
    "problems": problems.CHECKS,
    "problems.shapes": shapes.CHECKS,
    "engines": engines.CHECKS,
    "verifiers": verifiers.CHECKS,
    "annotators": annotators.CHECKS,
    "labelers": labelers.CHECKS,
    "filters": filters.CHECKS,
    "storage.formats": formats.CHECKS,
    "storage.values": values.CHECKS,
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one check."""

    what: str
    failure: str
    """How the plugin breaks the contract; "" if it does not."""


def results(subject: Subject) -> Iterator[Result]:
    """Run the checks of every plugin, and if they hold those of its kind.

    Raises:
        UserError: The plugin cannot be loaded.
    """
    subject.load()
    has_failed = False
    for check in every_kind.CHECKS:
        result = _run(check, subject)
        has_failed = has_failed or bool(result.failure)
        yield result
    if has_failed:
        return
    for check in CONTRACTS[subject.kind]:
        yield _run(check, subject)


def _run(check: Check, subject: Subject) -> Result:
    try:
        check.run(subject)
    except (ContractError, UserError) as error:
        return Result(what=check.what, failure=str(error))
    except Exception as error:  # noqa: BLE001  # a plugin may raise anything
        *_, frame = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return Result(what=check.what, failure=f"{type(error).__name__}: {error} ({place})")
    return Result(what=check.what, failure="")
