"""The entry point of the command line: `stepmark`, or `python -m pipelines`.

This module imports the others when Ctrl-C cannot interrupt an import: that prints a traceback.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

__all__ = ["main"]

# The exit status of an error that the user can fix; the same as for a wrong command line.
USER_ERROR = 2
WRITE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# As the library of the command line does.
CLOSED_PIPE = 1
# Added to the number of a signal, as shells do.
SIGNAL_STATUS = 128
# Defaults for Prefect and the model libraries, which read them when they are imported: no
# telemetry, no downloads in the background, and no tracebacks for errors printed as one line.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
# The matrices of this process are small: with more threads, NumPy would only spin on cores that an
# engine needs.
FRUGAL = {"OPENBLAS_NUM_THREADS": "1"}


Handler = Callable[[int, FrameType | None], Any]


def main() -> None:
    """Run a command. An error that the user can fix is one line on stderr and exit status 2."""
    _replace_handler(signal.default_int_handler, _exit_at_once)
    try:
        with _errors_as_lines():
            app = _load_app()
    finally:
        _replace_handler(_exit_at_once, signal.default_int_handler)
    with _errors_as_lines():
        try:
            app()
        finally:
            # At exit, Python would print a traceback if the rest of the output cannot be written.
            sys.stdout.flush()


def _load_app() -> Callable[[], None]:
    """Import the application, and return what runs it."""
    import io
    import warnings

    from pipelines.cli.environment_guard import check_names
    from pipelines.terminal import show_engine_warnings

    for name, value in (QUIET | FRUGAL).items():
        os.environ.setdefault(name, value)
    # Prefect works without its home directory, which may be on a read-only file system.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
    show_engine_warnings()
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # On a terminal that is not UTF-8, print unsupported characters as escapes.
            stream.reconfigure(errors="backslashreplace")
    check_names()
    # Imported after the environment variables are set and the names are checked.
    from pipelines.cli.app import app

    return lambda: app(prog_name="stepmark")


@contextlib.contextmanager
def _errors_as_lines() -> Iterator[None]:
    """End the command with one line and an exit status at an error that the user can fix."""
    from pipelines.stop_signals import StoppedError
    from stepmark.errors import EngineError, UserError

    try:
        yield
    except (UserError, EngineError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(SIGNAL_STATUS + signal.SIGINT) from None
    except StoppedError as stopped:
        raise SystemExit(SIGNAL_STATUS + stopped.number) from None
    except BrokenPipeError:
        # The reader, such as `head`, has read enough.
        _discard_output()
        raise SystemExit(CLOSED_PIPE) from None
    except OSError as error:
        # A full disk, a folder without permission, and other matters of the machine.
        _discard_output()
        if error.filename is not None:
            _fail(f"{error.filename}: {error.strerror}")
        if error.errno in WRITE_ERRORS:
            # Errors of files have their names.
            _fail(f"the output cannot be written: {error.strerror}")
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    from stepmark.visible_text import one_line

    # Standard error may be a file on a full disk, too.
    with contextlib.suppress(OSError):
        print(f"stepmark: {one_line(message)}", file=sys.stderr)  # noqa: T201
    raise SystemExit(USER_ERROR) from None


def _discard_output() -> None:
    """Discard the output that cannot be written: Python would try again when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _replace_handler(expected: Handler, handler: Handler) -> None:
    """Replace the handler of Ctrl-C, if it is the expected one.

    It is another one if the process ignores Ctrl-C, or if another program has called `main`.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_main_thread and signal.getsignal(signal.SIGINT) is expected:
        signal.signal(signal.SIGINT, handler)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    # An exception could be raised, and printed, anywhere in an import. Nothing is to be stored yet.
    os._exit(SIGNAL_STATUS + number)


def _replace_closed_streams() -> None:
    """Discard output for which the command got no stream (`>&-`), so that it can be written."""
    null = Path(os.devnull)
    if sys.stdout is None:
        sys.stdout = null.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = null.open("w", encoding="utf-8")


if __name__ == "__main__":
    main()
