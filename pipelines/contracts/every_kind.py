"""The contract of every plugin: a frozen, documented dataclass with a version."""

import dataclasses
import inspect
import typing
from collections.abc import Sequence

from pipelines.contracts.base import Check, Subject, require
from stepmark.identity import fingerprint
from stepmark.plugin_fields import fields_of
from stepmark.plugins import identity_of

__all__ = ["CHECKS"]


def _is_frozen(subject: Subject) -> None:
    plugin = subject.load()
    require(dataclasses.is_dataclass(plugin), f"{plugin.__name__} is no dataclass")
    parameters = plugin.__dataclass_params__
    require(parameters.frozen, "write @dataclass(frozen=True, kw_only=True)")


def _has_version(subject: Subject) -> None:
    version = getattr(subject.load(), "version", None)
    require(
        isinstance(version, int) and not isinstance(version, bool),
        "declare `version: ClassVar[int] = 1`, and raise it when results change",
    )


def _is_documented(subject: Subject) -> None:
    plugin = subject.load()
    module = inspect.getmodule(plugin)
    require(module is not None and module.__doc__, "the module has no docstring")
    # A dataclass without a docstring gets its signature as one.
    text = plugin.__doc__ or ""
    require(text and not text.startswith(f"{plugin.__name__}("), "the class has no docstring")
    for field in fields_of(plugin):
        has_meaning = field.meaning or f"`{field.name}`" in text
        require(has_meaning, f"the field {field.name} has no docstring below it")


def _has_typed_fields(subject: Subject) -> None:
    hints = typing.get_type_hints(subject.load())
    for field in dataclasses.fields(subject.load()):
        require(hints.get(field.name) is not typing.Any, f"the field {field.name} is of type Any")


def _is_rebuilt_equal(subject: Subject) -> None:
    first = fingerprint(subject.build())
    require(fingerprint(subject.build()) == first, "two equal instances have two fingerprints")
    identity = identity_of(subject.load())
    kind = subject.kind.replace("labelers", "annotators")
    expected = subject.name.replace(subject.kind, kind, 1)
    require(identity == expected, f"its name in fingerprints is {identity}, not {expected}")


CHECKS: Sequence[Check] = (
    Check(what="is a frozen dataclass", run=_is_frozen),
    Check(what="has a version", run=_has_version),
    Check(what="is documented, with all its fields", run=_is_documented),
    Check(what="has typed fields", run=_has_typed_fields),
    Check(what="can be built, twice with the same fingerprint", run=_is_rebuilt_equal),
)
