"""The options of `stepmark export` that are fields of formats, and the formats that have them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepmark import plugins
from stepmark.errors import ConfigError
from storage.formats.base import AfterError

__all__ = ["KIND", "formats_with", "label_fields"]

KIND = "storage.formats"


def label_fields(
    name: str, *, soft: bool, after_error: AfterError | None, code_folder: Path | None = None
) -> Mapping[str, Any]:
    """Return the fields of a format that these options set.

    Args:
        name: The id of the format, or its file.
        soft: Whether labels are the values of the steps.
        after_error: What happens to the steps after the first error; None for the default of the
            format.
        code_folder: The folder from which the paths of plugin files start. Without it no file is
            loaded.

    Raises:
        ConfigError: The format cannot contain such labels.
        PluginError: There is no such format.
    """
    plugin = plugins.load(KIND, name, code_folder=code_folder)
    fields = dict[str, Any]()
    if soft:
        if not hasattr(plugin, "soft"):
            raise ConfigError(
                f"{name} contains verdicts, no soft labels; formats with soft labels:"
                f" {', '.join(formats_with('soft'))}"
            )
        # A format that contains only soft labels has no field for it.
        if "soft" in {field.name for field in dataclasses.fields(plugin)}:
            fields["soft"] = True
    if after_error is not None:
        if not hasattr(plugin, "after_error"):
            raise ConfigError(
                f"{name} has no labels after the first error to drop, mask or keep:"
                " leave out --after-error"
            )
        fields["after_error"] = after_error
    return fields


def formats_with(attribute: str) -> tuple[str, ...]:
    """Return the ids of the formats that have an attribute, such as "soft" for soft labels."""
    names = plugins.available(KIND)
    return tuple(name for name in names if hasattr(plugins.load(KIND, name), attribute))
