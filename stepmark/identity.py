"""Ids, seeds and fingerprints: equal content has equal names, so runs can be resumed and repeated.

A plugin's fingerprint covers its kind and id, its `version` and its fields. A field that is
declared with `operational(...)` cannot change a result, for instance a server's address or a
concurrency limit, and is left out.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from stepmark.plugins import identity_of
from stepmark.secrets import without_secrets

__all__ = [
    "SEED_SPACING",
    "canonical_json",
    "content_digest",
    "content_id",
    "digest",
    "fingerprint",
    "operational",
    "seed_for",
]

DIGEST_BYTES = 8
# Ids name rows, of which a dataset can hold billions: with 96 bits, two of 10**9 ids are equal with
# a probability of 6 * 10**-12; with 64 bits it would be 3 %.
ID_BYTES = 12
# Seeds stay exact where a JSON parser reads numbers as doubles.
SEED_LIMIT = 1 << 53
# Engines give child i of a request for n completions the seed `seed + i`. Request seeds are
# multiples of a spacing above any n in use, so that children of different requests never share one.
SEED_SPACING = 1024


def canonical_json(*parts: object) -> bytes:
    """Return the parts as JSON, the same bytes for equal parts in every process."""
    return _CANONICAL_JSON.encode(parts).encode()


def digest(*parts: object) -> str:
    """Return a digest of the parts for fingerprints and seeds: 16 hexadecimal digits."""
    return hashlib.blake2b(canonical_json(*parts), digest_size=DIGEST_BYTES).hexdigest()


def content_id(*parts: object) -> str:
    """Return an id derived from the content that it names: 24 hexadecimal digits.

    Only content goes into an id, never the version of a grader, a splitter or Stepmark, so that an
    id that people wrote down stays valid.
    """
    return hashlib.blake2b(canonical_json(*parts), digest_size=ID_BYTES).hexdigest()


def content_digest(path: Path) -> str:
    """Return a digest of the content of a file: 16 hexadecimal digits."""
    with path.open("rb") as file:
        content_hash = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES))
    return content_hash.hexdigest()


def seed_for(*parts: object) -> int:
    """Return a request seed in [0, 2**53), a multiple of `SEED_SPACING`.

    The seed depends on nothing but the parts.
    """
    return (int(digest(*parts), 16) % (SEED_LIMIT // SEED_SPACING)) * SEED_SPACING


def operational(**field_arguments: Any) -> Any:
    """Declare a dataclass field that cannot change a result: fingerprints do not cover it."""
    return dataclasses.field(metadata={"operational": True}, **field_arguments)


def fingerprint(plugin: object, *upstream: str) -> str:
    """Return a digest of everything in a plugin that could change its results.

    Args:
        plugin: A plugin, or another dataclass.
        *upstream: The fingerprints of the data that the plugin reads.
    """
    cls = type(plugin)
    return digest(identity_of(cls), getattr(cls, "version", 0), _result_fields(plugin), *upstream)


def _result_fields(plugin: object) -> Mapping[str, object]:
    """Return the values of all fields that are not operational, by name.

    A table of free keys, such as the body of requests, can contain a password or key. It changes no
    result, and a digest of it would help to guess it.
    """
    values = dict[str, object]()
    cls: Any = type(plugin)
    for name in _result_field_names(cls):
        value = getattr(plugin, name)
        # Texts come first: most fields are texts, for which the test of a protocol is slow.
        if not isinstance(value, str) and isinstance(value, Mapping):
            value = without_secrets(value)
        values[name] = value
    return values


@cache
def _result_field_names(cls: type) -> tuple[str, ...]:
    # Cached, because a run digests hundreds of thousands of records of a few types.
    if not dataclasses.is_dataclass(cls):
        return ()
    fields = dataclasses.fields(cls)
    return tuple(field.name for field in fields if not field.metadata.get("operational"))


def _to_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__qualname__, **_result_fields(value)}
    if isinstance(value, (set, frozenset)):
        # The order of a set differs between processes.
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no stable identity")


_CANONICAL_JSON = json.JSONEncoder(
    sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_to_json
)
