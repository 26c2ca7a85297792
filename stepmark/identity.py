"""Ids, seeds and fingerprints: the same content always gets the same name, so a run can be resumed and repeated.

A plugin's fingerprint covers its kind and id, its `version` and its fields. A field declared with `operational(...)` says where or
how fast, never what (a server's address, a concurrency limit), and is left out.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepmark.plugins import identity_of

__all__ = ["content_digest", "digest", "fingerprint", "operational", "seed_for"]

DIGEST_BYTES = 8
# Seeds stay exact where a JSON parser reads numbers as doubles.
SEEDS = 1 << 53
# Engines give child i of a request of n the seed `seed + i`, so request seeds are multiples of a spacing above any n in use.
SEED_SPACING = 1024


def digest(*parts: object) -> str:
    """A 16-digit hexadecimal name for the parts, taken as canonical JSON."""
    return hashlib.blake2b(_CANONICAL.encode(parts).encode(), digest_size=DIGEST_BYTES).hexdigest()


def content_digest(path: Path) -> str:
    """A 16-digit hexadecimal name for what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)
        ).hexdigest()


def seed_for(*parts: object) -> int:
    """A request seed in [0, 2**53) that depends on the parts alone, spaced by `SEED_SPACING`."""
    return (int(digest(*parts), 16) % (SEEDS // SEED_SPACING)) * SEED_SPACING


def operational(**field_arguments: Any) -> Any:
    """A dataclass field that cannot change a result and so stays out of the fingerprint."""
    return dataclasses.field(metadata={"operational": True}, **field_arguments)


def fingerprint(plugin: object, *upstream: str) -> str:
    """The digest of everything in a plugin that could change its results, and of what it builds on."""
    cls = type(plugin)
    return digest(identity_of(cls), getattr(cls, "version", 0), _result_fields(plugin), *upstream)


def _result_fields(plugin: object) -> Mapping[str, object]:
    if not dataclasses.is_dataclass(plugin):
        return {}
    fields = dataclasses.fields(plugin)
    return {f.name: getattr(plugin, f.name) for f in fields if not f.metadata.get("operational")}


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__qualname__, **_result_fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no stable identity")


_CANONICAL = json.JSONEncoder(
    sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_plain
)
