"""Plain data between processes: round trips, identity of containers, and rejected input."""

import copy
import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.code_sandbox.program_tests import run_tests
from verifiers.code_sandbox.wire import (
    MAX_MESSAGE_BYTES,
    MAX_VALUES,
    Decoder,
    Encoder,
    NotPlainDataError,
    receive,
    send,
)

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    # Larger than 2**53, up to which the numbers of JSON are exact everywhere.
    | st.integers(10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
keys = st.integers() | st.text(max_size=3) | st.tuples(st.integers(), st.booleans())
plain = st.recursive(
    atoms
    | st.complex_numbers(allow_nan=False)
    | st.sets(keys, max_size=3)
    | st.frozensets(keys, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)
# Random nestings of the words that the protocol uses.
replies = st.recursive(
    st.none()
    | st.integers(-2, 9)
    | st.sampled_from(
        (
            "ended",
            "callable",
            "value",
            "module",
            "returned",
            "raised",
            "known",
            "list",
            "dict",
            "int",
        )
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def _shape(value: Any) -> Any:
    """Return a form that compares types too, and ignores the order of sets."""
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(_shape(item)) for item in value)
    if isinstance(value, dict):
        return dict, [(_shape(key), _shape(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [_shape(item) for item in value]
    return repr(value)


@contextmanager
def pipe(sent: bytes = b"") -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.write(writer, sent)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


@settings(max_examples=60, database=None)
@given(plain)
def test_values_survive_a_round_trip(value: Any) -> None:
    with pipe() as (reader, writer):
        send(writer, ["value", Encoder().encode(value)])
        message = receive(reader, bytearray())
    assert message is not None
    assert _shape(Decoder().decode(message[1])) == _shape(value)


def _append_two(items: list[Any]) -> None:
    items.extend("ab")


@settings(max_examples=40, database=None)
@given(
    st.lists(plain, max_size=4),
    st.sampled_from((list.reverse, list.clear, _append_two)),
)
def test_remote_changes_are_copied_back(
    items: list[Any], change: Callable[[list[Any]], Any]
) -> None:
    # The same list twice: a copy must not separate the two.
    arguments = ([items], {"alias": items})
    expected = copy.deepcopy(items)
    change(expected)
    encoder = Encoder()
    decoder = Decoder()
    # The other side decodes the arguments, changes them, and encodes their new contents.
    remote_arguments = decoder.decode(json.loads(json.dumps(encoder.encode(arguments))))
    change(remote_arguments[0][0])
    remote_encoder = Encoder(decoder.containers)
    contents = [remote_encoder.encode_items(container) for container in decoder.containers]
    restored = Decoder(encoder.containers)
    for container, content in zip(encoder.containers, contents, strict=True):
        restored.fill(container, content)
    assert _shape(items) == _shape(expected)
    assert arguments[0][0] is items
    assert arguments[1]["alias"] is items


def test_list_may_contain_itself() -> None:
    items: list[Any] = []
    items.append(items)
    (decoded,) = Decoder().decode(json.loads(json.dumps(Encoder().encode([items]))))
    assert decoded[0] is decoded


class _Equal(int):
    """An integer that equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value", [_Equal(5), OrderedDict(a=1), object(), int, iter([]), {1: {2: [_Equal(5)]}}, range(3)]
)
def test_other_types_are_rejected(value: object) -> None:
    with pytest.raises(NotPlainDataError, match="which is not plain data"):
        Encoder().encode(value)


def test_too_much_data_is_rejected() -> None:
    with pytest.raises(NotPlainDataError, match="too much data"):
        Encoder().encode([0] * (MAX_VALUES + 1))
    with pipe() as (_, writer), pytest.raises(NotPlainDataError, match="too much data"):
        send(writer, ["x" * MAX_MESSAGE_BYTES])


@pytest.mark.parametrize("line", [b"{}\n", b"[\n", b"\xff\n", b"[" * 9_000 + b"\n", b"1\n", b"\n"])
def test_malformed_messages_are_rejected(line: bytes) -> None:
    # Objects, invalid JSON, invalid UTF-8, deep nesting, a bare number and an empty line are
    # covered.
    with pipe(line) as (reader, _), pytest.raises(NotPlainDataError, match="a malformed message"):
        receive(reader, bytearray())


@settings(max_examples=200, database=None)
@given(st.lists(replies, max_size=4))
def test_forged_replies_never_pass_tests(forged: list[Any]) -> None:
    lines = b""
    # The program is loaded and its function is found, so that the forged replies are read.
    for line in (["ended"], ["callable"], *forged, []):
        lines += json.dumps(line).encode() + b"\n"
    with (
        pipe(lines) as (reader, _),
        pipe() as (_, writer),
        mock.patch.object(sys, "set_int_max_str_digits"),
    ):
        # The expected list is long enough that a random reply is unlikely to equal it.
        verdict, *_ = run_tests({"tests": "assert f([1]) == [2, 3, 5, 7]"}, writer, reader)
    assert verdict in ("incorrect", "unknown")
