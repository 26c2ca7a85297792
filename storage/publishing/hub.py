"""Upload an export to a dataset repository of the Hugging Face Hub.

The Hub stores files by their content before a commit refers to them. Files are therefore stored in
batches, and one commit at the end makes all of them visible: readers see the earlier export or the
new one. An upload that failed or was killed is repeated with the same files, of which the Hub
requests only those that it does not store yet.

The token is read from the environment variable HF_TOKEN and nowhere else.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_url,
)

# HTTPError is the base class of the errors of the Hub's HTTP client.
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    HfHubHTTPError,
    HTTPError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    http_backoff,
)

from stepmark.errors import ConfigError, DatasetError
from stepmark.secrets import redact_urls
from stepmark.visible_text import one_line

__all__ = [
    "CARD",
    "MAIN",
    "PREFIX",
    "SCHEME",
    "Repository",
    "Upload",
    "check",
    "repository_of",
    "token",
]

T = TypeVar("T")

SCHEME = "hf:"
PREFIX = f"{SCHEME}//"
CARD = "README.md"
MAIN = "main"
NOT_FOUND = 404
# No part of the name begins with a dot, so that `..` is not accepted.
_DESTINATION = re.compile(r"hf://datasets/([\w-][\w.-]*/[\w-][\w.-]*)/?", re.ASCII)
# A subset of what git accepts as the name of a branch or a tag.
_REFERENCE = re.compile(r"[\w-]+(?:[./][\w-]+)*", re.ASCII)
_STATUS_MESSAGES = {
    401: "HF_TOKEN is not valid",
    403: "HF_TOKEN has no right to write there",
    NOT_FOUND: "there is no such repository, or HF_TOKEN may not see it",
    429: "the Hub asks to slow down; try again later",
}
# Statuses that a repetition can change. 409 and 412: another commit came first.
_TRANSIENT_STATUSES = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
# Seconds before each repetition of an upload. The client itself repeats the requests that store
# files, about 20 seconds long.
_WAITS = (1.0, 4.0, 16.0, 60.0)
# Before an export there is nothing to lose, and a wrong address should not take minutes.
_CHECK_WAITS = (1.0, 4.0)
# The longest wait that a Retry-After header can ask for; the Hub counts requests per 5 minutes.
_MAX_WAIT = 300.0
# Files that are stored together; the client sends five at a time.
_BATCH_FILES = 20
_ERRORS = (HTTPError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A dataset repository, with the branch that an export is committed to and its tag."""

    name: str
    """`ORG/NAME`."""
    revision: str = MAIN
    """The branch; it is created from `main` if it does not exist."""
    tag: str = ""
    """The tag of the commit; "" for none."""
    private: bool = True
    """The visibility of a repository that does not exist yet."""

    def __post_init__(self) -> None:
        for reference in (self.revision, self.tag or MAIN):
            if not _REFERENCE.fullmatch(reference):
                raise ConfigError(
                    f"{reference[:80]!r} cannot name a branch or a tag; use letters, digits, _ and"
                    " -, with single dots and slashes between them"
                )
        if self.tag in (MAIN, self.revision):
            raise ConfigError(f"{self.tag!r} is the name of a branch: choose another --tag")

    @property
    def branch(self) -> str:
        """Return the branch if it is not the main one, else ""."""
        return "" if self.revision == MAIN else self.revision

    @property
    def location(self) -> str:
        """Return the URI of the repository."""
        return f"{PREFIX}datasets/{self.name}"


def repository_of(destination: str) -> str:
    """Return `ORG/NAME` of `hf://datasets/ORG/NAME`.

    Raises:
        ConfigError: The destination has another form.
    """
    match = _DESTINATION.fullmatch(destination)
    if match is None:
        raise ConfigError(f"{destination} is not a dataset repository; use hf://datasets/ORG/NAME")
    return match[1]


def token() -> str:
    """Return the write token.

    Raises:
        ConfigError: HF_TOKEN is not set.
    """
    value = os.environ.get("HF_TOKEN", "").strip()
    if not value:
        raise ConfigError(
            "HF_TOKEN is not set; make a write token at https://huggingface.co/settings/tokens"
            " and export it"
        )
    return value


def check(repository: Repository) -> str:
    """Check that the Hub accepts the token and that no tag or branch has the name of the tag.

    Call it before an export, which can take long.

    Returns:
        The card of the repository; "" if it does not exist.

    Raises:
        ConfigError: HF_TOKEN is not set, or the tag exists, or is the name of a branch.
        DatasetError: The Hub rejects the request or cannot be reached.
    """
    api = HfApi(token=token())
    try:
        names, card = _repeated(lambda: _names_and_card(api, repository), _CHECK_WAITS)
    except _ERRORS as error:
        raise _failure(repository, error) from error
    kind = names.get(repository.tag)
    if kind is not None:
        raise ConfigError(
            f"{repository.location} has the {kind} {repository.tag} already; choose another one"
        )
    return card


def _names_and_card(api: HfApi, repository: Repository) -> tuple[Mapping[str, str], str]:
    """Return which names are a tag or a branch, and the card."""
    try:
        references = api.list_repo_refs(repository.name, repo_type="dataset")
    except RepositoryNotFoundError as error:
        # The export creates a repository that does not exist. The client also raises this error
        # for an invalid token.
        if error.response.status_code == NOT_FOUND:
            return {}, ""
        raise
    branches = {branch.name: "branch" for branch in references.branches}
    tags = {tag.name: "tag" for tag in references.tags}
    # A new branch begins with the files of the main one.
    branch = repository.revision if repository.revision in branches else MAIN
    return {**branches, **tags}, _read_card(api, repository, branch)


def _read_card(api: HfApi, repository: Repository, revision: str | None) -> str:
    """Return the card at a branch or commit; "" if there is none."""
    url = hf_hub_url(
        repository.name, CARD, repo_type="dataset", revision=revision, endpoint=api.endpoint
    )
    response = http_backoff("GET", url, headers=build_hf_headers(token=api.token))
    try:
        hf_raise_for_status(response)
    except EntryNotFoundError:
        return ""
    return response.content.decode("utf-8", "replace")


@dataclass(kw_only=True)
class Upload:
    """The upload of an export, which can be repeated until it succeeds.

    Args:
        repository: The repository, which is created if it does not exist.
        files: The local files by their paths in the repository.
        card_of: Returns the new card from the card of the repository, "" if it has none.
        replaces: Returns whether the export replaces a file of the repository, from its path and
            the card of the repository. Replaced files are deleted. It may raise ConfigError.
    """

    repository: Repository
    files: Mapping[str, Path]
    card_of: Callable[[str], str]
    replaces: Callable[[str, str], bool]
    stored: int = field(default=0, init=False)
    """The number of files that the Hub stores."""
    is_committed: bool = field(default=False, init=False)

    def run(self) -> str:
        """Upload the files, and return the URL of the repository.

        An error that can pass is followed by another attempt, up to a limit.

        Raises:
            ConfigError: HF_TOKEN is not set, or `card_of` rejects the card, or `replaces` a
                file.
            DatasetError: The Hub rejects the upload or cannot be reached.
        """
        api = HfApi(token=token())
        try:
            return _repeated(lambda: self._attempt(api), _WAITS)
        except _ERRORS as error:
            raise self._failure(error) from error

    def _attempt(self, api: HfApi) -> str:
        """Do what the Hub lacks; an attempt can follow another one that failed at any point."""
        repository = self.repository
        url = api.create_repo(
            repository.name, repo_type="dataset", private=repository.private, exist_ok=True
        )
        if repository.branch:
            api.create_branch(
                repository.name, repo_type="dataset", branch=repository.branch, exist_ok=True
            )
        commit = self._commit(api, self._store(api))
        self.is_committed = True
        if repository.tag:
            api.create_tag(
                repository.name,
                repo_type="dataset",
                tag=repository.tag,
                revision=commit.oid,
                exist_ok=True,
            )
        return str(url)

    def _store(self, api: HfApi) -> list[CommitOperationAdd]:
        """Store the content of the files; the client skips those that the Hub has."""
        additions = [
            CommitOperationAdd(path_in_repo=path, path_or_fileobj=file)
            for path, file in self.files.items()
        ]
        for start in range(0, len(additions), _BATCH_FILES):
            batch = additions[start : start + _BATCH_FILES]
            api.preupload_lfs_files(
                self.repository.name,
                additions=batch,
                repo_type="dataset",
                revision=self.repository.revision,
                # The commit reads small files again.
                free_memory=False,
            )
            self.stored = max(self.stored, start + len(batch))
        return additions

    def _commit(self, api: HfApi, additions: list[CommitOperationAdd]) -> CommitInfo:
        """Commit the stored files, the card and the deletion of the earlier files."""
        head = api.dataset_info(self.repository.name, revision=self.repository.revision)
        paths = [sibling.rfilename for sibling in head.siblings or ()]
        card = _read_card(api, self.repository, head.sha)
        new_card = self.card_of(card).encode()
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=new_card),
            *additions,
        ]
        for path in paths:
            # First, because it raises an error for files that no export wrote.
            is_replaced = self.replaces(path, card)
            if is_replaced and path not in self.files:
                operations.append(CommitOperationDelete(path_in_repo=path, is_folder=False))
        return api.create_commit(
            self.repository.name,
            operations,
            repo_type="dataset",
            revision=self.repository.revision,
            commit_message="Export from Stepmark",
            # The Hub rejects the commit if another one has changed the card meanwhile.
            parent_commit=head.sha,
        )

    def _failure(self, error: Exception) -> DatasetError:
        """Return an error that says what the repository contains."""
        if self.is_committed:
            state = f"the export is stored, but not the tag {self.repository.tag}"
        else:
            state = f"{self.stored} of {len(self.files)} files are stored, none of them is visible"
        return _failure(self.repository, error, f"; {state}. The same command continues from there")


def _repeated(action: Callable[[], T], waits: Sequence[float]) -> T:
    """Return the result of an action, which is repeated after errors that can pass."""
    for wait in waits:
        try:
            return action()
        except _ERRORS as error:
            if not _is_transient(error):
                raise
            time.sleep(min(max(wait, _retry_after(error)), _MAX_WAIT))
    return action()


def _failure(repository: Repository, error: Exception, state: str = "") -> DatasetError:
    return DatasetError(f"cannot write to {repository.location}: {_reason(error)}{state}")


def _cause(error: Exception) -> Exception:
    """Return the error of the request: the client wraps errors of its threads."""
    cause = error.__cause__
    if isinstance(error, RuntimeError) and isinstance(cause, Exception):
        return cause
    return error


def _is_transient(error: Exception) -> bool:
    """Return whether another attempt can succeed: a server is busy, or a connection was lost."""
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in _TRANSIENT_STATUSES
    return isinstance(cause, HTTPError)


def _retry_after(error: Exception) -> float:
    """Return the seconds that a server asks to wait; 0 if it names none."""
    cause = _cause(error)
    if not isinstance(cause, HfHubHTTPError):
        return 0.0
    # The header can also be a date, which the Hub does not send.
    seconds = cause.response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0


def _reason(error: Exception) -> str:
    cause = _cause(error)
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
    if status in _STATUS_MESSAGES:
        return _STATUS_MESSAGES[status]
    # The links of uploads contain signatures.
    return one_line(redact_urls(str(cause))) or type(cause).__name__
