"""Disable the cached listing of a dataset, so that the pages include a new part at once."""

import math

import pytest

from storage.queries import trace_summary

__all__ = ["disable_listing_cache"]


def disable_listing_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """List the files of a dataset for every summary, instead of reusing an earlier listing."""
    monkeypatch.setattr(trace_summary, "LISTING_SECONDS", 0.0)
    monkeypatch.setattr(trace_summary, "MAX_LISTING_SHARE", math.inf)
