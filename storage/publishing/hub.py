"""The Hugging Face Hub: a folder becomes a dataset repository in one commit. The token comes from HF_TOKEN and nowhere else."""

import os
import re
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]  # the root of what its client raises

from stepmark.errors import ConfigError, DatasetError

__all__ = ["PREFIX", "push", "repository_of", "token"]

PREFIX = "hf://"
_DESTINATION = re.compile(r"hf://datasets/([\w-][\w.-]*/[\w-][\w.-]*)/?", re.ASCII)
_MEANINGS = {
    401: "HF_TOKEN is not valid",
    403: "HF_TOKEN has no right to write there",
    404: "there is no such repository, or HF_TOKEN may not see it",
    429: "the Hub asks to slow down; try again later",
}


def repository_of(destination: str) -> str:
    """`ORG/NAME` of `hf://datasets/ORG/NAME`; `ConfigError` for anything else."""
    match = _DESTINATION.fullmatch(destination)
    if match is None:
        raise ConfigError(
            f"{destination} is no dataset repository; it reads hf://datasets/ORG/NAME"
        )
    return match[1]


def token() -> str:
    """The token to write with; `ConfigError` when HF_TOKEN is not set."""
    value = os.environ.get("HF_TOKEN", "").strip()
    if not value:
        raise ConfigError(
            "HF_TOKEN is not set; make a write token at https://huggingface.co/settings/tokens and export it"
        )
    return value


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Make `repository` what `folder` is, in one commit; returns its address.

    `private` is for a repository that does not exist yet; one that does keeps its visibility. Earlier files under `data/` go.
    `DatasetError` when the Hub refuses or cannot be reached.
    """
    api = HfApi(token=token())
    try:
        url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            delete_patterns="data/*",
            commit_message="Export from Stepmark",
        )
    except (HTTPError, OSError, ValueError) as error:
        raise DatasetError(
            f"cannot write to {PREFIX}datasets/{repository}: {_reason(error)}"
        ) from error
    return str(url)


def _reason(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    return _MEANINGS.get(status) or str(error).strip().partition("\n")[0] or type(error).__name__
