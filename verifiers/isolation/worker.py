"""The worker process of `VerifierPool`: read claims, decide them, write findings.

A request is a pickled count, followed by that many pickled pairs `(verifier id, claim)`. The reply
is the line `ready` once the plugins are loaded, followed by one line of JSON per claim. Each line
is written as soon as its claim is decided. When the process dies, the first claim without a line is
the one that killed it. Findings are JSON, so that a compromised worker cannot send anything that
the parent would execute.

The process ends when its input ends. It is also killed when a claim exceeds its deadline, even in C
code: the timer's signal has no handler, and its default action kills the process.
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

ClaimRequest = tuple[str, Claim]
"""A verifier id and a claim."""
# A reason may quote the claim; this bounds the line that the parent reads.
MAX_REASON_CHARS = 2_000


def main() -> None:
    """Serve standard input until it ends.

    The arguments of the process are the deadline in seconds and the memory limit in bytes.
    """
    deadline = float(sys.argv[1])
    memory_bytes = int(sys.argv[2])
    requests, replies = _take_standard_streams()
    _limit_memory(memory_bytes)
    # A killed parent reads no replies. The worker ends without a traceback on the terminal.
    with contextlib.suppress(BrokenPipeError), requests, replies:
        _serve(requests, replies, deadline)


def _take_standard_streams() -> tuple[BinaryIO, TextIO]:
    """Return the two pipes to the parent, and hide them from the verifiers.

    A verifier that prints writes to standard error, and one that reads its input gets nothing.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _limit_memory(limit_bytes: int) -> None:
    """Limit the address space. Windows and macOS cannot, and run without a limit."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _serve(requests: BinaryIO, replies: TextIO, deadline: float) -> None:
    loaded: dict[str, Verifier | str] = {}
    while (batch := _read_batch(requests)) is not None:
        for verifier_id, _ in batch:
            if verifier_id not in loaded:
                loaded[verifier_id] = _load(verifier_id)
        # Imports are not part of any claim's time, so the parent starts its own clock here.
        print("ready", file=replies, flush=True)
        for verifier_id, claim in batch:
            verifier = loaded[verifier_id]
            _set_timer(max(deadline, getattr(verifier, "deadline", 0.0)))
            finding = _decide(verifier, claim)
            print(json.dumps(_reply(finding)), file=replies, flush=True)
        _set_timer(0)


def _reply(finding: Finding) -> list[object]:
    """Return the fields of a finding in order, with a bound on the reason."""
    return [
        finding.verdict,
        finding.reason[:MAX_REASON_CHARS],
        finding.parts,
        finding.rule,
        finding.assumptions,
        finding.checked,
        finding.holding,
    ]


def _read_batch(requests: BinaryIO) -> list[ClaimRequest] | None:
    """Return the claims of the next request, or None at the end of the input."""
    try:
        count = pickle.load(requests)
        return [pickle.load(requests) for _ in range(count)]
    except (EOFError, pickle.UnpicklingError):
        return None  # the parent has ended, or was killed while it wrote


def _set_timer(seconds: float) -> None:
    """Start the timer, or stop it with 0. Windows has none; there the parent's timeout applies."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _load(verifier_id: str) -> Verifier | str:
    """Return the plugin with default parameters, or the reason why it cannot be loaded."""
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
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the claim is undecided
        reason = f"verifier failed: {type(error).__name__}: {error}"
        return Finding(verdict=Verdict.UNKNOWN, reason=reason)


if __name__ == "__main__":
    main()
