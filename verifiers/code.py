"""Programs and code blocks, run in a sandbox against their tests and assertions.

Answers: the program is run against the tests that the reference of the problem contains (see
`code_sandbox.reference_tests` for their formats). Correct when every test passes. Incorrect when an
assertion of the tests fails, when a script prints an unexpected output, and when the program raises
an exception that only its own mistake can cause (of an index, a key, a type, a value). The tests
run in another process than the program, and only plain data crosses between the two (see
`code_sandbox.program_tests`), so a program cannot pass a test by changing its own process.
`Finding.parts` has a verdict for every single test (see `code_sandbox.single_tests`). The first
test that does not pass decides the verdict on the program; the tests after it are run within the
same limits of time, and those that are not reached are unknown.

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
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
# More verdicts per program would be a table of their own. They are then left out.
MAX_PARTS = 1_000
# A step with one of these words may show an assertion because it fails.
EXPECTED_FAILURE = re.compile(
    r"\b(?:fail\w*|bug\w*|wrong\w*|incorrect\w*|mistake\w*|errors?|breaks?|broken|counterexample"
    r"|rais(?:es?|ed|ing)|not (?:hold|work|pass|true))\b",
    re.IGNORECASE,
)
# The initials of verdicts, by which the sandbox reports many of them in a short text.
VERDICT_OF: Mapping[str, Verdict] = {verdict[0]: verdict for verdict in Verdict}

Report = Sequence[Any]
"""The result of a role, or a list of one reason why there is none."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Runs a program against its tests, or a step's code blocks against their own assertions."""

    version: ClassVar[int] = 2
    deadline: ClassVar[float] = WALL_SECONDS + OVERHEAD_SECONDS
    # The blocks of all earlier steps are run.
    context_steps: ClassVar[int] = MAX_CHARS
    context_chars: ClassVar[int] = MAX_CHARS

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
    if claim.omitted > 0 or previous_chars + len(claim.step) > MAX_CHARS:
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
        finding = _reported_finding(sandbox, process)
    if finding.verdict is Verdict.INCORRECT:
        if EXPECTED_FAILURE.search(claim.step):
            return _unknown(f"the step expects a failure: {finding.reason}")
        return replace(finding, rule="assertion")
    return finding


def _verify_reference(tests: AssertionTests | OutputTests) -> Finding:
    if isinstance(tests, OutputTests):
        return Finding(verdict=Verdict.CORRECT, reason=str(len(tests.pairs)))
    with Sandbox() as sandbox:
        process = sandbox.start("check_tests", {"tests": tests.code})
        return _reported_finding(sandbox, process)


def _run_tests(program: str, tests: AssertionTests) -> Finding:
    """Run the program against its tests until one fails, and then against every single test.

    The first run decides the verdict, so that no test after a failed one can change it.
    """
    with Sandbox() as sandbox:
        program_process, tests_process = _start_tests(sandbox, program, tests, "run_tests")
        finding = _reported_finding(sandbox, tests_process)
        progress = _Progress.of(tests_process)
        if finding.reason == PROGRAM_ENDED:
            # The report of the program's process explains why it ended.
            timeout = sandbox.wait(program_process)
            finding = _unknown(timeout or _failure_reason(program_process.report()))
        elif finding.verdict is Verdict.INCORRECT:
            timeout = sandbox.wait(program_process)
            refusal = timeout or _refusal(program_process.report())
            if refusal:
                finding = _unknown(refusal)
        parts = progress.parts(finding.verdict)
        if progress.can_continue and len(parts) > max(1, progress.passed + 1):
            # The verdicts on the tests up to the failed one are those of the first run.
            start = progress.passed + 1
            parts = parts[:start] + _every_test(sandbox, program, tests, len(parts))[start:]
        return replace(finding, parts=parts)


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a run of the tests came: a report of the sandbox, which is untrusted."""

    count: int = 0
    passed: int = -1
    """The number of tests before the failed one; -1 if the failure is outside of the tests."""
    can_continue: bool = False

    @classmethod
    def of(cls, process: SandboxProcess) -> "_Progress":
        """Return the progress in the report of `run_tests`; no tests if it cannot be read."""
        if process.process.poll() is None:
            return cls()
        match process.report():
            case [_, _, int(count), int(passed), bool(can_continue)] if -1 <= passed <= count:
                # Code without single tests is one test.
                return cls(max(count, 1), passed, can_continue)
        return cls()

    def parts(self, verdict: Verdict) -> tuple[Verdict, ...]:
        """Return the verdicts on the tests of a run that ended at its first failure."""
        if self.count > MAX_PARTS:
            return ()
        if verdict is Verdict.CORRECT:
            return (verdict,) * self.count
        parts = [Verdict.CORRECT] * self.passed
        if self.count == 1 or (self.can_continue and self.passed >= 0):
            parts.append(verdict)
        # The tests after the failed one were not reached.
        parts += [Verdict.UNKNOWN] * (self.count - len(parts))
        return tuple(parts[: self.count])


def _start_tests(
    sandbox: Sandbox, program: str, tests: AssertionTests, role: str
) -> tuple[SandboxProcess, SandboxProcess]:
    """Start the program and its tests in two processes that are connected by two pipes."""
    with ExitStack() as pipes:
        requests_in, requests_out = _open_pipe(pipes)
        replies_in, replies_out = _open_pipe(pipes)
        program_process = sandbox.start(
            "serve_program", {"code": program}, writes=True, pipes=(requests_in, replies_out)
        )
        tests_process = sandbox.start(
            role,
            {"tests": tests.code, "entry": tests.entry, "starts": tests.starts},
            pipes=(requests_out, replies_in),
        )
        # Only the two processes keep the ends open: when one of them ends, the other one must not
        # wait for it.
    return program_process, tests_process


def _every_test(
    sandbox: Sandbox, program: str, tests: AssertionTests, count: int
) -> tuple[Verdict, ...]:
    """Return the verdicts on all single tests, unknown if the processes do not report them."""
    program_process, tests_process = _start_tests(sandbox, program, tests, "run_every_test")
    unknown = (Verdict.UNKNOWN,) * count
    if sandbox.wait(tests_process):
        return unknown
    match tests_process.report():
        case [str(initials)] if len(initials) == count and set(initials) <= VERDICT_OF.keys():
            parts = tuple(VERDICT_OF[initial] for initial in initials)
        case _:
            return unknown
    if sandbox.wait(program_process) or _refusal(program_process.report()):
        # As for the verdict: a program may fail only because the sandbox refused a request.
        return tuple(_unknown_if_incorrect(part) for part in parts)
    return parts


def _unknown_if_incorrect(verdict: Verdict) -> Verdict:
    return Verdict.UNKNOWN if verdict is Verdict.INCORRECT else verdict


def _compare_outputs(program: str, tests: OutputTests) -> Finding:
    """Run the program once per input, in separate processes.

    The first output that does not match decides the verdict. The inputs after it are run too, until
    a run exceeds a limit: others would probably exceed it as well.
    """
    first_failure: Finding | None = None
    parts = list[Verdict]()
    with Sandbox() as sandbox:
        for number, (stdin_text, expected) in enumerate(tests.pairs, start=1):
            process = sandbox.start(
                "run_script", {"code": program}, writes=True, stdin_text=stdin_text
            )
            finding = _judge_script(sandbox, process, number, expected)
            parts.append(finding.verdict)
            if finding.verdict is not Verdict.CORRECT and first_failure is None:
                first_failure = finding
            if not _has_ended(process):
                break
    # The inputs that were not reached.
    parts += [Verdict.UNKNOWN] * (len(tests.pairs) - len(parts))
    if first_failure is not None:
        return replace(first_failure, parts=tuple(parts))
    reason = f"tests passed: {len(tests.pairs)}"
    return Finding(verdict=Verdict.CORRECT, reason=reason, parts=tuple(parts))


def _has_ended(process: SandboxProcess) -> bool:
    """Return whether a script ended without exceeding a limit, if only with an exception."""
    if process.process.poll() is None:
        return False
    match process.report():
        case [[*_], [*_]]:
            return True
    return False


def _judge_script(sandbox: Sandbox, process: SandboxProcess, number: int, expected: str) -> Finding:
    """Return the finding on a script's run on input `number`."""
    timeout = sandbox.wait(process)
    if timeout:
        return _unknown(timeout)
    report = process.report()
    verdict, reason = _judge_run(report, process.output(), expected)
    if verdict is Verdict.INCORRECT:
        refusal = _refusal(report)
        if refusal:
            return _unknown(refusal)
    return Finding(verdict=verdict, reason=f"input {number}: {reason}")


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
        case [str(verdict), str(reason), *_] if verdict in set(Verdict):
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
