"""The command line: `stepmark`, or `python -m pipelines`."""

import io
import os
import sys
import warnings

from pipelines.cli.environment_guard import check_names
from pipelines.terminal import visible
from stepmark.errors import EngineError, UserError

__all__ = ["main"]

USER_ERROR = 2
INTERRUPTED, TERMINATED = 130, 143
# Set before Prefect and the model libraries are imported, and only where the user has not: no telemetry, no network of their own, and
# no tracebacks on the terminal for what is told in one line.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
FRUGAL = {"OPENBLAS_NUM_THREADS": "1"}
"""Our matrices are small: numpy's threads would spin on the cores that an engine needs, and bring nothing."""


def main() -> None:
    """Run a command; what the user can mend is one line and exit status 2."""
    for name, value in (QUIET | FRUGAL).items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings(
        "ignore", message="Failed to create the Prefect home directory"
    )  # it works without one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a terminal of another encoding shows what it has no sign for as its number
            stream.reconfigure(errors="backslashreplace")
    try:
        check_names()
        from pipelines.cli.commands import app

        app(prog_name="stepmark")
    except (UserError, EngineError) as error:
        print(f"stepmark: {visible(' '.join(str(error).split()))}", file=sys.stderr)  # noqa: T201
        raise SystemExit(USER_ERROR) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BaseException as error:
        if (
            type(error).__name__ == "TerminationSignal"
        ):  # Prefect's, which is not imported for its name alone
            raise SystemExit(TERMINATED) from None
        raise


if __name__ == "__main__":
    main()
