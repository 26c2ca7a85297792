"""The program that is tested, in a process of its own: it is asked to call its functions, or reads and prints.

It never sees the tests, and what it answers is plain data (see `wire`): it can end itself, change what Python's own names mean, or write
whatever it likes to whatever it has open, and fools nobody but itself.

A report ends with what the program has asked for in vain. A program that is refused something and goes on may be wrong here only.
"""

import builtins
import contextlib
import os
import sys
import types
from typing import Any

from verifiers.code_sandbox.wire import Decoder, Encoder, Line, UnplainError, receive, send

__all__ = ["run", "serve"]

LONG_TEXT = 300
REFUSED = ("socket.", "subprocess.", "os.chmod", "os.exec", "os.fork", "os.kill", "os.link", "os.mkdir", "os.posix_spawn", "os.rename",
           "os.symlink", "os.system", "os.truncate")  # fmt: skip
"""Audit events (docs.python.org/3/library/audit_events.html) of what the locks refuse; they tell of honest programs, and hold no other."""
CLASS_OF_ANSWERS = "Solution"
"""LeetCode's habit: the function asked for is a method of a class of this name."""


def serve(job: Any, requests: int, replies: int) -> Line:
    """Run the program as a module, then answer requests until there are none; `job` has `code`."""
    left, refused = bytearray(), _watched()
    module, started = _executed(job["code"], "solution")
    send(replies, started)
    while started == ["ended"] and (request := receive(requests, left)) is not None:
        send(replies, _answer(vars(module), request))
    return [["served"], refused]


def run(job: Any) -> Line:
    """Run the program as a script: standard input and output are its own; how it ended is the report."""
    refused = _watched()
    _, ended = _executed(job["code"], "__main__")
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        ended = _raised(error)
    return [ended, refused]


def _watched() -> list[str]:
    """What will be asked for in vain first: an event by its name, a file by its own."""
    refused, own = list[str](), (os.getcwd(), *sys.path)  # noqa: PTH109 - in the sandbox, the less is loaded the better

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if refused:
            return
        if event.startswith(REFUSED):
            refused.append(event)
        elif (
            event == "open"
            and isinstance(arguments[0], str)
            and not os.path.abspath(arguments[0]).startswith(own)  # noqa: PTH100
        ):
            refused.append(arguments[0][:LONG_TEXT])

    sys.addaudithook(watch)
    sys.set_int_max_str_digits(0)  # the processor's time is limited instead
    return refused


def _executed(code: str, name: str) -> tuple[types.ModuleType, Line]:
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses and pickles look there
    try:
        compiled = compile(code, "<program>", "exec", dont_inherit=True)
    except Exception as error:  # noqa: BLE001 - whatever the compiler makes of it: a `ValueError` too is not the program's here
        return module, ["raised", "SyntaxError", str(error)[:LONG_TEXT]]
    try:
        exec(compiled, vars(module))
    except SystemExit as error:
        return module, ["ended"] if name == "__main__" and not error.code else ["left"]
    except BaseException as error:  # noqa: BLE001 - a program may raise anything
        return module, _raised(error)
    return module, ["ended"]


def _answer(names: dict[str, Any], request: Line) -> Line:
    verb, name, *rest = request
    try:
        found = _lookup(names, name)
        return _kind(found) if verb == "get" else _called(found, *rest)
    except (UnplainError, RecursionError) as error:
        return ["unplain", str(error) if isinstance(error, UnplainError) else "too deeply nested"]


def _lookup(names: dict[str, Any], name: str) -> Any:
    if name not in names and isinstance(names.get(CLASS_OF_ANSWERS), type):
        with contextlib.suppress(Exception):
            return getattr(names[CLASS_OF_ANSWERS](), name)
    return names.get(name)


def _kind(found: Any) -> Line:
    if isinstance(found, types.ModuleType):
        return ["module", str(vars(found).get("__name__"))]
    if callable(found):
        return ["callable"]
    return ["absent"] if found is None else ["value", Encoder().value(found)]


def _called(function: Any, arguments: Any, named: Any) -> Line:
    """The result, and what the arguments hold now."""
    decoder = Decoder()
    values, names = decoder.value(arguments), decoder.value(named)
    try:
        result = function(*values, **names)
    except SystemExit:
        return ["left"]
    except BaseException as error:  # noqa: BLE001 - a program may raise anything
        return _raised(error)
    encoder = Encoder(decoder.containers)
    contents = [encoder.content(container) for container in decoder.containers]
    return ["returned", contents, encoder.value(result)]


def _raised(error: BaseException) -> Line:
    """An exception by the nearest of Python's own."""
    own = next(
        kind for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind
    )
    try:
        text = str(error)[:LONG_TEXT]
    except Exception:  # noqa: BLE001 - it is the program's
        text = ""
    return ["raised", own.__name__, text]
