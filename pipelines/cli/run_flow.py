"""Execution of a run file, for the commands `run` and `label`."""

import asyncio
import contextlib
import gc
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli.tables import print_summary
from pipelines.run.options import RunOptions
from pipelines.stop_signals import StoppedError, run_until_stopped, stop_signals_raise
from pipelines.terminal import is_writable
from stepmark.errors import ReplacesError
from stepmark.secrets import without_secrets
from stepmark.visible_text import one_line, visible

if TYPE_CHECKING:
    from pipelines.run.job import Job

__all__ = ["run_flow"]

# A budget ended the run, or a method failed on too many traces.
INCOMPLETE_STATUS = 1
# Long enough for a reader that is only slow.
STOPPED_LINE_SECONDS = 5.0


def run_flow(
    run_file: str,
    overrides: Sequence[str],
    options: RunOptions,
    *,
    makes_traces: bool,
    day: str | None = None,
) -> None:
    """Prepare a run file, run its stages, and print the summary.

    On a terminal, ask before traces are replaced by other ones.

    Args:
        run_file: The path of the run file.
        overrides: Assignments that override keys of the run file.
        options: The options of the command.
        makes_traces: Whether to make traces, or to label those that exist.
        day: The date that replaces `{date}` in the run file; today by default.

    Raises:
        ReplacesError: Traces would be replaced, and neither `recompute` nor the user allowed it.
        SystemExit: The run has used its budget, or a method failed on a larger share of the traces
            than the run file allows.
    """
    with stop_signals_raise():
        try:
            _run(run_file, overrides, options, makes_traces=makes_traces, day=day)
        except ReplacesError as error:
            if not sys.stdin.isatty() or not _is_confirmed(f"{error}\nReplace them now?"):
                raise
            options = replace(options, recompute=True)
            _run(run_file, overrides, options, makes_traces=makes_traces, day=day)


def _is_confirmed(question: str) -> bool:
    """Ask a question on the terminal. Ctrl-C interrupts the command, unlike in `typer.confirm`."""
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _run(
    run_file: str,
    overrides: Sequence[str],
    options: RunOptions,
    *,
    makes_traces: bool,
    day: str | None,
) -> None:
    # Imported late: other commands, and the check of the run file, need none of these.
    from pipelines.run.config import load
    from pipelines.run.run_date import parse_date

    settings = load(Path(run_file), overrides, day=parse_date(day) if day else None)
    # The rest of the preparation takes a second, or longer with a large model.
    command = "run" if makes_traces else "label"
    line = f"{command} {run_file} into {without_secrets(settings.dataset)}"
    if options.slice is not None:
        line += f", shards {options.slice}"
    # The run is worth more than its output, which is written again at the end.
    with contextlib.suppress(OSError):
        print(one_line(line), flush=True)  # noqa: T201
    from pipelines.run.code_folder import code_folder_of
    from pipelines.run.preparation import prepare

    job = prepare(
        settings,
        options,
        run_file=run_file,
        makes_traces=makes_traces,
        code_folder=code_folder_of(Path(run_file)),
    )
    try:
        rows = _perform(job, run_file, overrides, makes_traces=makes_traces)
    except (KeyboardInterrupt, StoppedError) as stopped:
        _print_stopped_line(job, stopped)
        raise
    print_summary(job.dataset.uri, rows)
    if job.meter.stopped:
        raise SystemExit(INCOMPLETE_STATUS)
    if options.slice is not None:
        # The command for the whole dataset also checks the share of failures.
        shown = _arguments(run_file, overrides, day)
        print(f"next: when all slices are made: stepmark {command} {shown}")  # noqa: T201
        return
    _print_next_commands(job)
    _exit_if_methods_failed(job)


def _arguments(run_file: str, overrides: Sequence[str], day: str | None) -> str:
    """Return the arguments that name the same dataset and settings, without secrets."""
    from pipelines.run.config import public_override

    words = [run_file]
    for override in overrides:
        words += ["--set", public_override(override)]
    if day is not None:
        words += ["--date", day]
    return " ".join(shlex.quote(visible(word)) for word in words)


def _perform(
    job: "Job", run_file: str, overrides: Sequence[str], *, makes_traces: bool
) -> Sequence[Mapping[str, str]]:
    """Run the stages, in a Prefect flow if a server is configured; return the summary's rows."""
    from pipelines.run.prefect_server import configured_url, reachable_server

    url = configured_url()
    if url is None:
        from pipelines.run.execution import run_without_server

        return run_until_stopped(run_without_server(job, makes_traces=makes_traces))
    with reachable_server(url):
        from prefect.exceptions import Pause, TerminationSignal

        from pipelines.run import flow
        from pipelines.run.config import public_override

        # Without this the interpreter takes seconds at exit to scan the objects that importing
        # Prefect has created.
        gc.freeze()
        # Prefect stores and displays the parameters of a flow; the prepared job has the values.
        shown = [public_override(override) for override in overrides]
        try:
            return asyncio.run(flow.perform(job, run_file, shown, makes_traces=makes_traces))
        except TerminationSignal as terminated:
            raise StoppedError(terminated.signal) from None
        except Pause:
            raise StoppedError.of_server("a pause in Prefect") from None


def _print_stopped_line(job: "Job", stopped: BaseException) -> None:
    from pipelines.run.batches import open_batches

    name = str(stopped) if isinstance(stopped, StoppedError) else "Ctrl-C"
    batches = open_batches(job.dataset)
    in_batches = ""
    if batches:
        in_batches = (
            f"; batches at the provider ({batches}) go on, and the same command collects their"
            " answers"
        )
    line = (
        f"stepmark: stopped by {name}: finished parts and all completions"
        f" ({job.meter.generated_tokens} generated tokens of this run) are stored in"
        f" {visible(job.dataset.uri)}; run the same command again to go on{in_batches}"
    )
    # The terminal may be closed, or paused.
    with contextlib.suppress(OSError):
        if is_writable(sys.stderr, STOPPED_LINE_SECONDS):
            print(line, file=sys.stderr)  # noqa: T201


def _print_next_commands(job: "Job") -> None:
    """Print what can be done with the dataset now."""
    dataset = shlex.quote(visible(job.dataset.uri))
    lines = [f'stepmark sql "SELECT method, count(*) FROM annotations GROUP BY 1" -d {dataset}']
    if job.plan.labeler is not None:
        lines.append(f"stepmark export trl -d {dataset} --to FOLDER")
    for index, line in enumerate(lines):
        start = "next: " if index == 0 else "      "
        print(f"{start}{line}")  # noqa: T201


def _exit_if_methods_failed(job: "Job") -> None:
    """End the command with a line and an exit status if methods failed on too many traces."""
    from pipelines.run.summary import failed_methods

    allowed = job.plan.run_file.limits.failed_share
    failed = failed_methods(job.dataset, list(job.plan.annotators), allowed)
    if not failed:
        return
    listing = ", ".join(f"{method} on {100 * share:.3g}%" for method, share in failed.items())
    line = (
        f"stepmark: methods failed on more than {100 * allowed:g}% of the traces"
        f" (limits.failed_share): {visible(listing)}; `--retry-failed` repeats them"
    )
    print(line, file=sys.stderr)  # noqa: T201
    raise SystemExit(INCOMPLETE_STATUS)
