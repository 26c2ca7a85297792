"""Test the selection of the last tokens by the text that they spell."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engines.runtime.last_tokens import logprobs_of_ending
from stepmark.errors import EngineError


@given(st.lists(st.text("ab ñ☃\n", max_size=3), min_size=1, max_size=8), st.data())
@settings(max_examples=60)
def test_all_tokens_with_ending_characters_count(texts: list[str], data: st.DataObject) -> None:
    text = "".join(texts)
    assume(text)
    begins = data.draw(st.integers(0, len(text) - 1))
    logprobs = logprobs_of_ending(
        [(token, -float(index)) for index, token in enumerate(texts)], text[begins:]
    )
    ends = [len("".join(texts[: index + 1])) for index in range(len(texts))]
    in_ending = [index for index, end in enumerate(ends) if end > begins]
    first = min(in_ending, default=len(texts))
    # Empty tokens before the first character belong to it.
    while first and not texts[first - 1] and (in_ending or first == len(texts)):
        first -= 1
    assert list(logprobs) == [-float(index) for index in range(first, len(texts))]


def test_multi_token_character_is_included() -> None:
    # Three tokens encode the snowman, and only the last one has its text.
    assert logprobs_of_ending(
        [("is", -1.0), ("", -2.0), ("", -3.0), ("☃", -4.0), (".", -5.0)], "☃."
    ) == (
        -2.0,
        -3.0,
        -4.0,
        -5.0,
    )


def test_boundary_token_is_included() -> None:
    # The token " 4" contains the first character of "42".
    assert logprobs_of_ending([("is", -1.0), (" 4", -2.0), ("2", -3.0)], "42") == (-2.0, -3.0)


@pytest.mark.parametrize(
    "tokens",
    [
        # Other words.
        [("is", -1.0), ("four", -2.0), ("two", -3.0)],
        # The space is missing.
        [("4", -1.0), ("2", -2.0)],
        # The log-probability is missing.
        [("is", -1.0), (" 42", None)],
    ],
)
def test_misspelled_or_unscored_tokens_are_rejected(
    tokens: list[tuple[str, float | None]],
) -> None:
    with pytest.raises(EngineError, match="do not spell ' 42'") as refusal:
        logprobs_of_ending(tokens, " 42")
    assert not refusal.value.retryable
