"""The section of a dataset card that describes one config: its content, origin and quality."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import tomli_w

from stepmark.secrets import without_secrets
from storage.dataset.parts import stepmark_version
from storage.publishing.facts import Facts, MethodQuality, wilson_interval
from storage.publishing.markdown import code_span, fenced, table
from storage.publishing.statistics import ExportStatistics

__all__ = ["Config", "section"]

# The maximum number of models, sources or reasons that a list names.
MAX_LISTED = 20
LIMITS = """\
- The label of a step is the output of the methods above. It is human judgement only if
  they are `human` or `human_NAME`.
- Steps after the first error build on it; their labels are less certain than that of the error.
- An undecided step is never a negative. A method that decides more easy traces than difficult ones
  leaves a set that is easier than its problems.
- Problems and solutions can contain personal data or offensive text of their sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config of a data set: the exported rows of one format."""

    name: str
    source: str
    """What `load_dataset` loads: `ORG/NAME` or a folder."""
    folder: str
    """The folder of its files in the repository."""
    description: str
    """The format, with the options that change its rows."""
    file_type: str
    """The ending of its files."""
    revision: str = ""
    """The branch or tag that contains it; "" for the main branch."""
    version: str = ""
    """A version that other rows do not have; "" in a repository, whose commits are versions.

    `datasets` caches the rows of a folder by its name and its card alone: without a version, a
    second export to a folder would be read as the first one.
    """

    @property
    def title(self) -> str:
        """The title of a new card."""
        return self.source.removeprefix("./")


def section(config: Config, statistics: ExportStatistics, facts: Facts) -> str:
    """Return the section of a config.

    Args:
        config: The exported config.
        statistics: The counts of the export.
        facts: What the dataset says about its origin, its quality and its cost.
    """
    return "\n\n".join(
        [
            f"## Config {config.name}",
            *_content(config, statistics),
            f"### Left out\n\n{_listed(statistics.left_out)}",
            f"### Label quality\n\n{_quality(facts)}",
            *_origin(statistics),
            f"### Decontamination\n\n{_decontamination(facts)}",
            f"### Cost\n\n{_costs(facts)}",
            f"### Limits\n\n{LIMITS}",
            "### Run file",
            *_run_files(facts),
        ]
    )


def _content(config: Config, statistics: ExportStatistics) -> Iterator[str]:
    labelled = statistics.labelled
    kept_share = statistics.kept / labelled if labelled else 0.0
    yield f"Labelled steps of solutions, in the format {code_span(config.description)}."
    yield fenced(_loading_code(config, statistics), "python")
    yield table(
        ["split", "rows"], [[split, f"{rows:,}"] for split, rows in statistics.split_rows.items()]
    )
    yield (
        f"{statistics.rows} rows. Of {labelled} labelled traces {statistics.kept} were kept"
        f" ({kept_share:.1%}), {statistics.distinct} of them distinct."
    )
    yield f"Kept traces by domain:\n\n{_listed(statistics.domains)}"
    yield f"Kept traces by label:\n\n{_listed(statistics.first_errors)}"


def _loading_code(config: Config, statistics: ExportStatistics) -> str:
    lines = ["from datasets import load_dataset", ""]
    for split in statistics.split_rows:
        # `ascii` writes any name of a folder as Python reads it.
        arguments = [ascii(config.source), ascii(config.name), f"split={split!r}"]
        if config.revision:
            arguments.append(f"revision={config.revision!a}")
        lines.append(f"{split} = load_dataset({', '.join(arguments)})")
    return "\n".join(lines)


def _quality(facts: Facts) -> str:
    if not facts.gold:
        return (
            "Not measured: the dataset has no gold labels, neither of an oracle nor of people."
            " Measure it with `stepmark score` and labels of your own."
        )
    rows = [_quality_row(quality) for quality in facts.quality]
    header = ["method", "traces", "decided", "exact first error", "95 % interval", "F1"]
    return (
        f"All traces of the dataset that {code_span(facts.gold)} labels, as `stepmark score` counts"
        " them. *Exact* is the share of the decided traces whose first error is exactly the gold"
        " one; F1 is that of ProcessBench, which counts undecided traces as misses.\n\n"
        + table(header, rows)
    )


def _quality_row(quality: MethodQuality) -> list[str]:
    name = code_span(quality.method) if quality.method else "kept labels"
    row = [name, f"{quality.traces:,}", f"{quality.decided:,}"]
    if quality.decided:
        low, high = wilson_interval(quality.exact, quality.decided)
        row += [f"{quality.exact / quality.decided:.1%}", f"{low:.1%} to {high:.1%}"]
    else:
        row += ["", ""]
    f1 = quality.f1
    return [*row, "" if f1 is None else f"{100 * f1:.1f}"]


def _origin(statistics: ExportStatistics) -> Iterator[str]:
    yield (
        f"### How it was made\n\nWith Stepmark {stepmark_version()}, from the run file below."
        f" Labels are based on these methods:\n\n{_listed(statistics.methods)}"
    )
    yield f"Fingerprint of the labels:\n\n{_listed(statistics.fingerprints)}"
    yield f"Problems from:\n\n{_listed(statistics.sources)}"
    yield (
        "### Models and licences\n\nTraces written by (their licences may bind what is trained on"
        f" them):\n\n{_listed(statistics.models)}"
    )
    yield f"Licences of the problems:\n\n{_listed(statistics.licenses)}"


def _decontamination(facts: Facts) -> str:
    if facts.is_decontaminated:
        return (
            f"The filter `contamination` of the run file dropped {facts.contaminated:,} traces. The"
            " run file names the evaluation sets and the threshold; paraphrases are not found."
        )
    return (
        "None: no run file of the dataset has the filter `contamination`. Evaluation sets may"
        " contain the same problems."
    )


def _costs(facts: Facts) -> str:
    rows = []
    for cost in facts.costs:
        name = code_span(cost.method) if cost.method else "traces"
        counts = [cost.rows, cost.rollouts, cost.prompt_tokens, cost.generated_tokens]
        rows.append([name, *[f"{count:,}" for count in counts]])
    header = ["of", "rows", "rollouts", "prompt tokens", "generated tokens"]
    return f"The whole dataset, what was left out included.\n\n{table(header, rows)}"


def _run_files(facts: Facts) -> Iterator[str]:
    for run_file in facts.run_files:
        yield fenced(_public(run_file), "toml")
    if not facts.run_files:
        yield "The dataset has none: it was imported."


def _public(run_file: str) -> str:
    """Return a run file without secrets, which earlier versions stored with it."""
    try:
        tables = tomllib.loads(run_file)
    except (ValueError, RecursionError):
        return "# The run file cannot be read."
    public = without_secrets(tables)
    return run_file if public == tables else tomli_w.dumps(public)


def _listed(counts: Counter[str]) -> str:
    lines = [f"- {code_span(name)}: {count}" for name, count in counts.most_common(MAX_LISTED)]
    if len(counts) > MAX_LISTED:
        lines.append(f"- {len(counts) - MAX_LISTED} more")
    return "\n".join(lines) or "- nothing"
