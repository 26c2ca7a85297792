"""Plain data between two processes that do not trust each other: by value, in lines of JSON, and read by nothing that could execute it.

    None, booleans, numbers, text, bytes; lists, tuples, sets, dictionaries of them

Plain means exactly these types: of an object that only claims to be a list, or to be equal to everything, nothing crosses. Lists, sets and
dictionaries keep their identity: one that is sent, changed on the other side and sent back is the same one, changed (call by copy-restore),
and two names of one list stay so.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

__all__ = ["MAX_MESSAGE_BYTES", "Decoder", "Encoder", "Line", "UnplainError", "receive", "send"]

MAX_MESSAGE_BYTES = 2**24
MAX_VALUES = 2**20
EXACT_INTEGER = 2**53
"""JSON's numbers are read digit by digit, and long ones are slow: from here on, in hexadecimal."""
Line = list[Any]


class UnplainError(Exception):
    """Something that is no plain data, or too much of it."""


class Encoder:
    """Turns values into JSON; a container that was met before is a reference. `known` are those that the other side has, in order."""

    def __init__(self, known: Iterable[Any] = ()) -> None:
        self.containers = list(known)
        self._numbers = {id(container): number for number, container in enumerate(self.containers)}
        self._left = MAX_VALUES

    def value(self, value: Any) -> Any:
        """One value; `UnplainError` names the type of what cannot cross."""
        kind = type(value)
        self._left -= 1
        if self._left < 0:
            raise UnplainError("too much data")
        if (
            value is None
            or kind is bool
            or kind is str
            or (kind is int and abs(value) < EXACT_INTEGER)
        ):
            return value
        if kind in ATOMS:
            return [kind.__name__, ATOMS[kind][0](value)]
        if kind in (tuple, frozenset):
            return [kind.__name__, [self.value(item) for item in value]]
        if kind not in (list, set, dict):
            raise UnplainError(f"a {_name(kind)}, which is no plain data")
        if id(value) in self._numbers:
            return ["known", self._numbers[id(value)]]
        self._numbers[id(value)] = len(self.containers)
        self.containers.append(value)  # kept, so that its id stays its own
        return [kind.__name__, self.content(value)]

    def content(self, container: Any) -> Any:
        """What a list, set or dictionary holds now."""
        if type(container) is dict:
            return [[self.value(key), self.value(item)] for key, item in container.items()]
        return [self.value(item) for item in container]


class Decoder:
    """Reads values back; `containers` are the lists, sets and dictionaries met, in the encoder's order."""

    def __init__(self, known: Iterable[Any] = ()) -> None:
        self.containers = list(known)

    def value(self, read: Any) -> Any:
        """One value; any exception when it is not what an encoder writes."""
        if not isinstance(read, list):
            return read
        kind, content = read
        if kind == "known":
            return self.containers[content]
        if kind in FROM_ATOM:
            return FROM_ATOM[kind](content)
        if kind in FROZEN:
            return FROZEN[kind](self.value(item) for item in content)
        container = MUTABLE[kind]()
        self.containers.append(container)
        self.fill(container, content)
        return container

    def fill(self, container: Any, content: Any) -> None:
        """Make a container hold this, and nothing else."""
        if type(container) is dict:
            items = {self.value(key): self.value(item) for key, item in content}
            container.clear()
            container.update(items)
        else:
            values = [self.value(item) for item in content]
            container.clear()
            (container.extend if type(container) is list else container.update)(values)


def send(descriptor: int, message: Line) -> None:
    """One line; `UnplainError` when it is too long or too deep."""
    try:
        line = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
    except RecursionError:
        raise UnplainError("too deeply nested") from None
    if len(line) > MAX_MESSAGE_BYTES:
        raise UnplainError("too much data")
    while line:
        line = line[os.write(descriptor, line) :]


def receive(descriptor: int, left: bytearray) -> Line | None:
    """The next line, None when there are no more; `left` holds what came after the last one. `UnplainError` for what is no message."""
    searched = 0
    while (end := left.find(b"\n", searched)) < 0:
        searched = len(left)
        if searched > MAX_MESSAGE_BYTES:
            raise UnplainError("too much data")
        if not (more := os.read(descriptor, 65_536)):
            return None
        left += more
    line = bytes(left[:end])
    del left[: end + 1]
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise UnplainError("not a message") from None
    if not isinstance(message, list):
        raise UnplainError("not a message")
    return message


def _name(kind: type) -> str:
    return str(type.__getattribute__(kind, "__name__"))[:60]


def _complex(value: complex) -> Sequence[str]:
    return [value.real.hex(), value.imag.hex()]


ATOMS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    int: (hex, lambda text: int(text, 16)),
    float: (float.hex, float.fromhex),
    complex: (_complex, lambda parts: complex(*map(float.fromhex, parts))),
    bytes: (bytes.hex, bytes.fromhex),
}
FROM_ATOM = {kind.__name__: read for kind, (_, read) in ATOMS.items()}
FROZEN: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "frozenset": frozenset}
MUTABLE = cast("dict[str, Callable[[], Any]]", {"list": list, "set": set, "dict": dict})
