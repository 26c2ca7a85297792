"""The JSON schema of run files, for editors: `stepmark schema`."""

import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from pipelines.run.config import TABLES, RunFile
from stepmark import plugins
from stepmark.plugin_fields import REQUIRED, docstrings_of_fields, fields_of, without_links

__all__ = ["DIALECT", "run_file_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS = "$defs"
# A field that only code can set; its type has no JSON schema.
CODE_ONLY = "code only"
# The keys of the run file that contain tables of plugins, and the kinds of these.
TABLE_OF_KIND: Mapping[str, str] = {
    "problems": "problems",
    "engine": "engines",
    "judge_engine": "engines",
    "prover_engine": "engines",
    "label": "labelers",
}
TABLES_OF_KIND: Mapping[str, str] = {"annotators": "annotators", "filters": "filters"}
NAMED_TABLES_OF_KIND: Mapping[str, str] = {"engines": "engines"}
TEXT = {"type": "string"}
ANNOTATOR_KEY_SCHEMAS: Mapping[str, Any] = {
    "name": {**TEXT, "description": "The name of its annotations; `use` by default."},
    "engine": {**TEXT, "description": "The engine of its rollouts and scores."},
    "judge": {
        "anyOf": [TEXT, {"type": "array", "items": TEXT}],
        "description": "The engine that judges, or several.",
    },
}


def run_file_schema() -> Mapping[str, Any]:
    """Return the JSON schema of run files, with the plugins that are installed here.

    The schema finds unknown keys, wrong types and values out of bounds. What a plugin checks by
    itself, and how tables depend on each other, is left to `stepmark check`.
    """
    definitions = dict[str, Any]()
    for kind in {**TABLE_OF_KIND, **TABLES_OF_KIND, **NAMED_TABLES_OF_KIND}.values():
        definitions[kind] = {"anyOf": _plugin_schemas(kind, definitions)}
    schema = RunFile.model_json_schema()
    definitions.update(schema.pop(DEFINITIONS))
    for table, model in TABLES.items():
        _describe(definitions[model.__name__], docstrings_of_fields(model))
        # TOML has no null, and the docstring of the model is for readers of its code.
        definitions[model.__name__].pop("description", None)
        schema["properties"][table] = {"$ref": f"#/{DEFINITIONS}/{model.__name__}"}
    properties = schema["properties"]
    for key, kind in TABLE_OF_KIND.items():
        properties[key] = _reference(kind)
    for key, kind in TABLES_OF_KIND.items():
        properties[key] = {"type": "array", "items": _reference(kind)}
    for key, kind in NAMED_TABLES_OF_KIND.items():
        properties[key] = {"type": "object", "additionalProperties": _reference(kind)}
    _describe(schema, docstrings_of_fields(RunFile))
    title = {"$schema": DIALECT, "title": "A run file of Stepmark"}
    return {**schema, **title, DEFINITIONS: definitions}


def _plugin_schemas(kind: str, definitions: dict[str, Any]) -> list[Any]:
    """Return the schemas of the tables of a kind, and add what they refer to."""
    schemas = list[Any]()
    for name, description in plugins.describe(kind).items():
        plugin = plugins.load(kind, name)
        schema = _plugin_schema(plugin, definitions)
        schema["properties"] = {"use": {"const": name}, **schema["properties"]}
        if kind == "annotators":
            schema["properties"].update(ANNOTATOR_KEY_SCHEMAS)
        schema["required"] = ["use", *schema.get("required", [])]
        schemas.append({**schema, "title": name, "description": description})
    of_file: dict[str, Any] = {
        "title": "a plugin file",
        "type": "object",
        "properties": {"use": {**TEXT, "pattern": r"\.py$"}},
        "required": ["use"],
    }
    return [*schemas, of_file]


def _plugin_schema(plugin: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    properties = dict[str, Any]()
    required = list[str]()
    types = typing.get_type_hints(plugin, include_extras=True)
    # One by one, since pydantic has no schema for functions.
    for field in fields_of(plugin):
        if field.type == CODE_ONLY:
            continue
        adapter = TypeAdapter[Any](types[field.name])
        schema = adapter.json_schema(ref_template=f"#/{DEFINITIONS}/{{model}}")
        definitions.update(schema.pop(DEFINITIONS, {}))
        if field.meaning:
            schema["description"] = field.plain_meaning
        properties[field.name] = schema
        if field.default == REQUIRED:
            required.append(field.name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _describe(schema: dict[str, Any], meanings: Mapping[str, str]) -> None:
    for name, meaning in meanings.items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = without_links(meaning)


def _reference(kind: str) -> dict[str, Any]:
    return {"$ref": f"#/{DEFINITIONS}/{kind}"}
