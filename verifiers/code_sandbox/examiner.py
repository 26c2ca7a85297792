"""The tests, in a process of their own: the names they do not define are the program's, which runs in another one.

    assert gcd(12, 18) == 6          `gcd` is called over there; what comes back is plain data, compared here

So the tests hold whatever the program does to its own process, and no object of the program's has a say in whether it is equal to
something. Names of Python's own, and those that the tests define or import, are never the program's.

What is not covered: a list that the program keeps, and changes when it is called again without it, does not change for the tests.
"""

import ast
import builtins
import importlib
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from verifiers.code_sandbox.blame import exception, is_blamed
from verifiers.code_sandbox.wire import Decoder, Encoder, Line, UnplainError, receive, send

__all__ = ["ENDED", "examine", "read"]

CORRECT, INCORRECT, UNKNOWN = "correct", "incorrect", "unknown"
ENDED = "the program ended"
LONG_LINE = 120
FILE = "<tests>"


class _AbandonedError(BaseException):
    """The program can be asked no more; no `except Exception` of a test stops it."""


class _Program:
    """The other process, as the tests see it."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies, self._left = requests, replies, bytearray()
        self.lost = ""
        """Why it can be asked no more."""
        self.raised: BaseException | None = None
        self.calls = 0

    def start(self) -> None:
        """Wait until it has run as a module; raises what that raises."""
        self._understand(self._received())

    def name(self, name: str) -> Any:
        """What the program calls so: a function, a module of the standard library, or a copy of a value; None for nothing."""
        kind, *rest = self._asked(["get", name])
        if kind == "callable":
            return self._function(name)
        if kind == "module" and rest[0].partition(".")[0] in sys.stdlib_module_names:
            return importlib.import_module(rest[0])
        return Decoder().value(rest[0]) if kind == "value" else None

    def _function(self, name: str) -> Callable[..., Any]:
        def function(*arguments: Any, **named: Any) -> Any:
            return self._called(name, arguments, named)

        return function

    def _called(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.calls += 1
        encoder = Encoder()
        try:
            request: Line = ["call", name, encoder.value(arguments), encoder.value(named)]
        except (UnplainError, RecursionError) as error:
            raise self._abandoned(f"a test passes {error}") from None
        _, contents, value = self._asked(request)
        decoder = Decoder(encoder.containers)
        try:
            for container, content in zip(encoder.containers, contents, strict=True):
                decoder.fill(container, content)
            return decoder.value(value)
        except Exception:  # noqa: BLE001 - whatever the program has sent
            raise self._abandoned("the program answers what is no plain data") from None

    def _asked(self, request: Line) -> Line:
        if self.lost:
            raise _AbandonedError
        try:
            send(self._requests, request)
            return self._understand(self._received())
        except UnplainError as error:
            raise self._abandoned(f"a test passes {error}") from None
        except BrokenPipeError:
            raise self._abandoned(ENDED) from None

    def _received(self) -> Line:
        try:
            reply = receive(self._replies, self._left)
        except UnplainError as error:
            raise self._abandoned(f"the program answers {error}") from None
        if not reply:
            raise self._abandoned(ENDED)
        return reply

    def _understand(self, reply: Line) -> Line:
        if reply[0] == "left":
            raise self._abandoned("the program ended itself")
        if reply[0] == "unplain":
            raise self._abandoned(f"the program answers {reply[1]}")
        if reply[0] == "raised":
            self.raised = exception(*map(str, reply[1:]))
            raise self.raised
        return reply

    def _abandoned(self, why: str) -> _AbandonedError:
        self.lost = self.lost or why
        return _AbandonedError()


def read(job: Any) -> Line:
    """Whether there is a test in the tests, which are not run: correct, or unknown with the reason."""
    try:
        tree = _tests(job)
    except Exception as error:  # noqa: BLE001 - whatever the compiler makes of it
        return [UNKNOWN, f"the tests do not parse: {type(error).__name__}"]
    asserted = sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
    return [CORRECT, str(asserted)] if asserted else [UNKNOWN, "no tests: there is no assertion"]


def examine(job: Any, requests: int, replies: int) -> Line:
    """Run the tests against the program: the verdict and its reason. `job` has the `tests`, and the `entry` that their `check` takes."""
    found: Line = read(job)
    if found[0] != CORRECT:
        return found
    sys.set_int_max_str_digits(0)
    program = _Program(requests, replies)
    try:
        program.start()
        _run(_tests(job), program, job.get("entry"))
    except _AbandonedError:
        pass
    except Exception as error:  # noqa: BLE001 - tests may raise anything
        return _failed(error, program)
    except BaseException:  # noqa: BLE001 - an exit
        return [UNKNOWN, "the tests ended themselves"]
    if program.lost:
        return [UNKNOWN, program.lost]
    return (
        [CORRECT, f"tests passed: {found[1]}"]
        if program.calls
        else [UNKNOWN, "the tests never call the program"]
    )


def _tests(job: Any) -> ast.Module:
    return ast.parse(str(job["tests"]), FILE)


def _run(tree: ast.Module, program: _Program, entry: str | None) -> None:
    names: dict[str, Any] = {"__name__": "tests"}
    for name in _foreign(tree):
        if (found := program.name(name)) is not None:
            names[name] = found
    exec(compile(tree, FILE, "exec", dont_inherit=True), names)
    if entry is not None:
        names["check"](program.name(entry))
    for name, found in list(names.items()):
        if (
            name.startswith("test")
            and isinstance(found, FunctionType)
            and found.__code__.co_filename == FILE
        ):
            found()


def _foreign(tree: ast.Module) -> list[str]:
    """The names that are used and nowhere made, in order; those of Python's own left out."""
    used, made = list[str](), set(dir(builtins))
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
                made.add(name)
            case ast.alias(name=name, asname=other):
                made.add(other or name.partition(".")[0])
            case _:
                pass
    return [name for name in dict.fromkeys(used) if name not in made]


def _failed(error: Exception, program: _Program) -> Line:
    """What an exception that ends the tests says of the program."""
    kind = type(error).__name__
    if program.lost:
        return [UNKNOWN, program.lost]
    if error is program.raised:
        return [
            INCORRECT if is_blamed(error) else UNKNOWN,
            f"the program raises {kind}: {str(error)[:LONG_LINE]}",
        ]
    if isinstance(error, AssertionError):
        return [INCORRECT, f"a test fails{_where(error)}"]
    return [UNKNOWN, f"the tests cannot be run{_where(error)}: {kind}: {str(error)[:LONG_LINE]}"]


def _where(error: Exception) -> str:
    """The line of the tests that raised it."""
    frame, line = error.__traceback__, 0
    while frame is not None:
        line = frame.tb_lineno if frame.tb_frame.f_code.co_filename == FILE else line
        frame = frame.tb_next
    return f" in line {line}" if line else ""
