"""Roles that run the tested program in a separate process, as a module or as a script.

The process does not contain the tests, and its replies are plain data (see `wire`). A program can
exit, replace built-in names, or write to any open file, but none of that makes a test pass.

A report ends with the first request that the sandbox refused. A program that continues after a
refusal may be wrong only because of the sandbox.
"""

import builtins
import contextlib
import os
import sys
import types
from typing import Any

from verifiers.code_sandbox.wire import (
    Decoder,
    Encoder,
    Message,
    NotPlainDataError,
    receive,
    send,
)

__all__ = ["run_script", "serve_program"]

MAX_TEXT_CHARS = 300
# Prefixes of audit events (docs.python.org/3/library/audit_events.html) that the sandbox refuses.
# They only explain the failures of honest programs; the sandbox does not rely on them.
REFUSED_EVENTS = (
    "socket.",
    "subprocess.",
    "os.chmod",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.rename",
    "os.symlink",
    "os.system",
    "os.truncate",
)
# LeetCode's convention: the tested function is a method of a class of this name.
SOLUTION_CLASS = "Solution"


def serve_program(job: Any, requests: int, replies: int) -> Message:
    """Run the program as a module, then reply to requests until the input ends.

    `job` has the key `code`. `requests` and `replies` are file descriptors.
    """
    buffer = bytearray()
    refused = _watch_refusals()
    module, status = _execute(job["code"], "solution")
    send(replies, status)
    if status == ["ended"]:
        while (request := receive(requests, buffer)) is not None:
            send(replies, _reply(vars(module), request))
    return [["served"], refused]


def run_script(job: Any) -> Message:
    """Run the program as a script on standard input and output; report how it ended.

    `job` has the key `code`.
    """
    refused = _watch_refusals()
    _, status = _execute(job["code"], "__main__")
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        status = _exception_reply(error)
    return [status, refused]


def _watch_refusals() -> list[str]:
    """Return a list that will receive the first refused request: an event name or a file path."""
    refused = list[str]()
    readable = (os.getcwd(), *sys.path)  # noqa: PTH109 - the sandbox loads as little as possible

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if refused:
            return
        if event.startswith(REFUSED_EVENTS):
            refused.append(event)
        elif event == "open" and isinstance(arguments[0], str):
            path = os.path.abspath(arguments[0])  # noqa: PTH100 - as above
            if not path.startswith(readable):
                refused.append(arguments[0][:MAX_TEXT_CHARS])

    sys.addaudithook(watch)
    # Python limits the digits of integers to bound the time; here the CPU limit bounds it.
    sys.set_int_max_str_digits(0)
    return refused


def _execute(code: str, name: str) -> tuple[types.ModuleType, Message]:
    """Execute code as a module of that name; return the module and how the execution ended."""
    # The module `site`, which the sandbox does not import, adds these for scripts.
    vars(builtins).update(exit=sys.exit, quit=sys.exit)
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses and pickle look the module up
    try:
        compiled = compile(code, "<program>", "exec", dont_inherit=True)
    except Exception as error:  # noqa: BLE001 - a compiler's `ValueError` is not a program error
        return module, ["raised", "SyntaxError", str(error)[:MAX_TEXT_CHARS]]
    try:
        exec(compiled, vars(module))
    except SystemExit as error:
        # A script may end itself with exit code 0; for a module any exit is unexpected.
        if name == "__main__" and not error.code:
            return module, ["ended"]
        return module, ["left"]
    except BaseException as error:  # noqa: BLE001 - a program may raise anything
        return module, _exception_reply(error)
    return module, ["ended"]


def _reply(names: dict[str, Any], request: Message) -> Message:
    verb, name, *arguments = request
    try:
        value = _lookup(names, name)
        if verb == "get":
            return _describe(value)
        return _call(value, *arguments)
    except NotPlainDataError as error:
        return ["unplain", str(error)]
    except RecursionError:
        return ["unplain", "data nested too deeply"]


def _lookup(names: dict[str, Any], name: str) -> Any:
    if name not in names and isinstance(names.get(SOLUTION_CLASS), type):
        with contextlib.suppress(Exception):
            return getattr(names[SOLUTION_CLASS](), name)
    return names.get(name)


def _describe(value: Any) -> Message:
    if isinstance(value, types.ModuleType):
        return ["module", str(vars(value).get("__name__"))]
    if callable(value):
        return ["callable"]
    if value is None:
        return ["absent"]
    return ["value", Encoder().encode(value)]


def _call(function: Any, arguments: Any, keywords: Any) -> Message:
    """Call a function; reply with the result and the contents of the arguments after the call."""
    decoder = Decoder()
    positional = decoder.decode(arguments)
    named = decoder.decode(keywords)
    try:
        result = function(*positional, **named)
    except SystemExit:
        return ["left"]
    except BaseException as error:  # noqa: BLE001 - a program may raise anything
        return _exception_reply(error)
    encoder = Encoder(decoder.containers)
    contents = [encoder.encode_items(container) for container in decoder.containers]
    return ["returned", contents, encoder.encode(result)]


def _exception_reply(error: BaseException) -> Message:
    """Report an exception under the name of its nearest built-in base class."""
    nearest: type = BaseException
    for kind in type(error).__mro__:
        if getattr(builtins, kind.__name__, None) is kind:
            nearest = kind
            break
    try:
        text = str(error)[:MAX_TEXT_CHARS]
    except Exception:  # noqa: BLE001 - the program may define `__str__`
        text = ""
    return ["raised", nearest.__name__, text]
