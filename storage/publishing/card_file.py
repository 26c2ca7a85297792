"""The dataset card: a README.md with a YAML block and a section for each config.

A repository has one config per format. A new export of a config replaces its section, which is
between two comments, and its entry in the YAML block; other sections, and what people wrote, stay
as they are.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from stepmark.errors import ConfigError
from storage.publishing.card import Config, section
from storage.publishing.facts import Facts
from storage.publishing.markdown import code_span
from storage.publishing.statistics import ExportStatistics

__all__ = ["MADE_BY", "check_replaceable", "has_one_config", "has_section", "render"]

# Marks a folder or a repository as an earlier export, which a new export may replace.
MADE_BY = "made with Stepmark"
TAGS = ("process-supervision", "prm", "stepmark")
_SECTION = re.compile(
    r"^<!-- stepmark config (?P<name>[\w-]+) -->\n.*?^<!-- end of config (?P=name) -->\n",
    re.MULTILINE | re.DOTALL | re.ASCII,
)
# Identifiers of common data licences that the Hub accepts; other licences are named in the text.
KNOWN_LICENSES = frozenset(
    {
        "apache-2.0",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cdla-permissive-2.0",
        "gpl-3.0",
        "mit",
        "odbl",
        "odc-by",
        "pddl",
        "unlicense",
    }
)


def render(config: Config, statistics: ExportStatistics, facts: Facts, earlier: str = "") -> str:
    """Return the text of the card.

    Args:
        config: The exported config.
        statistics: The counts of the export.
        facts: What the dataset says about its origin, its quality and its cost.
        earlier: The card that is replaced; "" if there is none.

    Raises:
        ConfigError: No export wrote the earlier card, or its YAML block is invalid.
    """
    metadata, body = _parse(earlier)
    if not _SECTION.search(body):
        # The export replaces the config of a card without sections.
        metadata.pop("configs", None)
        body = (
            f"# {code_span(config.title)}\n\nProcess-supervision data, {MADE_BY}. Each config has"
            " one format.\n"
        )
    others = [entry for entry in _configs_of(metadata) if entry.get("config_name") != config.name]
    metadata["configs"] = [*others, _config_entry(config, statistics, others)]
    metadata["license"] = _license(statistics, metadata.get("license") if others else None)
    metadata["tags"] = [*TAGS, *_other_tags(metadata)]
    text = (
        f"<!-- stepmark config {config.name} -->\n\n{section(config, statistics, facts)}\n\n"
        f"<!-- end of config {config.name} -->\n"
    )
    front_matter = DatasetCardData(**metadata).to_yaml().strip()
    return f"---\n{front_matter}\n---\n\n{_with_section(body, config.name, text)}"


def check_replaceable(card: str) -> None:
    """Check that an export can replace its part of a card.

    Raises:
        ConfigError: No export wrote the card, or its YAML block is invalid.
    """
    metadata, _ = _parse(card)
    _configs_of(metadata)


def has_one_config(card: str) -> bool:
    """Return whether a card is of a version of Stepmark that wrote one config per repository."""
    return MADE_BY in card and not _SECTION.search(_with_line_feeds(card))


def has_section(card: str, name: str) -> bool:
    """Return whether a card has a section of a config, which only exports write."""
    sections = _SECTION.finditer(_with_line_feeds(card))
    return any(match["name"] == name for match in sections)


def _with_line_feeds(card: str) -> str:
    """Return a card with the line ends of an export: editors can have changed them."""
    return card.replace("\r\n", "\n")


def _parse(card: str) -> tuple[dict[str, Any], str]:
    """Return the metadata of a card and its Markdown."""
    if not card.strip():
        return {}, ""
    try:
        parsed = DatasetCard(_with_line_feeds(card))
        metadata: dict[str, Any] = parsed.data.to_dict()  # type: ignore[no-untyped-call]
        body: str = parsed.text
    # The parser raises errors of the YAML library, and others for keys that are no names.
    except Exception as error:
        raise ConfigError(
            "the YAML block of the README.md in the repository cannot be read: repair or remove it"
        ) from error
    # A card that was made on the Hub's website has a YAML block alone.
    if (body.strip() or metadata.get("configs")) and MADE_BY not in body:
        raise ConfigError(
            "the repository has a README.md that no export wrote: name a new repository, or remove"
            " the README.md"
        )
    return metadata, body.lstrip("\n")


def _configs_of(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the configs in the YAML block."""
    entries = metadata.get("configs") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(
            "the `configs` of the README.md in the repository are no list of tables: repair or"
            " remove them"
        )
    return entries


def _other_tags(metadata: Mapping[str, Any]) -> list[str]:
    tags = metadata.get("tags")
    if not isinstance(tags, list):
        return []
    return [tag for tag in tags if isinstance(tag, str) and tag not in TAGS]


def _config_entry(
    config: Config, statistics: ExportStatistics, others: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    data_files = []
    for split in statistics.split_rows:
        path = f"{config.folder}/{split}-*.{config.file_type}"
        data_files.append({"split": split, "path": path})
    entry: dict[str, Any] = {"config_name": config.name, "data_files": data_files}
    if config.version:
        entry["version"] = config.version
    # `load_dataset` without a config loads this one: the first that was exported.
    if not any(other.get("default") for other in others):
        entry["default"] = True
    return entry


def _license(statistics: ExportStatistics, earlier: object) -> str:
    """Return the Hub's identifier of the licence; several licences are "other"."""
    names = [name.lower() for name in statistics.licenses]
    if len(names) == 1 and names[0] in KNOWN_LICENSES and earlier in (None, names[0]):
        return names[0]
    return "other"


def _with_section(body: str, name: str, text: str) -> str:
    """Replace the section of a config, or append it."""
    for match in _SECTION.finditer(body):
        if match["name"] == name:
            return body[: match.start()] + text + body[match.end() :]
    return f"{body.rstrip()}\n\n{text}"
