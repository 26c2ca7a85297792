"""Identity: equal content, equal name; whatever could change a result changes it, and nothing else does."""

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
    server: str = operational(default="here")

    version: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Newer(Method):
    version: ClassVar[int] = 2


def test_seeds_of_different_requests_are_spaced_and_exact_as_doubles() -> None:
    seeds = {seed_for(1, "rollout", "trace", step) for step in range(2000)}
    assert len(seeds) == 2000
    assert all(seed % SEED_SPACING == 0 and 0 <= seed <= 2**53 - SEED_SPACING for seed in seeds)


@given(st.lists(st.text() | st.integers() | st.none()))
def test_a_digest_depends_on_the_parts_alone(parts: list[object]) -> None:
    assert digest(*parts) == digest(*parts)
    assert len(digest(*parts)) == 16
    assert digest(*parts) != digest(*parts, None)


def test_parts_do_not_run_into_each_other() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("1") != digest(1)
    assert digest(None) != digest("null")


def test_names_are_the_same_in_every_process() -> None:
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
def test_a_fingerprint_changes_with_fields_and_version(changed: Method) -> None:
    assert fingerprint(changed) != fingerprint(Method())


def test_a_fingerprint_does_not_change_with_where_and_how_fast() -> None:
    assert fingerprint(Method(server="there", inner=Inner(threads=1))) == fingerprint(Method())


def test_a_fingerprint_covers_what_it_builds_on() -> None:
    assert (
        len(
            {
                fingerprint(Method()),
                fingerprint(Method(), "up"),
                fingerprint(Method(), "up", "stream"),
            }
        )
        == 3
    )


def test_equal_plugins_have_equal_fingerprints() -> None:
    assert fingerprint(replace(Method(), names=frozenset({"b", "a"}))) == fingerprint(Method())


def test_what_has_no_stable_identity_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no stable identity"):
        digest(object())
