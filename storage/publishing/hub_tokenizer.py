"""The files of a tokenizer in a model repository of the Hugging Face Hub."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging as client_logging

from stepmark.errors import ConfigError
from stepmark.secrets import redact_urls
from stepmark.visible_text import one_line

__all__ = ["tokenizer_folder"]

TOKENIZER = "tokenizer.json"
OTHER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
# No part of the name begins with a dot, so that `..` is not accepted.
_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?", re.ASCII)


def tokenizer_folder(name_or_folder: str) -> Path:
    """Return the folder of a tokenizer, which is downloaded if it is none of this machine.

    Only the files of the tokenizer and its chat template are downloaded, to the cache of the Hub's
    client. The token is read from HF_TOKEN.

    Raises:
        ConfigError: There is neither such a folder nor such a repository with a `tokenizer.json`,
            or the Hub cannot be reached.
    """
    try:
        folder = Path(name_or_folder).expanduser()
        if folder.is_dir():
            return folder
    # There is no user of this name, or the path is too long.
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"there is no folder {name_or_folder} with a tokenizer") from error
    if not _NAME.fullmatch(name_or_folder):
        raise ConfigError(f"there is no folder {name_or_folder} with a tokenizer")
    path = _download(name_or_folder, TOKENIZER)
    if path is None:
        raise ConfigError(
            f"{name_or_folder} is no folder, and its repository on the Hub has no {TOKENIZER}:"
            " name a folder that has one"
        )
    for name in OTHER_FILES:
        _download(name_or_folder, name)
    return path.parent


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Hide the warnings of the client, which logs each repetition before the error."""
    level = client_logging.get_verbosity()
    client_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        client_logging.set_verbosity(level)


def _download(repository: str, name: str) -> Path | None:
    """Return the path of a file in the cache; None if the repository does not have it."""
    token = os.environ.get("HF_TOKEN", "").strip()
    try:
        with _quiet_client():
            return Path(hf_hub_download(repository, name, token=token or False))
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"there is no folder {repository}, and no such repository on the Hub that HF_TOKEN may"
            " read"
        ) from error
    except LocalEntryNotFoundError as error:
        # Without a connection nobody knows whether a file that is not cached exists.
        if name != TOKENIZER:
            return None
        raise ConfigError(
            f"there is no folder {repository}, and the Hub cannot be reached to download the"
            " tokenizer of that name: name a folder with its tokenizer.json"
        ) from error
    except EntryNotFoundError:
        return None
    except (HTTPError, OSError, ValueError) as error:
        raise ConfigError(
            f"cannot download the tokenizer {repository}: {one_line(redact_urls(str(error)))}"
        ) from error
