"""The dataset card: README.md with what was exported, how it was made, and under which licences.

Everything that comes from models, datasets or run files is shown as code: it cannot end the fence or the YAML that it stands in.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from huggingface_hub import DatasetCardData

from storage.dataset.parts import stepmark_version
from storage.formats.base import Example

__all__ = ["MADE_BY", "Survey", "render"]

MADE_BY = "made with Stepmark"
"""By this an earlier export is known, which a new one may replace."""
LISTED = 20
"""How many models, sources or reasons a list names before it only counts the rest."""
LONGEST = 200
"""Characters of a name that are shown."""
# Licence identifiers that the Hub knows and that data sets are given under; any other is named in the text.
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
    }
    | {
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
class Survey:
    """What was seen on the way out. All counts are of traces, `rows` excepted."""

    labelled: int = 0
    kept: int = 0
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)

    def see(self, example: Example) -> None:
        """Count a labelled trace, kept or not."""
        self.labelled += 1
        self.kept += example.label.kept
        self.models[example.trace.model] += 1
        self.sources[example.problem.source] += 1
        self.licenses[example.problem.license or "not stated"] += 1
        self.methods.update(example.label.sources)
        self.fingerprints[example.label.fingerprint] += 1


def render(
    survey: Survey, *, title: str, format_name: str, split: str, run_files: Sequence[str]
) -> str:
    """The card's text."""
    share = survey.kept / survey.labelled if survey.labelled else 0.0
    blocks = (
        f"---\n{_front_matter(survey, split)}\n---",
        f"# {_code(title)}",
        f"Process-supervision data in the format {_code(format_name)}, {MADE_BY} {stepmark_version()}.",
        f"{survey.rows} rows. Of {survey.labelled} labelled traces {survey.kept} were kept ({share:.1%}).",
        f"## Left out\n\n{_listed(survey.left_out)}",
        "## How it was made",
        f"Traces written by (their licences may bind what is trained on them):\n\n{_listed(survey.models)}",
        f"Problems from:\n\n{_listed(survey.sources)}",
        f"Licences of the problems:\n\n{_listed(survey.licenses)}",
        f"Labels rest on:\n\n{_listed(survey.methods)}",
        f"Fingerprint of the labels:\n\n{_listed(survey.fingerprints)}",
        "## Run file",
        *(map(_fenced, run_files) if run_files else ["The dataset has none: it was imported."]),
    )
    return "\n\n".join(blocks) + "\n"


def _front_matter(survey: Survey, split: str) -> str:
    names = [name.lower() for name in survey.licenses]
    known = names[0] if len(names) == 1 and names[0] in KNOWN_LICENSES else "other"
    configs = [
        {
            "config_name": "default",
            "data_files": [{"split": split, "path": f"data/{split}-*.parquet"}],
        }
    ]
    return (
        DatasetCardData(
            license=known, tags=["process-supervision", "prm", "stepmark"], configs=configs
        )
        .to_yaml()
        .strip()
    )


def _listed(counts: Counter[str]) -> str:
    lines = [f"- {_code(name)}: {count}" for name, count in counts.most_common(LISTED)]
    if len(counts) > LISTED:
        lines.append(f"- {len(counts) - LISTED} more")
    return "\n".join(lines) or "- nothing"


def _code(text: str) -> str:
    """The text as an inline code span, on one line and cut to `LONGEST` characters."""
    line = " ".join(text.split())[:LONGEST] or "(empty)"
    ticks = "`" * (_longest_run("`", [line]) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def _fenced(text: str) -> str:
    """The text in a fence that is longer than any run of backticks in it."""
    fence = "`" * max(3, _longest_run("`", text.splitlines()) + 1)
    return f"{fence}toml\n{text.rstrip()}\n{fence}"


def _longest_run(letter: str, lines: Iterable[str]) -> int:
    return max((len(run) for line in lines for run in re.findall(f"{letter}+", line)), default=0)
