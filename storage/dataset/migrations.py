"""What changed in the schemas since earlier versions, and which parts can be read.

To add a column: add it to `schemas`, give the field of the record a default value, and name the
column in `ADDED`. Parts without the column are then read with the default value, and SQL shows
NULL. A change that the tables here cannot describe needs a higher `FORMAT`: an older Stepmark
refuses parts of a format above its own.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from storage.dataset.schemas import SCHEMAS

__all__ = ["FORMAT", "readable_columns"]

FORMAT = 2
"""The format of new parts. A part whose footer has no format is of format 1."""

# The type of `metadata` in format 1, which the library `datasets` cannot read.
_MAP = pa.map_(pa.string(), pa.string())

# The columns that parts of earlier versions lack, by kind.
ADDED: Mapping[str, frozenset[str]] = MappingProxyType({})

# The earlier name of a column, by kind and current name.
RENAMED: Mapping[str, Mapping[str, str]] = MappingProxyType({})

# The earlier types of a column, by kind and current name.
RETYPED: Mapping[tuple[str, str], tuple[pa.DataType, ...]] = MappingProxyType(
    {
        ("problems", "metadata"): (_MAP,),
        ("traces", "metadata"): (_MAP,),
        ("discovered", "metadata"): (_MAP,),
    }
)


def readable_columns(kind: str, part_schema: pa.Schema) -> Mapping[str, str] | None:
    """Return the columns of a part by their current names, in the order of the current schema.

    Columns of the part that the current schema does not have are left out.

    Args:
        kind: The kind of the part's table.
        part_schema: The schema of the part.

    Returns:
        For each current column its name in the part, without the columns that the part lacks. None
        if the part cannot be read: it lacks a required column or has one of another type.
    """
    schema = SCHEMAS[kind]
    if part_schema.equals(schema):
        return {name: name for name in schema.names}
    part_types = {field.name: field.type for field in part_schema}
    columns = {}
    for field in schema:
        name = field.name
        if name not in part_types:
            name = RENAMED.get(kind, {}).get(field.name, field.name)
        if name not in part_types:
            if field.nullable or field.name in ADDED.get(kind, ()):
                continue
            return None
        accepted_types = (field.type, *RETYPED.get((kind, field.name), ()))
        if part_types[name] not in accepted_types:
            return None
        columns[field.name] = name
    return columns
