"""Identity: digests, seeds and fingerprints depend on the content that affects results."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.identity import SEED_SPACING, digest, fingerprint, operational, seed_for


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1
    threads: int = operational(default=4)


@dataclass(frozen=True, kw_only=True)
class Method:
    rollouts: int = 8
    inner: Inner = Inner()
    names: frozenset[str] = frozenset({"a", "b"})
    columns: dict[str, str] = field(default_factory=dict)
    # Operational fields do not affect results, so fingerprints ignore them.
    server: str = operational(default="here")

    version: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Newer(Method):
    version: ClassVar[int] = 2


def test_seeds_are_spaced_and_exact() -> None:
    seeds = {seed_for(1, "rollout", "trace", step) for step in range(2000)}
    assert len(seeds) == 2000
    # A float represents every integer up to 2**53 exactly.
    assert all(seed % SEED_SPACING == 0 and 0 <= seed <= 2**53 - SEED_SPACING for seed in seeds)


@given(st.lists(st.text() | st.integers() | st.none()))
def test_digest_depends_on_parts(parts: list[object]) -> None:
    assert digest(*parts) == digest(*parts)
    assert len(digest(*parts)) == 16
    assert digest(*parts) != digest(*parts, None)


def test_boundaries_of_parts_matter() -> None:
    # The concatenations are equal.
    assert digest("ab", "c") != digest("a", "bc")
    # The values differ in their type only.
    assert digest("1") != digest(1)
    assert digest(None) != digest("null")


def test_digests_are_stable() -> None:
    # Stored rows contain such digests: a changed scheme would make them stale.
    assert digest("problem", "1 + 1?", "2") == "682c377297131c38"
    assert seed_for(1, "rollout") == 7634352396964864


@pytest.mark.parametrize(
    "changed",
    [
        Method(rollouts=9),
        Method(inner=Inner(depth=2)),
        Method(names=frozenset({"a"})),
        Method(columns={"question": "q"}),
        Newer(),
    ],
)
def test_fingerprint_covers_fields_and_version(changed: Method) -> None:
    assert fingerprint(changed) != fingerprint(Method())


def test_fingerprint_ignores_operational_fields() -> None:
    assert fingerprint(Method(server="there", inner=Inner(threads=1))) == fingerprint(Method())


def test_fingerprint_covers_upstream() -> None:
    fingerprints = {
        fingerprint(Method()),
        fingerprint(Method(), "up"),
        fingerprint(Method(), "up", "stream"),
    }
    assert len(fingerprints) == 3


def test_equal_plugins_have_equal_fingerprints() -> None:
    # The iteration order of a set depends on the hash seed of the process.
    assert fingerprint(replace(Method(), names=frozenset({"b", "a"}))) == fingerprint(Method())


def test_unstable_values_are_rejected() -> None:
    with pytest.raises(TypeError, match="object has no stable identity"):
        digest(object())
