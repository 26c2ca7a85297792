"""Export labelled traces in a trainer's format, to a local folder or to the Hugging Face Hub.

The exported folder can be read with `datasets.load_dataset`.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stepmark import plugins
from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Annotation, Verdict
from storage.dataset.dataset import Dataset
from storage.formats.base import Format, HasSoftLabels, ReadsEvidence, TakesMergedSteps
from storage.publishing import card, card_file, hub
from storage.publishing.facts import facts_of
from storage.publishing.files import content_version, file_type_of
from storage.publishing.format_fields import formats_with
from storage.publishing.row_options import ALL_ROWS, VALIDATION, RowOptions
from storage.publishing.row_writer import write_rows
from storage.publishing.shard_rows import ShardRows
from storage.publishing.statistics import ExportStatistics
from storage.publishing.token_audit import TokenAudit
from storage.queries.derived import values_by_trace
from storage.queries.examples import ExampleJoin
from storage.values.base import StepValues, call

__all__ = ["ExportResult", "export"]

# The folder of the data files in a folder with one config.
FOLDER = "data"
# In the folder of an export that is not finished.
LOCK_FILE = "export.lock"
# The earlier export in this folder, while the new one replaces it.
OLD = "old"
# What `tempfile` appends to a prefix.
_RANDOM_NAME = "[a-z0-9_]{8}"
# `datasets` makes a folder of this name.
_CONFIG = re.compile(r"[\w-]{1,80}", re.ASCII)
# The files that an export writes.
_DATA_FILE = re.compile(r"\w+-\d{5,}-of-\d{5,}\.(?:parquet|jsonl)")
_EXPORT_FILE = re.compile(rf"{re.escape(hub.CARD)}|{FOLDER}|{FOLDER}/{_DATA_FILE.pattern}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """The result of an export: its rows, its destination, and the traces left out by reason."""

    format_name: str
    rows: int
    split_rows: Mapping[str, int]
    """The rows of each split."""
    distinct: int
    """The number of distinct solutions with a kept label."""
    left_out: Mapping[str, int]
    destination: str
    audit: TokenAudit | None = None
    """The counts of the check with a tokenizer; None without it."""

    def trainable_rows(self) -> str:
        """Return how many of the possible rows the export has, and why it lacks the others."""
        possible_rows = self.rows + sum(self.left_out.values())
        text = f"{self.rows} of {possible_rows} in {self.format_name}"
        return f"{text} ({_reasons(self.left_out)})" if self.left_out else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The parameters of an export; see `export`."""

    exporter: Format
    labels_by: str
    side_labels: Mapping[str, Annotation | None]
    neutral: Verdict
    values: StepValues | None
    merge: bool
    options: RowOptions
    processes: int
    config: str
    """The name of the config; "" for that of the format."""
    check: Callable[[Path], None] | None = None
    """Raises an error if the written files must not replace an earlier export."""

    @property
    def config_name(self) -> str:
        """The name of the config."""
        return self.config or self.format_name

    @property
    def format_name(self) -> str:
        """The name of the format."""
        kind_and_id = plugins.kind_and_id_of(type(self.exporter))
        assert kind_and_id is not None, "a format is a plugin"
        return kind_and_id[1]

    def name(self) -> str:
        """Return the name of the format, with the options that change its rows."""
        options = list[str]()
        if self.values is not None:
            options.append(f"values {call(self.values)}")
        options.extend(self.options.describe())
        return ", ".join([self.format_name, *options])


def export(
    dataset: Dataset,
    exporter: Format,
    destination: str,
    *,
    labels_by: str = "",
    side_labels: Mapping[str, Annotation | None] | None = None,
    neutral: Verdict = Verdict.CORRECT,
    values: StepValues | None = None,
    merge: bool = False,
    private: bool = True,
    options: RowOptions = ALL_ROWS,
    config: str = "",
    revision: str = hub.MAIN,
    tag: str = "",
    processes: int = 1,
    check: Callable[[Path], None] | None = None,
) -> ExportResult:
    """Write every trace with a kept label in a trainer's format.

    A folder is written atomically and replaces an earlier export.

    Args:
        dataset: The dataset.
        exporter: The format.
        destination: A folder, or `hf://datasets/ORG/NAME`.
        labels_by: A method whose annotations are used instead of the labels; "" for the labels.
        side_labels: Labels of this method beside the dataset, which replace those in it; see
            `ExampleJoin`. None for none.
        neutral: The verdict of the steps that this method rates as neutral. By default they are
            correct, as they are stored.
        values: A formula that replaces the values of the labels.
        merge: Whether each trace is also exported with merged steps
            (`storage.publishing.merging`).
        private: The visibility of a Hub repository that does not exist yet.
        options: Which rows are exported, in which splits.
        config: The name of the config; "" for that of the format. A repository has several configs,
            of which an export replaces one.
        revision: The branch of a Hub repository; it is created if it does not exist.
        tag: The tag of the version in a Hub repository; "" for none.
        processes: The number of processes that make rows. With more than one, the main module of
            the program must be importable, as for `multiprocessing`.
        check: Called with the folder of the data files before they replace an earlier export.
            Raises an error if they must not.

    Raises:
        ConfigError: The destination is invalid or contains files that no export wrote, the format
            has no values to replace or no use for merged steps, the dataset has no annotations by
            `labels_by`, `neutral` is set without it (labels do not say which steps are neutral), or
            an option does not fit the format.
        DatasetError: There are no rows to export, or the destination cannot be written.
    """
    dataset.require()
    _check_arguments(exporter, labels_by=labels_by, neutral=neutral, values=values, merge=merge)
    options.check(exporter)
    request = ExportRequest(
        exporter=exporter,
        labels_by=labels_by,
        side_labels=side_labels or {},
        neutral=neutral,
        values=values,
        merge=merge,
        options=options,
        config=config,
        processes=processes,
        check=check,
    )
    if not _CONFIG.fullmatch(request.config_name):
        raise ConfigError(f"{config[:80]!r} cannot name a config; use letters, digits, _ and -")
    if destination.startswith(hub.PREFIX):
        name = hub.repository_of(destination)
        repository = hub.Repository(name=name, revision=revision, tag=tag, private=private)
        return _to_hub(dataset, request, repository)
    if tag or revision != hub.MAIN:
        raise ConfigError("--tag and --revision are for hf://datasets/ORG/NAME: leave them out")
    if "://" in destination or destination.startswith(hub.SCHEME):
        raise ConfigError(
            f"cannot export to {destination}; name a folder or hf://datasets/ORG/NAME"
        )
    return _to_folder(dataset, request, destination)


def _check_arguments(
    exporter: Format, *, labels_by: str, neutral: Verdict, values: StepValues | None, merge: bool
) -> None:
    """Raise ConfigError if the format, or the choice of labels, does not allow an argument."""
    if values is not None and not (isinstance(exporter, HasSoftLabels) and exporter.soft):
        listing = ", ".join(formats_with("soft"))
        raise ConfigError(f"this format has no values, only labels: export {listing}")
    if merge and not isinstance(exporter, TakesMergedSteps):
        listing = ", ".join(formats_with("takes_merged_steps"))
        raise ConfigError(
            "--merge adds rows with merged steps, which this format has no use for: export"
            f" {listing}"
        )
    if neutral is not Verdict.CORRECT and not labels_by:
        raise ConfigError("--neutral maps ratings of a method: name it with --labels")


def _to_hub(dataset: Dataset, request: ExportRequest, repository: hub.Repository) -> ExportResult:
    # What the Hub would reject is reported before the export, which can take long.
    card_file.check_replaceable(hub.check(repository))
    with tempfile.TemporaryDirectory(prefix="stepmark-") as scratch:
        data = Path(scratch, FOLDER)
        statistics = _write_data(dataset, request, data)
        facts = facts_of(dataset)
        config = card.Config(
            name=request.config_name,
            source=repository.name,
            folder=request.config_name,
            description=request.name(),
            file_type=file_type_of(request.exporter),
            revision=repository.tag or repository.branch,
        )
        upload = hub.Upload(
            repository=repository,
            files={f"{config.folder}/{file.name}": file for file in sorted(data.iterdir())},
            card_of=lambda earlier: card_file.render(config, statistics, facts, earlier),
            replaces=lambda path, earlier: _is_replaced(path, config, earlier),
        )
        url = upload.run()
    return _result(request, statistics, url)


def _is_replaced(path: str, config: card.Config, earlier_card: str) -> bool:
    """Return whether an export replaces a file of a repository.

    Raises:
        ConfigError: The file is in the folder of the config, and no export wrote it.
    """
    folder, _, name = path.rpartition("/")
    if not _DATA_FILE.fullmatch(name):
        return False
    if folder == FOLDER and card_file.has_one_config(earlier_card):
        return True
    if folder != config.folder:
        return False
    if not card_file.has_section(earlier_card, config.name):
        # The file would be lost, or its rows would be read as rows of the config.
        raise ConfigError(
            f"the repository has the file {path}, which no export wrote: choose another --config,"
            " or remove the file"
        )
    return True


def _to_folder(dataset: Dataset, request: ExportRequest, folder: str) -> ExportResult:
    target = _folder_at(folder)
    try:
        _check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _scratch_folder(target) as scratch:
            new = Path(scratch, "new")
            statistics = _write_data(dataset, request, new / FOLDER)
            config = card.Config(
                name=request.config_name,
                source=f"./{target.name}",
                folder=FOLDER,
                description=request.name(),
                file_type=file_type_of(request.exporter),
                version=content_version(new / FOLDER),
            )
            text = card_file.render(config, statistics, facts_of(dataset))
            (new / hub.CARD).write_text(text, encoding="utf-8")
            _replace(target, new, Path(scratch, OLD))
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror or error}") from error
    return _result(request, statistics, folder)


def _folder_at(destination: str) -> Path:
    """Return the absolute path of a folder.

    Raises:
        ConfigError: It has no name or one that cannot be printed, or the command runs in it.
    """
    if not destination.strip() or not destination.isprintable():
        raise ConfigError(f"cannot export to {destination!a}: name a folder")
    try:
        path = Path(destination).expanduser()
    # There is no user of this name.
    except RuntimeError as error:
        raise ConfigError(f"cannot export to {destination}: {error}") from error
    # Without `..`, because a folder is renamed in the one above it.
    target = Path(os.path.normpath(path.absolute()))
    # A shell would stay in the folder that is replaced, and its commands would fail.
    if Path.cwd().is_relative_to(target):
        raise ConfigError(
            f"cannot export to {destination}: the command runs in it; name another folder"
        )
    return target


def _replace(target: Path, new: Path, old: Path) -> None:
    """Rename a new folder to the target, and the earlier one to `old`.

    If this fails, the earlier folder is in its place again.
    """
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        _restore(target, old)
        raise


def _restore(target: Path, old: Path) -> None:
    """Move an earlier folder back to its place, unless another one is there."""
    # Nothing is renamed if there is no earlier folder, or if the target has files.
    with suppress(OSError):
        old.rename(target)


@contextmanager
def _scratch_folder(target: Path) -> Iterator[str]:
    """Create a folder beside the target, and remove those that killed exports have left there.

    Beside it, so that renames stay within one file system. An export locks its folder, and the
    lock ends with its process.
    """
    prefix = f".{target.name}-"
    # Other folders can begin with the prefix: those of exports to a folder `NAME-MORE`.
    leftover = re.compile(rf"{re.escape(prefix)}{_RANDOM_NAME}")
    for folder in target.parent.iterdir():
        if leftover.fullmatch(folder.name):
            with _locked_file(folder / LOCK_FILE, "r+b") as is_locked:
                if is_locked:
                    # The export was killed between two renames.
                    _restore(target, folder / OLD)
                    shutil.rmtree(folder, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as scratch,
        _locked_file(Path(scratch, LOCK_FILE), "x+b"),
    ):
        yield scratch


@contextmanager
def _locked_file(path: Path, mode: str) -> Iterator[bool]:
    """Yield whether this process has locked a file, until the end of the block."""
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open(mode))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _result(request: ExportRequest, statistics: ExportStatistics, destination: str) -> ExportResult:
    return ExportResult(
        format_name=request.format_name,
        rows=statistics.rows,
        split_rows=dict(statistics.split_rows),
        distinct=statistics.distinct,
        left_out=dict(statistics.left_out),
        destination=destination,
    )


def _write_data(dataset: Dataset, request: ExportRequest, folder: Path) -> ExportStatistics:
    """Write the data files of the export to a folder and return its statistics."""
    statistics = write_rows(_shard_rows(dataset, request), folder, request.processes)
    # No trainer can load an empty data set.
    if not statistics.rows:
        raise DatasetError(f"nothing to export: {_reasons(statistics.left_out)}")
    _check_splits(request, statistics)
    if request.check is not None:
        request.check(folder)
    return statistics


def _shard_rows(dataset: Dataset, request: ExportRequest) -> ShardRows:
    exporter = request.exporter
    values = None
    if request.values is not None:
        values = values_by_trace(dataset, request.values)
    join = ExampleJoin(
        dataset=dataset,
        labels_by=request.labels_by,
        side_labels=request.side_labels,
        neutral=request.neutral,
        values=values,
        reads=exporter.reads if isinstance(exporter, ReadsEvidence) else frozenset(),
    )
    return ShardRows(join=join, exporter=exporter, merge=request.merge, options=request.options)


def _check_splits(request: ExportRequest, statistics: ExportStatistics) -> None:
    """Check that every split has rows.

    Raises:
        DatasetError: One has none.
    """
    if not request.options.validation:
        return
    for split in (request.exporter.split, VALIDATION):
        if not statistics.split_rows[split]:
            raise DatasetError(
                f"no row is in the split {split}: choose another --validation share or --seed"
            )


def _reasons(left_out: Mapping[str, int]) -> str:
    if not left_out:
        return "the dataset has no traces"
    return ", ".join(f"{count} × {reason}" for reason, count in left_out.items())


def _check_replaceable(target: Path) -> None:
    """Check that a folder is absent, empty or an earlier export."""
    # Renaming would replace a link itself, not the folder that it refers to.
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"cannot export to {target}: it is a file or a link; name a new folder")
    for path in target.rglob("*"):
        name = path.relative_to(target).as_posix()
        if not _EXPORT_FILE.fullmatch(name):
            raise ConfigError(
                f"cannot export to {target}: it holds {name}, which no export wrote;"
                " name a new folder"
            )
    if target.exists() and any(target.iterdir()) and card_file.MADE_BY not in _card_text(target):
        raise ConfigError(
            f"cannot export to {target}: it holds files that no export wrote; name a new folder"
        )


def _card_text(target: Path) -> str:
    try:
        return (target / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
