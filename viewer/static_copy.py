"""A copy of the pages in a folder, which a browser opens from a disk or from any web server."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepmark.errors import ConfigError, DatasetError
from stepmark.identity import content_id
from storage.dataset.dataset import Dataset
from viewer.nearby_shard import NearbyShard, nearby_shard
from viewer.selection import Selection
from viewer.static_pages import STATIC_FOLDER, StaticPages, choose, page_count
from viewer.trace_list import PAGE_ROWS

__all__ = ["CopyResult", "check_target", "draft_of", "write_copy"]

ASSETS = "assets"
OVERVIEW = "index.html"
# An id that is a name of a file in every file system: without capital letters, which some do not
# distinguish.
FILE_ID = re.compile(r"[a-z0-9-]{1,80}")
# Browsers do not agree whether `'self'` is a file beside a page that was opened from a disk.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' file:",
        "style-src 'self' file:",
        "img-src 'self' file:",
        "font-src 'self' file:",
        "form-action 'none'",
        "base-uri 'none'",
    )
)
"""The content security policy of a page: no inline script or style, and nothing from others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What a copy contains."""

    traces: int
    selected: int
    """How many traces were selected."""
    size: int
    """The bytes of all files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLinks:
    """The addresses in a copy: names of files of one folder.

    Args:
        files: The name of the page of each copied trace.
        query: The selection of the list. Other lists need a server.
    """

    files: Mapping[str, str]
    query: str

    def asset(self, name: str) -> str:
        """See `Links.asset`."""
        return f"{ASSETS}/{name}"

    def overview(self, query: str = "") -> str:
        """See `Links.overview`."""
        return OVERVIEW

    def traces(self, query: str = "") -> str:
        """See `Links.traces`."""
        return list_file(1) if query in ("", self.query) else ""

    def list_page(self, selection: Selection, page: int) -> str:
        """See `Links.list_page`."""
        return list_file(page)

    def trace(self, trace_id: str, query: str = "") -> str:
        """See `Links.trace`."""
        return self.files.get(trace_id, "")

    def step(self, trace_id: str, number: int, start: int = 1) -> str:
        """See `Links.step`: a page contains its evidence."""
        return ""

    def tree(self, trace_id: str) -> str:
        """See `Links.tree`: a page contains its prefix tree."""
        return ""


def write_copy(
    dataset: Dataset, folder: str, limit: int, *, where: str = "", queue: str = ""
) -> CopyResult:
    """Write the overview, the list and the traces of a selection to a new folder.

    The folder has all files, or does not exist.

    Args:
        dataset: The dataset.
        folder: The folder, absent or empty.
        limit: The number of traces at most.
        where: A SELECT with the column trace_id; "" for all traces.
        queue: One of the queues of the list; "" for all traces.

    Raises:
        ConfigError: The folder is not empty or a link, or the selection is invalid.
        DatasetError: The dataset is missing, a part is damaged, or the folder cannot be written.
    """
    target = check_target(folder, "--export")
    try:
        if target.is_symlink():
            raise ConfigError(f"{folder} is a link: name the folder itself for --export")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{folder} is not an empty folder: choose another one for --export")
        # A shell would stay in the folder that is replaced, and its commands would fail.
        if Path.cwd().is_relative_to(target):
            raise ConfigError(f"--export {folder}: the command runs in it; name another folder")
        with draft_of(target, "--export") as draft, nearby_shard(dataset) as nearby:
            result = _write(dataset, nearby, draft, limit, where, queue)
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror or error}") from error
    return result


@contextlib.contextmanager
def draft_of(target: Path, option: str) -> Iterator[Path]:
    """Yield the path at which a new file or folder is written, and rename it to its target.

    After an error nothing is left. The folders above the target are made when the draft is
    complete.

    Raises:
        ConfigError: Something on the way to the target is not a folder.
        OSError: The target cannot be written.
    """
    above = target.parent
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise ConfigError(f"{option} {target}: {above} is not a folder")
    # On the file system of the target, so that the draft can be renamed.
    with tempfile.TemporaryDirectory(prefix=".stepmark-", dir=above) as scratch:
        draft = Path(scratch, "draft")
        yield draft
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(target)


def check_target(path: str, option: str) -> Path:
    """Return the absolute path of a new file or folder on this machine.

    Raises:
        ConfigError: It has no name, one that cannot be printed, or is elsewhere.
    """
    if not path.strip() or not path.isprintable() or "://" in path:
        raise ConfigError(f"{option} {path!a}: name a new file or folder on this machine")
    try:
        return Path(os.path.normpath(Path(path).expanduser().absolute()))
    # There is no user of this name.
    except RuntimeError as error:
        raise ConfigError(f"{option} {path}: {error}") from error


def list_file(page: int) -> str:
    """Return the name of a page of the list, from 1."""
    return "traces.html" if page == 1 else f"traces-{page}.html"


def trace_file(trace_id: str) -> str:
    """Return the name of the page of a trace.

    An id that can be no name of a file, or one with another meaning, is replaced by its digest.
    """
    if FILE_ID.fullmatch(trace_id):
        return f"trace-{trace_id}.html"
    return f"trace_{content_id('trace', trace_id)}.html"


def _write(
    dataset: Dataset, nearby: NearbyShard, folder: Path, limit: int, where: str, queue: str
) -> CopyResult:
    summary, choice = choose(dataset, limit, where=where, queue=queue)
    files = {row.trace_id: trace_file(row.trace_id) for row in choice.rows}
    if len(files) < len(choice.rows):
        raise DatasetError(
            f"{dataset.uri} has several traces with one id: `stepmark verify` lists them"
        )
    pages = StaticPages(
        dataset=dataset,
        nearby=nearby,
        summary=summary,
        choice=choice,
        links=FolderLinks(files=files, query=choice.selection.query_string()),
        layout="base.html",
        policy=POLICY,
    )
    shutil.copytree(STATIC_FOLDER, folder / ASSETS, ignore=shutil.ignore_patterns("htmx"))
    _write_page(folder / OVERVIEW, pages.overview())
    for page in range(1, page_count(len(choice.rows), PAGE_ROWS) + 1):
        _write_page(folder / list_file(page), pages.list_page(page))
    for number in pages.numbers():
        _write_page(folder / files[choice.rows[number].trace_id], pages.trace(number))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return CopyResult(traces=len(choice.rows), selected=choice.selected, size=size)


def _write_page(path: Path, html: str) -> None:
    # "x": no page replaces another one.
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(html)
