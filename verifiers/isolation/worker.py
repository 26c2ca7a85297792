"""The process behind `Isolated`: reads claims, decides them, writes the findings, and may be killed at any moment.

A request is a pickled count and as many pickled `(verifier id, claim)`. The reply is the line `ready` once the plugins are loaded, then
one line of JSON per claim, written as soon as it is decided: when the process dies, the first claim without a line is the one it died of.
Findings come back as JSON, so that a process gone astray can say nothing that the parent would execute.

The process ends when its input ends. A claim that takes longer than the deadline, even in C code, ends it too: the timer's signal has
no handler, only its default action, which is to kill.
"""

import contextlib
import json
import os
import pickle
import signal
import sys
from typing import BinaryIO, TextIO

from stepmark import plugins
from stepmark.errors import UserError
from stepmark.records import Verdict
from verifiers.base import Claim, Finding, Verifier

__all__ = ["main"]

Job = tuple[str, Claim]
MAX_REASON_CHARS = 2_000


def main() -> None:
    """Serve standard input until it ends; the arguments are the deadline in seconds and the memory limit in bytes."""
    deadline, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    requests, replies = _take_over_standard_streams()
    _limit_memory(memory_bytes)
    with requests, replies:
        _serve(requests, replies, deadline)


def _take_over_standard_streams() -> tuple[BinaryIO, TextIO]:
    """Keep the two pipes to ourselves: a verifier that prints writes to standard error, one that reads gets nothing."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _limit_memory(limit_bytes: int) -> None:
    """Cap the address space; platforms that cannot (Windows, macOS) run without the cap."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _serve(requests: BinaryIO, replies: TextIO, deadline: float) -> None:
    loaded: dict[str, Verifier | str] = {}
    while (jobs := _next_jobs(requests)) is not None:
        for verifier_id, _ in jobs:
            if verifier_id not in loaded:
                loaded[verifier_id] = _load(verifier_id)
        print("ready", file=replies, flush=True)
        for verifier_id, claim in jobs:
            _set_timer(max(deadline, getattr(loaded[verifier_id], "deadline", 0.0)))
            finding = _decide(loaded[verifier_id], claim)
            print(
                json.dumps([finding.verdict, finding.reason[:MAX_REASON_CHARS]]),
                file=replies,
                flush=True,
            )
        _set_timer(0)


def _next_jobs(requests: BinaryIO) -> list[Job] | None:
    try:
        return [pickle.load(requests) for _ in range(pickle.load(requests))]
    except EOFError:
        return None


def _set_timer(seconds: float) -> None:
    """Start the timer, or stop it with 0; Windows has none, there the parent's patience is the limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _load(verifier_id: str) -> Verifier | str:
    """The plugin as its defaults make it, or why there is none."""
    try:
        verifier: Verifier = plugins.load("verifiers", verifier_id)()
    except UserError as error:
        return str(error)
    return verifier


def _decide(verifier: Verifier | str, claim: Claim) -> Finding:
    if isinstance(verifier, str):
        return Finding(verdict=Verdict.UNKNOWN, reason=verifier)
    try:
        return verifier.verify(claim)
    except MemoryError:
        return Finding(verdict=Verdict.UNKNOWN, reason="out of memory")
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and a claim that breaks its decider is undecided
        return Finding(
            verdict=Verdict.UNKNOWN, reason=f"verifier failed: {type(error).__name__}: {error}"
        )


if __name__ == "__main__":
    main()
