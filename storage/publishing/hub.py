"""Upload a folder to a dataset repository of the Hugging Face Hub, in one commit.

The token is read from the environment variable HF_TOKEN and nowhere else.
"""

import os
import re
from pathlib import Path

from huggingface_hub import HfApi

# HTTPError is the base class of the errors of the Hub's HTTP client.
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

from stepmark.errors import ConfigError, DatasetError

__all__ = ["PREFIX", "push", "repository_of", "token"]

PREFIX = "hf://"
# No part of the name begins with a dot, so that `..` is not accepted.
_DESTINATION = re.compile(r"hf://datasets/([\w-][\w.-]*/[\w-][\w.-]*)/?", re.ASCII)
_STATUS_MESSAGES = {
    401: "HF_TOKEN is not valid",
    403: "HF_TOKEN has no right to write there",
    404: "there is no such repository, or HF_TOKEN may not see it",
    429: "the Hub asks to slow down; try again later",
}


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


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder to a repository in one commit; earlier files under `data/` are deleted.

    Args:
        folder: The folder to upload.
        repository: `ORG/NAME`; created if it does not exist.
        private: The visibility of a created repository. An existing one keeps its visibility.

    Returns:
        The URL of the repository.

    Raises:
        DatasetError: The Hub rejects the upload or cannot be reached.
    """
    api = HfApi(token=token())
    try:
        url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            # An earlier export can have files with other names.
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
    if status in _STATUS_MESSAGES:
        return _STATUS_MESSAGES[status]
    return str(error).strip().partition("\n")[0] or type(error).__name__
