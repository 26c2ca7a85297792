"""Summaries that notice a new part at once."""

import math

import pytest

from storage.queries import trace_summary

__all__ = ["list_always"]


def list_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use no listing of the files of a dataset again."""
    monkeypatch.setattr(trace_summary, "LISTING_SECONDS", 0.0)
    monkeypatch.setattr(trace_summary, "MAX_LISTING_SHARE", math.inf)
