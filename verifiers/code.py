"""Programs and code blocks, run in a sandbox against their tests and assertions.

Answers: the program is run against the tests that the reference of the problem contains (see
`code_sandbox.reference_tests` for their formats). Correct when every test passes. Incorrect when an
assertion of the tests fails, when a script prints an unexpected output, and when the program raises
an exception that only its own mistake can cause (of an index, a key, a type, a value). The tests
run in another process than the program, and only plain data crosses between the two (see
`code_sandbox.program_tests`), so a program cannot pass a test by changing its own process.

Steps: the fenced Python blocks that end in the step are run after those of earlier steps, like the
cells of a notebook, and checked against their own assertions and doctest examples (see
`code_sandbox.step_blocks`). Correct when all of them were reached and hold, incorrect when one
fails. The verdict depends on nothing but the text of the blocks.

Unknown, with the reason, in all other cases:

- No block ends in the step, or nothing is asserted.
- The code does not parse, or raises another exception.
- The program exits, or exceeds its limit of time or memory.
- The program returns data that is not plain (instances of classes that it defines, generators,
  functions).
- The difference may be rounding.

The sandbox combines Landlock (files), seccomp (network, processes, signals and other system calls),
limits of time, memory and file sizes, an empty environment and a temporary folder. It needs Linux
on x86-64 or ARM 64. Where the kernel does not offer both, no code is run and the finding says so.
Code in the sandbox can still read the libraries of Python and of the system, find out whether a
file exists, use its CPU time and memory, and start threads.

What is not covered:

- Packages beyond the standard library.
- Files, processes, asyncio, and other languages.
- Tests that inspect instances of classes that the program defines.
- A program that was written to pass exactly these tests.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

from stepmark.code_blocks import Block, python_blocks
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim, StepClaim
from verifiers.code_sandbox.exception_origin import builtin_exception, is_program_error
from verifiers.code_sandbox.output_comparison import compare_output
from verifiers.code_sandbox.program_tests import PROGRAM_ENDED
from verifiers.code_sandbox.reference_tests import (
    AssertionTests,
    OutputTests,
    UnusableTestsError,
    parse_tests,
)
from verifiers.code_sandbox.sandbox import WALL_SECONDS, Sandbox, SandboxProcess

__all__ = ["Code"]

MAX_CHARS = 200_000
# Time to start and to end the processes, in addition to the wall time of the sandbox.
OVERHEAD_SECONDS = 2.0

Report = Sequence[Any]
"""The result of a role, or a list of one reason why there is none."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Runs a program against its tests, or a step's code blocks against their own assertions."""

    version: ClassVar[int] = 1
    deadline: ClassVar[float] = WALL_SECONDS + OVERHEAD_SECONDS

    def verify(self, claim: Claim) -> Finding:
        """Run the code of a claim. The tests of a `ReferenceClaim` are parsed and not run."""
        if isinstance(claim, StepClaim):
            return _verify_step(claim)
        if isinstance(claim, AnswerClaim):
            answer = claim.answer
        elif isinstance(claim, ReferenceClaim):
            answer = ""
        else:
            return _unknown("neither a program nor a step")
        if len(claim.reference) > MAX_CHARS or len(answer) > MAX_CHARS:
            return _unknown("too long")
        try:
            tests = parse_tests(claim.reference)
        except UnusableTestsError as error:
            return _unknown(f"the reference: {error}")
        if isinstance(claim, ReferenceClaim):
            return _verify_reference(tests)
        if isinstance(tests, OutputTests):
            return _compare_outputs(answer, tests)
        return _run_tests(answer, tests)


def _verify_step(claim: StepClaim) -> Finding:
    previous_chars = sum(map(len, claim.previous))
    if previous_chars + len(claim.step) > MAX_CHARS:
        return _unknown("too long")
    blocks = list[Block]()
    checked = list[Block]()
    for block in python_blocks("".join((*claim.previous, claim.step))):
        # A block that does not name its language may be anything.
        if not block.named:
            continue
        blocks.append(block)
        # A step may be one line of a longer block. The block is checked in the step that closes it.
        if block.end > previous_chars:
            checked.append(block)
    if not checked:
        return _unknown("no block of Python ends in the step")
    if not any("assert" in block.code or ">>>" in block.code for block in checked):
        return _unknown("the block asserts nothing")
    job = {"blocks": [block.code for block in blocks], "count": len(checked)}
    with Sandbox() as sandbox:
        process = sandbox.start("run_blocks", job, writes=True)
        return _reported_finding(sandbox, process)


def _verify_reference(tests: AssertionTests | OutputTests) -> Finding:
    if isinstance(tests, OutputTests):
        return Finding(verdict=Verdict.CORRECT, reason=str(len(tests.pairs)))
    with Sandbox() as sandbox:
        process = sandbox.start("check_tests", {"tests": tests.code})
        return _reported_finding(sandbox, process)


def _run_tests(program: str, tests: AssertionTests) -> Finding:
    """Run the program and the tests in two processes that are connected by two pipes."""
    with Sandbox() as sandbox, ExitStack() as pipes:
        requests_in, requests_out = _open_pipe(pipes)
        replies_in, replies_out = _open_pipe(pipes)
        program_process = sandbox.start(
            "serve_program", {"code": program}, writes=True, pipes=(requests_in, replies_out)
        )
        tests_process = sandbox.start(
            "run_tests",
            {"tests": tests.code, "entry": tests.entry},
            pipes=(requests_out, replies_in),
        )
        # Only the two processes keep the ends open: when one of them ends, the other one must not
        # wait for it.
        pipes.close()
        finding = _reported_finding(sandbox, tests_process)
        if finding.reason == PROGRAM_ENDED:
            # The report of the program's process explains why it ended.
            timeout = sandbox.wait(program_process)
            return _unknown(timeout or _failure_reason(program_process.report()))
        if finding.verdict is Verdict.INCORRECT:
            timeout = sandbox.wait(program_process)
            refusal = timeout or _refusal(program_process.report())
            if refusal:
                return _unknown(refusal)
        return finding


def _compare_outputs(program: str, tests: OutputTests) -> Finding:
    """Run the program once per input, in separate processes, until one output does not match."""
    with Sandbox() as sandbox:
        for number, (stdin_text, expected) in enumerate(tests.pairs, start=1):
            process = sandbox.start(
                "run_script", {"code": program}, writes=True, stdin_text=stdin_text
            )
            timeout = sandbox.wait(process)
            if timeout:
                return _unknown(timeout)
            report = process.report()
            verdict, reason = _judge_run(report, process.output(), expected)
            if verdict is Verdict.INCORRECT:
                refusal = _refusal(report)
                if refusal:
                    return _unknown(refusal)
            if verdict is not Verdict.CORRECT:
                return Finding(verdict=verdict, reason=f"input {number}: {reason}")
    return Finding(verdict=Verdict.CORRECT, reason=f"tests passed: {len(tests.pairs)}")


def _open_pipe(pipes: ExitStack) -> tuple[int, int]:
    """Return the descriptors of the reading end and of the writing end."""
    ends = os.pipe()
    for end in ends:
        pipes.callback(os.close, end)
    return ends


def _reported_finding(sandbox: Sandbox, process: SandboxProcess) -> Finding:
    """Return the finding in a process's report. The report is untrusted and may be anything."""
    timeout = sandbox.wait(process)
    if timeout:
        return _unknown(timeout)
    match process.report():
        case [str(verdict), str(reason)] if verdict in set(Verdict):
            return Finding(verdict=Verdict(verdict), reason=reason)
        case report:
            return _unknown(_failure_reason(report))


def _judge_run(report: Report, output: str, expected: str) -> tuple[Verdict, str]:
    """Return the verdict on one run of a script, and its reason."""
    match report:
        case [["ended"], _]:
            return compare_output(output, expected), "the output differs"
        case [["raised", str(kind), str(text)], _]:
            verdict = Verdict.UNKNOWN
            if is_program_error(builtin_exception(kind)):
                verdict = Verdict.INCORRECT
            return verdict, f"raises {kind}: {text}"
        case [["left"], _]:
            return Verdict.UNKNOWN, "the program exits with an error"
    return Verdict.UNKNOWN, _failure_reason(report)


def _refusal(report: Report) -> str:
    """Return a reason to doubt the verdict: a request that the sandbox refused, or a bad report.

    Returns an empty text if there is none.
    """
    match report:
        case [_, [str(request), *_]]:
            return f"the sandbox refused {request}"
        case [_, []]:
            return ""
    return _failure_reason(report)


def _failure_reason(report: Report) -> str:
    """Return why a process did not write a complete report."""
    match report:
        case [str(reason)]:
            return reason
    return "the code reports nothing"


def _unknown(reason: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
