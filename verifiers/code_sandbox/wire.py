"""Exchange of plain data between two processes that do not trust each other.

    None, booleans, numbers, text, bytes; lists, tuples, sets, dictionaries of them

Data travels by value, in lines of JSON, and nothing on the receiving side can execute it. Only
objects of exactly these types are sent. An object that merely pretends to be a list, or to equal
everything, is rejected.

Lists, sets and dictionaries keep their identity (call by copy-restore). A list that is sent,
changed on the other side and sent back is the same list, changed. Two references to one list stay
references to one list.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Decoder",
    "Encoder",
    "Message",
    "NotPlainDataError",
    "receive",
    "send",
]

MAX_MESSAGE_BYTES = 2**24
MAX_VALUES = 2**20
READ_BYTES = 65_536  # the default capacity of a pipe on Linux
MAX_NAME_CHARS = 60
# Larger integers travel in hexadecimal: parsing a decimal number takes quadratic time.
DECIMAL_LIMIT = 2**53

Message = list[Any]


class NotPlainDataError(Exception):
    """An object that is not plain data, or too much data."""


class Encoder:
    """Encode values as JSON. A container that was encoded before becomes a reference to it.

    `shared` are the containers that the other side has already, in its order.
    """

    def __init__(self, shared: Iterable[Any] = ()) -> None:
        self.containers = list(shared)
        self._numbers = {id(container): number for number, container in enumerate(self.containers)}
        self._values_left = MAX_VALUES

    def encode(self, value: Any) -> Any:
        """Return the JSON form of a value.

        Raises:
            NotPlainDataError: The value is not plain data, or too many values were encoded. The
                message names the type.
        """
        # The exact type, because a subclass can override any method.
        kind = type(value)
        self._values_left -= 1
        if self._values_left < 0:
            raise NotPlainDataError("too much data")
        if value is None or kind is bool or kind is str:
            return value
        if kind is int and abs(value) < DECIMAL_LIMIT:
            return value
        if kind in SCALAR_CODECS:
            encode, _ = SCALAR_CODECS[kind]
            return [kind.__name__, encode(value)]
        if kind in (tuple, frozenset):
            return [kind.__name__, [self.encode(item) for item in value]]
        if kind not in (list, set, dict):
            raise NotPlainDataError(f"a value of type {_type_name(kind)}, which is not plain data")
        if id(value) in self._numbers:
            return ["known", self._numbers[id(value)]]
        self._numbers[id(value)] = len(self.containers)
        # Keeping the container alive prevents another object from getting the same id.
        self.containers.append(value)
        return [kind.__name__, self.encode_items(value)]

    def encode_items(self, container: Any) -> Any:
        """Return the JSON form of the current items of a list, set or dictionary."""
        if type(container) is dict:
            return [[self.encode(key), self.encode(item)] for key, item in container.items()]
        return [self.encode(item) for item in container]


class Decoder:
    """Decode the output of an `Encoder`.

    `containers` are the lists, sets and dictionaries decoded so far, in the encoder's order.
    """

    def __init__(self, shared: Iterable[Any] = ()) -> None:
        self.containers = list(shared)

    def decode(self, encoded: Any) -> Any:
        """Return a value. Raise any exception when the input was not written by an encoder."""
        if not isinstance(encoded, list):
            return encoded
        kind, content = encoded
        if kind == "known":
            return self.containers[content]
        if kind in SCALAR_DECODERS:
            return SCALAR_DECODERS[kind](content)
        if kind in IMMUTABLE_TYPES:
            return IMMUTABLE_TYPES[kind](self.decode(item) for item in content)
        container = MUTABLE_TYPES[kind]()
        # Registered before its items are decoded, because a list may contain itself.
        self.containers.append(container)
        self.fill(container, content)
        return container

    def fill(self, container: Any, content: Any) -> None:
        """Replace the items of a container by decoded ones."""
        if type(container) is dict:
            items = {self.decode(key): self.decode(item) for key, item in content}
            container.clear()
            container.update(items)
            return
        values = [self.decode(item) for item in content]
        container.clear()
        if type(container) is list:
            container.extend(values)
        else:
            container.update(values)


def send(descriptor: int, message: Message) -> None:
    """Write a message as one line.

    Raises:
        NotPlainDataError: The message is too long or nested too deeply.
    """
    try:
        line = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
    except RecursionError:
        raise NotPlainDataError("data nested too deeply") from None
    if len(line) > MAX_MESSAGE_BYTES:
        raise NotPlainDataError("too much data")
    while line:
        written = os.write(descriptor, line)
        line = line[written:]


def receive(descriptor: int, buffer: bytearray) -> Message | None:
    """Return the next message, or None at the end of the stream.

    `buffer` holds the bytes that were read after the last message; pass the same one every time.

    Raises:
        NotPlainDataError: The line is too long or is not a message.
    """
    searched = 0
    while (end := buffer.find(b"\n", searched)) < 0:
        searched = len(buffer)
        if searched > MAX_MESSAGE_BYTES:
            raise NotPlainDataError("too much data")
        received = os.read(descriptor, READ_BYTES)
        if not received:
            return None
        buffer += received
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise NotPlainDataError("a malformed message") from None
    if not isinstance(message, list):
        raise NotPlainDataError("a malformed message")
    return message


def _type_name(kind: type) -> str:
    # Bypasses a metaclass that overrides `__name__`.
    return str(type.__getattribute__(kind, "__name__"))[:MAX_NAME_CHARS]


def _encode_complex(value: complex) -> Sequence[str]:
    return [value.real.hex(), value.imag.hex()]


def _decode_complex(parts: Sequence[str]) -> complex:
    return complex(*map(float.fromhex, parts))


def _decode_integer(text: str) -> int:
    return int(text, 16)


# Pairs of an encoder and a decoder. Hexadecimal keeps floats exact, infinity and nan included.
SCALAR_CODECS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    int: (hex, _decode_integer),
    float: (float.hex, float.fromhex),
    complex: (_encode_complex, _decode_complex),
    bytes: (bytes.hex, bytes.fromhex),
}
SCALAR_DECODERS = {kind.__name__: decode for kind, (_, decode) in SCALAR_CODECS.items()}
IMMUTABLE_TYPES: dict[str, Callable[[Iterable[Any]], Any]] = {
    "tuple": tuple,
    "frozenset": frozenset,
}
MUTABLE_TYPES = cast("dict[str, Callable[[], Any]]", {"list": list, "set": set, "dict": dict})
