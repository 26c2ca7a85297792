"""The addresses of servers: those of a run file, or of a text file that may change during a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stepmark.errors import ConfigError
from stepmark.secrets import public_address

__all__ = ["ServerList", "check_url", "read_urls"]

CURE = "write it as http://127.0.0.1:8000/v1"

Signature = tuple[int, int, int]
"""The inode, the time of the last change and the size of a file."""


@dataclass(kw_only=True)
class ServerList:
    """The addresses of a file, read again when it changes.

    Args:
        path: The file.
        report: Tells the user why the file cannot be read; the last list is used then.
    """

    path: Path
    report: Callable[[str], None]
    _urls: Sequence[str] = ()
    _signature: Signature | None = None
    _reported: set[str] = field(default_factory=set)

    def urls(self) -> Sequence[str]:
        """Return the addresses that the file has now."""
        try:
            status = self.path.stat()
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            if signature != self._signature:
                self._urls = read_urls(self.path)
                self._signature = signature
        except (OSError, ConfigError) as error:
            # An editor may be writing it: the next look reads it again.
            message = f"the list of servers is not read again: {error}"
            if message not in self._reported:
                self._reported.add(message)
                self.report(message)
        return self._urls


def read_urls(path: Path) -> Sequence[str]:
    """Return the addresses in a file: one per line, without empty lines and comments (`#`).

    Raises:
        ConfigError: The file cannot be read, or a line is no address.
    """
    try:
        # Some editors write a byte order mark.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"engines.openai: base_urls_file {path} cannot be read: {error}"
        ) from error
    urls: list[str] = []
    for number, line in enumerate(lines, start=1):
        url = line.partition("#")[0].strip()
        if url and not _is_usable_url(url):
            # Not quoted: it can be a key, or the part of a password.
            raise ConfigError(
                f"engines.openai: line {number} of base_urls_file {path} is no address; {CURE}"
            )
        if url and url not in urls:
            urls.append(url)
    return urls


def check_url(url: str) -> None:
    """Check an address in `base_urls`.

    Raises:
        ConfigError: It is none.
    """
    if not _is_usable_url(url):
        raise ConfigError(
            f"engines.openai: {public_address(url)!r} in base_urls is no address; {CURE}"
        )


def _is_usable_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # unbalanced brackets, or a port that is too large
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    return port != 0 and url.isprintable() and " " not in url
