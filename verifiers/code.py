"""Whether code does what is asserted of it: it is run, in a process that can compute and do nothing else.

Answers: a program against the tests that are the problem's reference (see `_code.references` for their shapes). Correct when every test
passes. Incorrect when an assertion of the tests fails, when the program prints something else than it should, and when it raises what only
it can be blamed for (an index, a key, a type, a value). The tests run in another process than the program, and all that crosses between
the two is plain data (see `_code.examiner`), so that nothing that a program does to itself passes a test.

Steps: the fenced blocks of Python that end in the step, run after those of earlier steps as the cells of a notebook, and what they assert
themselves, in assertions or doctest examples (see `_code.notebook`). Correct when all were reached and hold; incorrect when one fails, and
nothing but the block's text decides that: no clock, no chance, no machine.

Unknown: all else, with the reason. No block, no assertion; code that does not parse or raises something else; a program that does not end
in its time, wants too much memory, ends itself, or answers what is no plain data (objects of its own classes, generators, functions); a
number that may be rounding.

The sandbox: Landlock (files), seccomp (network, processes, signals, all else), limits of time, memory and file sizes, an empty environment
and a temporary folder; Linux on x86-64 and ARM 64. Where the kernel does not offer both locks no code is run, and the finding says so. What
code can still do: read the libraries of Python and of the system, learn of a file whether it exists, use its CPU and memory, start threads.

What is not covered: packages beyond the standard library; files, processes, asyncio, other languages; tests that look at a program's own
objects; a program that was written for these very tests.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

from stepmark.code_blocks import Block, python_blocks
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim, StepClaim
from verifiers.code_sandbox.blame import exception, is_blamed
from verifiers.code_sandbox.examiner import ENDED
from verifiers.code_sandbox.printed import compared
from verifiers.code_sandbox.references import Assertions, Pairs, UnusableError, tests_of
from verifiers.code_sandbox.sandbox import WALL_SECONDS, Box, Sandbox

__all__ = ["Code"]

MAX_CHARS = 200_000
SEVERAL_SECONDS = 2.0
"""To start and to end the processes, beyond their own time."""
Report = Sequence[Any] | str
"""Of a process, or why there was none."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Runs a program against its tests, and a step's blocks for what they assert, in a sandbox."""

    version: ClassVar[int] = 1
    deadline: ClassVar[float] = WALL_SECONDS + SEVERAL_SECONDS

    def verify(self, claim: Claim) -> Finding:
        """Run what the claim holds; of a `ReferenceClaim`, correct when it has tests that parse, which are not run."""
        if isinstance(claim, StepClaim):
            return _of_step(claim)
        if not isinstance(claim, AnswerClaim | ReferenceClaim):
            return _unknown("neither a program nor a step")
        if (
            max(map(len, (claim.reference, claim.answer if isinstance(claim, AnswerClaim) else "")))
            > MAX_CHARS
        ):
            return _unknown("too long")
        try:
            tests = tests_of(claim.reference)
        except UnusableError as error:
            return _unknown(f"the reference: {error}")
        if isinstance(claim, ReferenceClaim):
            return _of_reference(tests)
        return (
            _of_printed(claim.answer, tests)
            if isinstance(tests, Pairs)
            else _of_tested(claim.answer, tests)
        )


def _of_step(claim: StepClaim) -> Finding:
    before = sum(map(len, claim.previous))
    if before + len(claim.step) > MAX_CHARS:
        return _unknown("too long")
    blocks = [
        block for block in python_blocks("".join((*claim.previous, claim.step))) if block.named
    ]
    own = _of_this_step(blocks, before)
    if not own:
        return _unknown("no block of Python ends in the step")
    if not any("assert" in block.code or ">>>" in block.code for block in own):
        return _unknown("the block asserts nothing")
    with Sandbox() as sandbox:
        return _reported(
            sandbox,
            sandbox.start(
                "replay",
                {"blocks": [block.code for block in blocks], "count": len(own)},
                writes=True,
            ),
        )


def _of_this_step(blocks: Sequence[Block], before: int) -> Sequence[Block]:
    """A step may be a line, and a block then has many: it is the step's that closes it."""
    return [block for block in blocks if block.end > before]


def _of_reference(tests: Assertions | Pairs) -> Finding:
    if isinstance(tests, Pairs):
        return Finding(verdict=Verdict.CORRECT, reason=str(len(tests.pairs)))
    with Sandbox() as sandbox:
        return _reported(sandbox, sandbox.start("read", {"tests": tests.code}))


def _of_tested(program: str, tests: Assertions) -> Finding:
    with Sandbox() as sandbox, ExitStack() as pipes:
        asked, asks = _pipe(pipes)
        answers, answered = _pipe(pipes)
        tested = sandbox.start("serve", {"code": program}, writes=True, pipes=(asked, answered))
        examiner = sandbox.start(
            "examine", {"tests": tests.code, "entry": tests.entry}, pipes=(asks, answers)
        )
        pipes.close()  # the ends are theirs now: where one of them is gone the other is not to wait
        found = _reported(sandbox, examiner)
        if found.reason == ENDED:
            return _unknown(sandbox.wait(tested) or _broken(tested.report()))
        if found.verdict is Verdict.INCORRECT and (
            refused := _refused(sandbox.wait(tested) or tested.report())
        ):
            return _unknown(refused)
        return found


def _of_printed(program: str, tests: Pairs) -> Finding:
    """Each input is a process of its own; the first that is not passed decides."""
    with Sandbox() as sandbox:
        for number, (given, wanted) in enumerate(tests.pairs, start=1):
            box = sandbox.start("run", {"code": program}, writes=True, text=given)
            if why := sandbox.wait(box):
                return _unknown(why)
            report = box.report()
            verdict, reason = _of_run(report, box.output(), wanted)
            if verdict is Verdict.INCORRECT and (refused := _refused(report)):
                return _unknown(refused)
            if verdict is not Verdict.CORRECT:
                return Finding(verdict=verdict, reason=f"input {number}: {reason}")
    return Finding(verdict=Verdict.CORRECT, reason=f"tests passed: {len(tests.pairs)}")


def _pipe(pipes: ExitStack) -> tuple[int, int]:
    """Where to read, and where to write."""
    ends = os.pipe()
    for end in ends:
        pipes.callback(os.close, end)
    return ends


def _reported(sandbox: Sandbox, box: Box) -> Finding:
    """The verdict that a process has reached; what it says is not trusted to be one."""
    if why := sandbox.wait(box):
        return _unknown(why)
    match box.report():
        case [str(verdict), str(reason)] if verdict in set(Verdict):
            return Finding(verdict=Verdict(verdict), reason=reason)
        case report:
            return _unknown(_broken(report))


def _of_run(report: Sequence[Any], said: str, wanted: str) -> tuple[Verdict, str]:
    """The verdict on one run of a script."""
    match report:
        case [["ended"], _]:
            return compared(said, wanted), "another output"
        case [["raised", str(kind), str(text)], _]:
            return Verdict.INCORRECT if is_blamed(
                exception(kind)
            ) else Verdict.UNKNOWN, f"raises {kind}: {text}"
        case [["left"], _]:
            return Verdict.UNKNOWN, "the program ends itself with an error"
    return Verdict.UNKNOWN, _broken(report)


def _refused(report: Report) -> str:
    """What the program asked for in vain, when a verdict may be due to that."""
    match report:
        case [_, [str(first), *_]]:
            return f"the sandbox refused it {first}"
        case [_, []]:
            return ""
    return _broken(report)


def _broken(report: Report) -> str:
    """Why a process has made no whole report."""
    match report:
        case str(reason) | [str(reason)]:
            return reason
    return "the code reports nothing"


def _unknown(reason: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
