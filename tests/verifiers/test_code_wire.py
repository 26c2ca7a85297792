"""Plain data between processes: what goes over comes back, containers keep their identity, and nothing else gets through."""

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

from verifiers.code_sandbox.examiner import examine
from verifiers.code_sandbox.wire import (
    MAX_MESSAGE_BYTES,
    MAX_VALUES,
    Decoder,
    Encoder,
    UnplainError,
    receive,
    send,
)

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
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
    """With types, and without the order of sets."""
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, map(_shape, value)))
    if isinstance(value, dict):
        return dict, [(_shape(key), _shape(item)) for key, item in value.items()]
    return (
        (type(value), [_shape(item) for item in value])
        if isinstance(value, list | tuple)
        else repr(value)
    )


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
def test_what_goes_over_comes_back(value: Any) -> None:
    with pipe() as (reader, writer):
        send(writer, ["value", Encoder().value(value)])
        message = receive(reader, bytearray())
    assert message is not None
    assert _shape(Decoder().value(message[1])) == _shape(value)


@settings(max_examples=40, database=None)
@given(
    st.lists(plain, max_size=4),
    st.sampled_from((list.reverse, list.clear, lambda found: found.extend("ab"))),
)
def test_a_change_on_the_other_side_is_a_change_here(
    found: list[Any], change: Callable[[list[Any]], Any]
) -> None:
    arguments = ([found], {"alias": found})
    expected = copy.deepcopy(found)
    change(expected)
    ours, theirs = Encoder(), Decoder()
    theirs_arguments = theirs.value(json.loads(json.dumps(ours.value(arguments))))
    change(theirs_arguments[0][0])
    back = Encoder(theirs.containers)
    contents = [back.content(container) for container in theirs.containers]
    restored = Decoder(ours.containers)
    for container, content in zip(ours.containers, contents, strict=True):
        restored.fill(container, content)
    assert _shape(found) == _shape(expected)
    assert arguments[0][0] is found is arguments[1]["alias"]


def test_a_list_in_itself_stays_in_itself() -> None:
    found: list[Any] = []
    found.append(found)
    (again,) = Decoder().value(json.loads(json.dumps(Encoder().value([found]))))
    assert again[0] is again


class _Equal(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value", [_Equal(5), OrderedDict(a=1), object(), int, iter([]), {1: {2: [_Equal(5)]}}, range(3)]
)
def test_only_plain_data_goes_over(value: object) -> None:
    with pytest.raises(UnplainError, match="which is no plain data"):
        Encoder().value(value)


def test_too_much_does_not_go_over() -> None:
    with pytest.raises(UnplainError, match="too much data"):
        Encoder().value([0] * (MAX_VALUES + 1))
    with pipe() as (_, writer), pytest.raises(UnplainError, match="too much data"):
        send(writer, ["x" * MAX_MESSAGE_BYTES])


@pytest.mark.parametrize("line", [b"{}\n", b"[\n", b"\xff\n", b"[" * 9_000 + b"\n", b"1\n", b"\n"])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pipe(line) as (reader, _), pytest.raises(UnplainError, match="not a message"):
        receive(reader, bytearray())


@settings(max_examples=200, database=None)
@given(st.lists(replies, max_size=4))
def test_no_reply_passes_a_test_but_the_one_expected(said: list[Any]) -> None:
    lines = b"".join(
        json.dumps(line).encode() + b"\n" for line in [["ended"], ["callable"], *said, []]
    )
    with (
        pipe(lines) as (reader, _),
        pipe() as (_, writer),
        mock.patch.object(sys, "set_int_max_str_digits"),
    ):
        verdict, _ = examine({"tests": "assert f([1]) == [2, 3, 5, 7]"}, writer, reader)
    assert verdict in ("incorrect", "unknown")
