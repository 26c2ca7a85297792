"""The entry point of the command line: `stepmark`, or `python -m pipelines`."""

import io
import os
import signal
import sys
import warnings
from pathlib import Path

from pipelines.cli.environment_guard import check_names
from pipelines.stop_signals import StoppedError
from pipelines.terminal import show_engine_warnings
from stepmark.errors import EngineError, UserError
from stepmark.visible_text import one_line

__all__ = ["main"]

# The exit status of an error that the user can fix; the same as for a wrong command line.
USER_ERROR = 2
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


def main() -> None:
    """Run a command. An error that the user can fix is one line on stderr and exit status 2."""
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
    try:
        check_names()
        # Imported after the environment variables are set and the names are checked.
        from pipelines.cli.app import app

        app(prog_name="stepmark")
    except (UserError, EngineError) as error:
        print(f"stepmark: {one_line(str(error))}", file=sys.stderr)  # noqa: T201
        raise SystemExit(USER_ERROR) from None
    except KeyboardInterrupt:
        raise SystemExit(SIGNAL_STATUS + signal.SIGINT) from None
    except StoppedError as stopped:
        raise SystemExit(SIGNAL_STATUS + stopped.number) from None


def _replace_closed_streams() -> None:
    """Discard output for which the command got no stream (`>&-`), so that it can be written."""
    null = Path(os.devnull)
    if sys.stdout is None:
        sys.stdout = null.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = null.open("w", encoding="utf-8")


if __name__ == "__main__":
    main()
