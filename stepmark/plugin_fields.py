"""The fields of a plugin as a reader of TOML knows them: names, types, defaults and meanings."""

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = [
    "REQUIRED",
    "PluginField",
    "default_text",
    "docstrings_of_fields",
    "fields_of",
    "type_text",
    "without_links",
]

TYPE_NAMES: Mapping[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Any: "any",
}
BOUND_SIGNS: Mapping[str, str] = {
    "ge": "≥",
    "gt": ">",
    "le": "≤",
    "lt": "<",
}
REQUIRED = "required"
# Docstrings of fields can contain links between pages of the documentation.
LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


@dataclass(frozen=True, kw_only=True)
class PluginField:
    """A field of a plugin, or a key of the run file."""

    name: str
    type: str
    """The type with its bounds; "code only" for a field that no run file can set."""
    default: str
    """The default as TOML writes it, `REQUIRED`, or `unset` for a default that TOML lacks."""
    meaning: str
    """The docstring below the field; "" without one."""

    @property
    def plain_meaning(self) -> str:
        """The meaning without links."""
        return without_links(self.meaning)


def fields_of(plugin: type[Any]) -> Sequence[PluginField]:
    """Return the fields that a run file can set, in their order."""
    # The extras are the bounds of `Annotated`, which belong to the printed type.
    hints = typing.get_type_hints(plugin, include_extras=True)
    meanings = docstrings_of_fields(plugin)
    described = list[PluginField]()
    for field in dataclasses.fields(plugin):
        # A field without `init` is internal state, which a run file cannot set.
        if not field.init:
            continue
        default = REQUIRED
        if field.default is not dataclasses.MISSING:
            default = default_text(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = default_text(field.default_factory())
        described.append(
            PluginField(
                name=field.name,
                type=type_text(hints[field.name]),
                default=default,
                meaning=meanings.get(field.name, ""),
            )
        )
    return described


def without_links(text: str) -> str:
    """Return a Markdown text with the text of its links in their place.

    >>> without_links("the [budget](#budget)")
    'the budget'
    """
    return LINK.sub(r"\1", text)


def type_text(hint: Any) -> str:
    """Return a type as a reader of TOML knows it, with its bounds.

    >>> type_text(tuple[str, ...]), type_text(int | None)
    ('list of string', 'integer')
    """
    if hint in TYPE_NAMES:
        return TYPE_NAMES[hint]
    origin = typing.get_origin(hint)
    parts = typing.get_args(hint)
    if origin is typing.Annotated:
        return ", ".join([type_text(parts[0]), *_bounds(hint.__metadata__)])
    if origin is typing.Literal:
        return ", ".join(f"`{default_text(value)}`" for value in parts)
    if origin in (typing.Union, UnionType):
        # TOML has no null: an optional key is left out, and its default is printed as `unset`.
        return " or ".join(type_text(part) for part in parts if part is not NoneType)
    if origin in (tuple, list):
        return f"list of {type_text(parts[0])}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "table"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table"
    if origin is not None:
        return "code only"  # functions, which TOML cannot express
    return str(getattr(hint, "__name__", hint))


def default_text(value: Any) -> str:
    """Return a default as TOML writes it; a value that TOML cannot express as `unset`."""
    if value is None:
        return "unset"
    # Before integers, because a boolean of Python is an integer too.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Sequence):
        items = ", ".join(default_text(item) for item in value)
        return f"[{items}]"
    if isinstance(value, BaseModel):
        return "defaults"
    return "{}"


def docstrings_of_fields(owner: type[Any]) -> Mapping[str, str]:
    """Return the docstrings that follow the fields of a class, each on one line.

    Those of its base classes are included, where the class does not define the field again.
    """
    texts = dict[str, str]()
    for cls in reversed(owner.__mro__):
        # Classes that are written in C, and pydantic's own, have no fields of a run file.
        if cls not in (object, BaseModel) and "__annotations__" in cls.__dict__:
            texts.update(_own_docstrings(cls))
    return texts


def _own_docstrings(cls: type[Any]) -> Mapping[str, str]:
    # Dataclasses and pydantic do not keep these docstrings, so they are read from the source.
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:  # a class without a file, as in a notebook
        return {}
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    texts = dict[str, str]()
    for field, below in pairwise(definition.body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[field.target.id] = " ".join(str(below.value.value).split())
    return texts


def _bounds(metadata: Sequence[Any]) -> Sequence[str]:
    """Return the bounds that pydantic's constraints set, such as "≥ 1"."""
    constraints: list[Any] = []
    for item in metadata:
        # A `Field` holds its constraints in a list; pydantic's models hold them directly.
        if isinstance(item, FieldInfo):
            constraints.extend(item.metadata)
        else:
            constraints.append(item)
    bounds = list[str]()
    for constraint in constraints:
        for attribute, sign in BOUND_SIGNS.items():
            value = getattr(constraint, attribute, None)
            if value is not None:
                bounds.append(f"{sign} {value}")
    return bounds
