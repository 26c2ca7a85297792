"""Plugins in files of the user: a path that ends in `.py`, in place of an id.

Loading a plugin file executes it. Callers therefore pass the folder from which paths start only
where the user has named the file, or the run file that names it; see `docs/security.md`.
"""

import hashlib
import importlib.util
import re
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from stepmark.errors import InstallError, PluginError

__all__ = ["ID", "content_digest_of", "file_plugin_of", "id_of", "is_file", "load_module"]

ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""An id of a plugin."""
SUFFIX = ".py"
# The modules of plugin files are stepmark_files.KIND.DIGEST_OF_PATH.DIGEST_OF_CONTENT.ID: an edited
# file is another module, and two files never share one.
PACKAGE = "stepmark_files"
MODULE = re.compile(rf"{PACKAGE}\.([a-z.]+)\.[0-9a-f]+\.([0-9a-f]+)\.({ID.pattern})")
DIGEST_BYTES = 8
# Characters of a path or an error that a message quotes.
QUOTED_CHARACTERS = 200


def is_file(use: str) -> bool:
    """Return whether the value of `use` is a path of a file, and not an id."""
    return use.endswith(SUFFIX)


def id_of(use: str) -> str:
    """Return the id of the plugin that a value of `use` names: a file has its name as id.

    >>> id_of("my/outcome.py"), id_of("judge")
    ('outcome', 'judge')
    """
    return Path(use).stem if is_file(use) else use


def file_plugin_of(module_name: str) -> tuple[str, str] | None:
    """Return the kind and id of the plugin file that became a module; None for other modules."""
    match = MODULE.fullmatch(module_name)
    return (match[1], match[3]) if match else None


def content_digest_of(plugin: type) -> str:
    """Return the digest of the file that a plugin class was loaded from; "" for other classes."""
    match = MODULE.fullmatch(plugin.__module__)
    return match[2] if match else ""


def load_module(kind: str, path: Path) -> ModuleType:
    """Execute a plugin file and return its module. The same content is executed once.

    Raises:
        PluginError: The file cannot be read, has a name that is no id, or fails.
        InstallError: It imports a package that is not installed.
    """
    if not ID.fullmatch(path.stem) or path.stem == "base":
        raise PluginError(
            f"the name of a plugin file is its id: '{_short(path.name)}' needs small letters, "
            "digits and _, a letter first, and is not base.py"
        )
    try:
        if not path.is_file():
            raise PluginError(f"there is no plugin file {_short(str(path))} on this machine")
        content = path.read_bytes()
    # A path with a NUL is a ValueError.
    except (OSError, ValueError) as error:
        raise PluginError(f"cannot read the plugin file {_short(str(path))}: {error}") from error
    name = _module_name(kind, path, content)
    if name not in sys.modules:
        _execute(name, path, content)
    return sys.modules[name]


def _module_name(kind: str, path: Path, content: bytes) -> str:
    path_digest = _digest(str(path.resolve()).encode("utf-8", "surrogateescape"))
    return f"{PACKAGE}.{kind}.{path_digest}.{_digest(content)}.{path.stem}"


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


class _Loader(SourceFileLoader):
    """A loader of the content that was read.

    The usual loader would read the file again, or bytecode whose time stamp can hide an edit.
    """

    def __init__(self, name: str, path: Path, content: bytes) -> None:
        super().__init__(name, str(path))
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled content."""
        del fullname
        code: CodeType = self.source_to_code(self._content, self.path)
        return code


def _execute(name: str, path: Path, content: bytes) -> None:
    spec = importlib.util.spec_from_loader(name, _Loader(name, path, content))
    assert spec is not None, "a loader was given"
    assert spec.loader is not None, "a loader was given"
    module = importlib.util.module_from_spec(spec)
    # Dataclasses find the names in their annotations through this entry.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise InstallError(
            f"{_short(str(path))} needs the package '{error.name}', which is not installed"
        ) from error
    # `sys.exit` in a script would end the command without a word.
    except (Exception, SystemExit) as error:  # the file can raise anything
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{_place(error, path)}: {_short(reason)}") from error


def _place(error: BaseException, path: Path) -> str:
    """Return the file, with the number of the line that failed."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    return f"{_short(str(path))}:{line}" if line is not None else _short(str(path))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= QUOTED_CHARACTERS else f"…{line[-QUOTED_CHARACTERS:]}"
