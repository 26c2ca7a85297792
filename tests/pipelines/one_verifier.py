"""One verifier worker per run, for tests with many small runs in one process."""

import pytest

from verifiers.isolation.pool import VerifierPool


def use_one_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs start one verifier worker instead of two.

    A second worker would import the verifiers again, which takes longer than its claims.
    """
    defaults = VerifierPool.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(VerifierPool.__init__, "__kwdefaults__", {**defaults, "workers": 1})
