"""The samples of a failed or cancelled request that were answered all the same."""

from collections.abc import Mapping
from typing import Any

__all__ = ["answered_samples", "keep_answered"]


def answered_samples(error: BaseException) -> Mapping[int, Any]:
    """Return the samples of a failed or cancelled request that were answered, by their index."""
    samples: Mapping[int, Any] = vars(error).get("completions", {})
    return samples


def keep_answered(error: BaseException, samples: Mapping[int, Any]) -> None:
    """Let an error carry the samples of its request that were answered all the same.

    A `CancelledError` carries them, too: another class would not pass through `asyncio.timeout`.
    """
    vars(error)["completions"] = samples
