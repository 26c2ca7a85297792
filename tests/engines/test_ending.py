"""The tokens that spell a text's end are found by what they spell."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engines.runtime.last_tokens import ending
from stepmark.errors import EngineError


@given(st.lists(st.text("ab ñ☃\n", max_size=3), min_size=1, max_size=8), st.data())
@settings(max_examples=60)
def test_every_token_that_holds_anything_of_the_text_is_its_own(
    texts: list[str], data: st.DataObject
) -> None:
    whole = "".join(texts)
    assume(whole)
    begins = data.draw(st.integers(0, len(whole) - 1))
    found = ending([(text, -float(index)) for index, text in enumerate(texts)], whole[begins:])
    ends = [len("".join(texts[: index + 1])) for index in range(len(texts))]
    mine = [index for index, end in enumerate(ends) if end > begins]
    first = min(mine, default=len(texts))
    # Tokens of the first character that spell nothing by themselves come along.
    while first and not texts[first - 1] and (mine or first == len(texts)):
        first -= 1
    assert list(found) == [-float(index) for index in range(first, len(texts))]


def test_a_character_of_several_tokens_is_whole() -> None:
    assert ending([("is", -1.0), ("", -2.0), ("", -3.0), ("☃", -4.0), (".", -5.0)], "☃.") == (
        -2.0,
        -3.0,
        -4.0,
        -5.0,
    )


def test_a_token_on_the_border_counts() -> None:
    assert ending([("is", -1.0), (" 4", -2.0), ("2", -3.0)], "42") == (-2.0, -3.0)


@pytest.mark.parametrize(
    "tokens",
    [
        [("is", -1.0), ("four", -2.0), ("two", -3.0)],
        [("4", -1.0), ("2", -2.0)],
        [("is", -1.0), (" 42", None)],
    ],
)
def test_what_is_not_spelled_or_not_told_is_an_error(
    tokens: list[tuple[str, float | None]],
) -> None:
    with pytest.raises(EngineError, match="do not spell ' 42'") as refusal:
        ending(tokens, " 42")
    assert not refusal.value.retryable
