"""Roles that run the tests in a separate process. The program runs in another one.

    assert gcd(12, 18) == 6    `gcd` is called in the program's process; its result is compared here

A name that the tests use but do not define belongs to the program, unless it is a built-in name.
Because results arrive as plain data, nothing that the program does to its own process affects the
tests, and no object of the program takes part in a comparison.

What is not covered:

- State shared between calls: a list that the program keeps, and changes in a later call without
  that list, does not change for the tests.
"""

import ast
import builtins
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from verifiers.code_sandbox.exception_origin import builtin_exception, is_program_error
from verifiers.code_sandbox.single_tests import (
    RECORD,
    SingleTest,
    single_tests,
    with_recording,
)
from verifiers.code_sandbox.wire import (
    Decoder,
    Encoder,
    Message,
    NotPlainDataError,
    receive,
    send,
)

__all__ = ["PROGRAM_ENDED", "check_tests", "run_every_test", "run_tests"]

# Plain texts instead of `Verdict`, so that the sandbox does not load the `stepmark` package.
CORRECT = "correct"
INCORRECT = "incorrect"
UNKNOWN = "unknown"
PROGRAM_ENDED = "the program ended"
MAX_TEXT_CHARS = 120
TESTS_FILE = "<tests>"


class _AbortError(BaseException):
    """The program cannot reply any more. An `except Exception` of a test does not catch this."""


class _ProgramClient:
    """A client of the program's process, used by the tests."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = requests
        self._replies = replies
        self._buffer = bytearray()
        self.failure = ""
        """Why the program cannot reply any more."""
        self.raised: BaseException | None = None
        """The last exception that the program raised."""
        self.calls = 0

    def wait_until_loaded(self) -> None:
        """Wait until the program has run as a module. Raise the exception that it raised."""
        self._check(self._receive())

    def lookup(self, name: str) -> Any:
        """Return what the program defines under a name.

        That is a function that calls the program, a module of the standard library, or a copy of a
        value. Other modules and undefined names are None.
        """
        kind, *content = self._request(["get", name])
        if kind == "callable":
            return self._remote_function(name)
        if kind == "module" and content[0].partition(".")[0] in sys.stdlib_module_names:
            return importlib.import_module(content[0])
        if kind == "value":
            return Decoder().decode(content[0])
        return None

    def _remote_function(self, name: str) -> Callable[..., Any]:
        def function(*arguments: Any, **keywords: Any) -> Any:
            return self._call(name, arguments, keywords)

        return function

    def _call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self.calls += 1
        encoder = Encoder()
        try:
            request: Message = ["call", name, encoder.encode(arguments), encoder.encode(keywords)]
        except (NotPlainDataError, RecursionError) as error:
            raise self._abort(f"a test calls the program with {error}") from None
        _, contents, result = self._request(request)
        decoder = Decoder(encoder.containers)
        try:
            # The program may have changed the arguments, as `list.sort` does.
            for container, content in zip(encoder.containers, contents, strict=True):
                decoder.fill(container, content)
            return decoder.decode(result)
        except Exception:  # noqa: BLE001 - the program may send anything
            raise self._abort("the program returns data that is not plain") from None

    def _request(self, request: Message) -> Message:
        if self.failure:
            raise _AbortError
        try:
            send(self._requests, request)
            return self._check(self._receive())
        except NotPlainDataError as error:
            raise self._abort(f"a test calls the program with {error}") from None
        except BrokenPipeError:
            raise self._abort(PROGRAM_ENDED) from None

    def _receive(self) -> Message:
        try:
            reply = receive(self._replies, self._buffer)
        except NotPlainDataError as error:
            raise self._abort(f"the program returns {error}") from None
        if not reply:
            raise self._abort(PROGRAM_ENDED)
        return reply

    def _check(self, reply: Message) -> Message:
        if reply[0] == "left":
            raise self._abort("the program exits")
        if reply[0] == "unplain":
            raise self._abort(f"the program returns {reply[1]}")
        if reply[0] == "raised":
            self.raised = builtin_exception(*map(str, reply[1:]))
            raise self.raised
        return reply

    def _abort(self, reason: str) -> _AbortError:
        # The first reason is kept: later failures follow from it.
        self.failure = self.failure or reason
        return _AbortError()


def check_tests(job: Any) -> Message:
    """Parse the tests without running them.

    Returns:
        Correct with the number of assertions, or unknown with the reason.
    """
    try:
        tree = _parse(job)
    except Exception as error:  # noqa: BLE001 - the compiler may raise several kinds
        return [UNKNOWN, f"the tests do not parse: {type(error).__name__}"]
    assertions = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            assertions += 1
    if not assertions:
        return [UNKNOWN, "no tests: there is no assertion"]
    return [CORRECT, str(assertions)]


class _TestRecorder:
    """The verdicts on the single tests that have run; a failed test does not end the others."""

    def __init__(self, program: _ProgramClient, tests: Sequence[SingleTest]) -> None:
        self._program = program
        self.verdicts = [UNKNOWN] * len(tests)
        self.functions = {test.function: number for number, test in enumerate(tests)}
        """The numbers of the tests that are functions, by name."""
        self._reached = set[int]()

    @contextmanager
    def record(self, number: int) -> Iterator[None]:
        """Record the verdict on a test that runs inside of the context."""
        verdict = CORRECT
        try:
            yield
        except Exception as error:  # noqa: BLE001 - tests may raise anything
            verdict = _failure(error, self._program)[0]
        if self._program.failure:
            verdict = UNKNOWN
        # A statement of a function runs in every call of the function: one failure is enough.
        if number not in self._reached or self.verdicts[number] == CORRECT:
            self.verdicts[number] = verdict
        self._reached.add(number)


def run_tests(job: Any, requests: int, replies: int) -> Message:
    """Run the tests against the program until one fails.

    Args:
        job: `tests` is their code, `entry` the function that is passed to their `check`, if any,
            and `starts` the first line of each test, where the reference lists them.
        requests: The file descriptor of requests to the program.
        replies: The file descriptor of the program's replies.

    Returns:
        The verdict, its reason, the number of single tests, the number of those that passed before
        the first one that did not (-1 if the failure is outside of the tests), and whether the
        tests after it can still be run.
    """
    checked = check_tests(job)
    if checked[0] != CORRECT:
        return checked
    tree = _parse(job)
    entry = job.get("entry")
    tests = single_tests(tree, entry, job.get("starts", ()))
    program = _ProgramClient(requests, replies)
    finding, error = _run_until_failure(tree, entry, program, checked[1])
    if finding[0] == CORRECT:
        return [*finding, len(tests), len(tests), False]
    line = 0 if error is None else _outermost_line(error)
    passed = -1
    for number, test in enumerate(tests):
        if test.contains(line):
            passed = number
            break
    # Without a line, the failure was outside of the tests: when the program was loaded.
    can_continue = bool(line) and not program.failure and isinstance(error, Exception)
    return [*finding, len(tests), passed, can_continue]


def run_every_test(job: Any, requests: int, replies: int) -> Message:
    """Run all single tests against the program, those after a failed test too.

    The arguments are those of `run_tests`, whose verdict decides: this only says which tests fail.

    Returns:
        A list of one text: the initials of the verdicts on the single tests. A test that was not
        reached is unknown.
    """
    sys.set_int_max_str_digits(0)  # as in `run_tests`
    tree = _parse(job)
    entry = job.get("entry")
    tests = single_tests(tree, entry, job.get("starts", ()))
    names_of_program = _undefined_names(tree)
    program = _ProgramClient(requests, replies)
    recorder = _TestRecorder(program, tests)
    try:
        program.wait_until_loaded()
        recorded = with_recording(tree, tests)
        _execute(recorded, program, entry, names_of_program, recorder)
    except BaseException:  # noqa: BLE001 - the tests after this point are not reached
        pass
    return ["".join(verdict[0] for verdict in recorder.verdicts)]


def _run_until_failure(
    tree: ast.Module, entry: str | None, program: _ProgramClient, assertions: str
) -> tuple[Message, BaseException | None]:
    """Run the tests until one fails; return verdict and reason, and the exception that ended it."""
    # Python limits the digits of integers to bound the time; here the CPU limit bounds it.
    sys.set_int_max_str_digits(0)
    ended_by: BaseException | None = None
    try:
        program.wait_until_loaded()
        _execute(tree, program, entry, _undefined_names(tree))
    except _AbortError as error:
        ended_by = error  # the program's failure is reported below
    except Exception as error:  # noqa: BLE001 - tests may raise anything
        return _failure(error, program), error
    except BaseException as error:  # noqa: BLE001 - an exit
        return [UNKNOWN, "the tests exit"], error
    if program.failure:
        return [UNKNOWN, program.failure], ended_by
    if not program.calls:
        return [UNKNOWN, "the tests never call the program"], None
    return [CORRECT, f"tests passed: {assertions}"], None


def _parse(job: Any) -> ast.Module:
    return ast.parse(str(job["tests"]), TESTS_FILE)


def _execute(
    tree: ast.Module,
    program: _ProgramClient,
    entry: str | None,
    names_of_program: Sequence[str],
    recorder: _TestRecorder | None = None,
) -> None:
    """Execute the tests, with the names that they use but do not define from the program.

    With a recorder, the code is that of `with_recording`.
    """
    names: dict[str, Any] = {"__name__": "tests"}
    if recorder is not None:
        names[RECORD] = recorder.record
    for name in names_of_program:
        value = program.lookup(name)
        if value is not None:
            names[name] = value
    exec(compile(tree, TESTS_FILE, "exec", dont_inherit=True), names)
    if entry is not None:
        names["check"](program.lookup(entry))
    # As a test runner does: functions named test… that the tests themselves define are called.
    for name, value in list(names.items()):
        if not name.startswith("test") or not isinstance(value, FunctionType):
            continue
        if value.__code__.co_filename == TESTS_FILE:
            if recorder is not None and name in recorder.functions:
                with recorder.record(recorder.functions[name]):
                    value()
            else:
                value()


def _undefined_names(tree: ast.Module) -> list[str]:
    """Return the names that the tests use and do not define, in order, without built-in names."""
    used = list[str]()
    defined = set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.append(name)
            case (
                ast.Name(id=name)
                | ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.arg(arg=name)
            ):
                defined.add(name)
            case ast.alias(name=name, asname=alias):
                defined.add(alias or name.partition(".")[0])
            case _:
                pass
    return [name for name in dict.fromkeys(used) if name not in defined]


def _failure(error: Exception, program: _ProgramClient) -> Message:
    """Return the verdict on a program whose tests ended with an exception."""
    if program.failure:
        return [UNKNOWN, program.failure]
    if error is program.raised:
        verdict = INCORRECT if is_program_error(error) else UNKNOWN
        return [verdict, f"the program raises {_summary(error)}"]
    if isinstance(error, AssertionError):
        return [INCORRECT, f"a test fails{_location(error)}"]
    return [UNKNOWN, f"the tests cannot be run{_location(error)}: {_summary(error)}"]


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:MAX_TEXT_CHARS]}"


def _location(error: Exception) -> str:
    """Return the innermost line of the tests in a traceback, as a phrase, or an empty text."""
    lines = _lines_of_tests(error)
    if not lines:
        return ""
    return f" in line {lines[-1]}"


def _outermost_line(error: BaseException) -> int:
    """Return the outermost line of the tests in a traceback, 0 if there is none."""
    lines = _lines_of_tests(error)
    return lines[0] if lines else 0


def _lines_of_tests(error: BaseException) -> list[int]:
    """Return the lines of the tests in a traceback, from the outermost to the innermost."""
    lines = list[int]()
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == TESTS_FILE:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return lines
