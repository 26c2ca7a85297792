"""Export: labelled traces in a trainer's format, as a folder that `datasets.load_dataset` reads, here or on the Hub."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.parts import COMPRESSION, row_groups
from storage.formats.base import Example, Format, LeftOut, Valued
from storage.publishing import card, hub
from storage.publishing.merging import coarser
from storage.queries.derived import derived
from storage.queries.examples import examples
from storage.values.base import StepValues, call

__all__ = ["Exported", "export"]

SHARD_BYTES = 512 << 20
"""Arrow bytes after which the next file begins; zstd makes about a quarter of it."""
_OWN = re.compile(r"README\.md|data|data/\w+-\d{5,}-of-\d{5,}\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote, where, and how many traces it left out for which reason."""

    rows: int
    left_out: Mapping[str, int]
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is exported of a dataset, and how it is said."""

    exporter: Format
    labels_by: str
    values: StepValues | None
    merge: bool

    def name(self) -> str:
        """The format, and the values in it where they are not the labels' own."""
        name = type(self.exporter).__module__.rpartition(".")[2]
        return f"{name}, values {call(self.values)}" if self.values else name


def export(
    dataset: Dataset,
    exporter: Format,
    destination: str,
    *,
    labels_by: str = "",
    values: StepValues | None = None,
    merge: bool = False,
    private: bool = True,
) -> Exported:
    """Write every trace with a kept label in a trainer's format to a new folder, or to `hf://datasets/ORG/NAME`.

    A folder appears whole or not at all, and takes the place of an earlier export; one that holds anything else is a `ConfigError`.
    Traces whose label is not kept are left out. `labels_by` names a method whose annotations stand for the labels.
    `values` take the place of the labels' own in a format that has any; `ConfigError` for one that has none. `merge` adds each trace
    again with neighbouring steps taken together (`storage.merging`). `private` is for a Hub repository that does not exist yet.
    An export without rows, which no trainer could load, is a `DatasetError` that gives the reasons.
    """
    dataset.require()
    if values is not None and not isinstance(exporter, Valued):
        raise ConfigError("this format has no values, only labels: export soft_labels or math_aps")
    wanted = Wanted(exporter=exporter, labels_by=labels_by, values=values, merge=merge)
    if destination.startswith(hub.PREFIX):
        return _to_hub(dataset, wanted, hub.repository_of(destination), private=private)
    if "://" in destination:
        raise ConfigError(
            f"cannot export to {destination}; name a folder or hf://datasets/ORG/NAME"
        )
    return _to_folder(dataset, wanted, Path(destination))


def _to_hub(dataset: Dataset, wanted: Wanted, repository: str, *, private: bool) -> Exported:
    hub.token()
    with tempfile.TemporaryDirectory(prefix="stepmark-") as scratch:
        survey = _build(dataset, wanted, Path(scratch), title=repository)
        url = hub.push(Path(scratch), repository, private=private)
    return Exported(rows=survey.rows, left_out=dict(survey.left_out), destination=url)


def _to_folder(dataset: Dataset, wanted: Wanted, folder: Path) -> Exported:
    target = folder.expanduser().absolute()
    _check_replaceable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            survey = _build(dataset, wanted, Path(scratch, "new"), title=target.name)
            if target.exists():
                target.rename(Path(scratch, "old"))
            Path(scratch, "new").rename(target)
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror or error}") from error
    return Exported(rows=survey.rows, left_out=dict(survey.left_out), destination=str(folder))


def _build(dataset: Dataset, wanted: Wanted, folder: Path, *, title: str) -> card.Survey:
    survey, exporter = card.Survey(), wanted.exporter
    values = derived(dataset, wanted.values) if wanted.values is not None else None
    chosen = _chosen(examples(dataset, labels_by=wanted.labels_by, values=values), survey)
    rows = _counted(exporter.rows(_with_coarser(chosen) if wanted.merge else chosen), survey)
    _write_shards(folder / "data", exporter, rows)
    if not survey.rows:
        raise DatasetError(f"nothing to export: {_reasons(survey.left_out)}")
    text = card.render(
        survey,
        title=title,
        format_name=wanted.name(),
        split=exporter.split,
        run_files=dataset.read_run_files(),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return survey


def _chosen(found: Iterable[Example | LeftOut], survey: card.Survey) -> Iterator[Example]:
    for item in found:
        if isinstance(item, LeftOut):
            survey.left_out[item.reason] += 1
            continue
        survey.see(item)
        if not item.label.kept:
            survey.left_out["its label is not kept"] += 1
        else:
            yield item


def _with_coarser(chosen: Iterable[Example]) -> Iterator[Example]:
    for example in chosen:
        yield example
        yield from coarser(example)


def _counted(found: Iterable[Any], survey: card.Survey) -> Iterator[dict[str, Any]]:
    for item in found:
        if isinstance(item, LeftOut):
            survey.left_out[item.reason] += 1
        else:
            survey.rows += 1
            yield dict(item)


def _reasons(left_out: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count} × {reason}" for reason, count in left_out.items())
        or "the dataset has no traces"
    )


def _write_shards(folder: Path, exporter: Format, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows as files of about `SHARD_BYTES`; how many, which is part of their names, is known at the end."""
    folder.mkdir(parents=True)
    drafts: list[Path] = []
    groups = row_groups(exporter.schema, rows)
    group = next(groups, None)
    while group is not None:
        drafts.append(folder / f"{len(drafts)}.tmp")
        with pq.ParquetWriter(drafts[-1], exporter.schema, compression=COMPRESSION) as writer:
            size = 0
            while group is not None and size < SHARD_BYTES:
                writer.write_table(group)
                size += group.nbytes
                group = next(groups, None)
    for number, draft in enumerate(drafts):
        draft.rename(folder / f"{exporter.split}-{number:05d}-of-{len(drafts):05d}.parquet")


def _card_of(target: Path) -> str:
    try:
        return (target / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _check_replaceable(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"cannot export to {target}: it is a file or a link; name a new folder")
    for path in target.rglob("*"):
        name = path.relative_to(target).as_posix()
        if not _OWN.fullmatch(name):
            raise ConfigError(
                f"cannot export to {target}: it holds {name}, which is no export's; name a new folder"
            )
    if target.exists() and any(target.iterdir()) and card.MADE_BY not in _card_of(target):
        raise ConfigError(
            f"cannot export to {target}: it holds what no export wrote; name a new folder"
        )
