"""The dataset card: a README.md with the content of the export, its origin and its licences.

Text from models, datasets or run files is rendered as code, so that it cannot end the fence or the
YAML block that contains it.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from hashlib import blake2b

import tomli_w
from huggingface_hub import DatasetCardData

from stepmark.secrets import redact_urls, without_secrets
from stepmark.visible_text import visible
from storage.dataset.parts import stepmark_version
from storage.formats.base import Example

__all__ = ["MADE_BY", "ExportStatistics", "render"]

# Marks a folder as an earlier export, which a new export may replace.
MADE_BY = "made with Stepmark"
# The maximum number of models, sources or reasons that a list names.
MAX_LISTED = 20
# 64 bits: among a million solutions, two equal digests have a probability of 3 * 10**-8.
DIGEST_BYTES = 8
# The maximum number of characters of a name.
MAX_NAME_LENGTH = 200
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


@dataclass(slots=True)
class ExportStatistics:
    """Counts over the traces of an export."""

    labelled: int = 0
    kept: int = 0
    split_rows: Counter[str] = field(default_factory=Counter)
    """The exported rows by split."""
    kept_texts: set[bytes] = field(default_factory=set)
    """Digests of the distinct solutions with a kept label."""
    left_out: Counter[str] = field(default_factory=Counter)
    """The traces that are not exported, by reason."""
    models: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        """Count a labelled trace, whether its label is kept or not."""
        self.labelled += 1
        self.kept += example.label.kept
        if example.label.kept:
            # No id contains the separator. Encoding as JSON would take three times as long.
            text = "\0".join((example.trace.problem_id, "".join(example.trace.steps)))
            encoded = text.encode("utf-8", "surrogatepass")
            self.kept_texts.add(blake2b(encoded, digest_size=DIGEST_BYTES).digest())
        self.models[example.trace.model] += 1
        self.sources[example.problem.source] += 1
        self.licenses[example.problem.license or "not stated"] += 1
        self.methods.update(example.label.sources)
        self.fingerprints[example.label.fingerprint] += 1

    @property
    def rows(self) -> int:
        """The number of exported rows."""
        return self.split_rows.total()

    @property
    def candidates(self) -> int:
        """The number of rows that the export would have if nothing was left out."""
        return self.rows + self.left_out.total()

    def update(self, other: "ExportStatistics") -> None:
        """Add the counts of other traces."""
        for statistic in fields(self):
            total = getattr(self, statistic.name)
            added = getattr(other, statistic.name)
            if isinstance(total, int):
                setattr(self, statistic.name, total + added)
            else:
                # Both a set and a counter add what they are updated with.
                total.update(added)


def render(
    statistics: ExportStatistics,
    *,
    title: str,
    format_name: str,
    splits: Sequence[str],
    run_files: Sequence[str],
) -> str:
    """Return the text of the card."""
    labelled = statistics.labelled
    kept_share = statistics.kept / labelled if labelled else 0.0
    blocks = [
        f"---\n{_front_matter(statistics, splits)}\n---",
        f"# {_code(title)}",
        f"Process-supervision data in the format {_code(format_name)},"
        f" {MADE_BY} {stepmark_version()}.",
        f"{statistics.rows} rows. Of {labelled} labelled traces {statistics.kept} were kept"
        f" ({kept_share:.1%}), {len(statistics.kept_texts)} of them distinct.",
        f"## Left out\n\n{_listed(statistics.left_out)}",
        "## How it was made",
        "Traces written by (their licences may bind what is trained on them):"
        f"\n\n{_listed(statistics.models)}",
        f"Problems from:\n\n{_listed(statistics.sources)}",
        f"Licences of the problems:\n\n{_listed(statistics.licenses)}",
        f"Labels are based on:\n\n{_listed(statistics.methods)}",
        f"Fingerprint of the labels:\n\n{_listed(statistics.fingerprints)}",
        "## Run file",
    ]
    if run_files:
        blocks.extend(_fenced(_public(run_file)) for run_file in run_files)
    else:
        blocks.append("The dataset has none: it was imported.")
    return "\n\n".join(blocks) + "\n"


def _public(run_file: str) -> str:
    """Return a run file without secrets, which earlier versions stored with it."""
    try:
        tables = tomllib.loads(run_file)
    except (ValueError, RecursionError):
        return "# The run file cannot be read."
    public = without_secrets(tables)
    return run_file if public == tables else tomli_w.dumps(public)


def _front_matter(statistics: ExportStatistics, splits: Sequence[str]) -> str:
    names = [name.lower() for name in statistics.licenses]
    # The Hub's metadata has one licence, so several licences are "other".
    license_id = "other"
    if len(names) == 1 and names[0] in KNOWN_LICENSES:
        license_id = names[0]
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    config = {"config_name": "default", "data_files": data_files}
    metadata = DatasetCardData(
        license=license_id, tags=["process-supervision", "prm", "stepmark"], configs=[config]
    )
    return metadata.to_yaml().strip()


def _listed(counts: Counter[str]) -> str:
    lines = [f"- {_code(name)}: {count}" for name, count in counts.most_common(MAX_LISTED)]
    if len(counts) > MAX_LISTED:
        lines.append(f"- {len(counts) - MAX_LISTED} more")
    return "\n".join(lines) or "- nothing"


def _code(text: str) -> str:
    """Return the text as an inline code span: one line of at most `MAX_NAME_LENGTH` characters."""
    line = visible(redact_urls(" ".join(text.split())))[:MAX_NAME_LENGTH] or "(empty)"
    if "`" not in line:
        return f"`{line}`"
    # Markdown: a code span ends at the next run of as many backticks as it began with.
    ticks = "`" * (_longest_run_of_backticks([line]) + 1)
    return f"{ticks} {line} {ticks}"


def _fenced(text: str) -> str:
    """Return the text in a fence that is longer than any run of backticks in it."""
    text = visible(text)
    fence = "`" * max(3, _longest_run_of_backticks(text.splitlines()) + 1)
    return f"{fence}toml\n{text.rstrip()}\n{fence}"


def _longest_run_of_backticks(lines: Iterable[str]) -> int:
    longest = 0
    for line in lines:
        for run in re.findall("`+", line):
            longest = max(longest, len(run))
    return longest
