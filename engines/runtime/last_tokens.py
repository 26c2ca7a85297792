"""Selection of the tokens at the end of a text, for servers that return no token positions."""

from collections.abc import Sequence

from stepmark.errors import EngineError

__all__ = ["logprobs_of_ending"]

# Characters of a text in an error message.
EXCERPT = 60


def logprobs_of_ending(
    tokens: Sequence[tuple[str, float | None]], continuation: str
) -> tuple[float, ...]:
    """Return the log-probabilities of the last tokens that contain characters of `continuation`.

    A character that several tokens encode is in the text of the last of them; the texts of the
    others are empty, and they are included.

    Args:
        tokens: The text and the log-probability of each token.
        continuation: The end of the text.

    Raises:
        EngineError: The tokens do not spell the text, or one of them has no log-probability. That
            happens if each token loses the space before it, as with old SentencePiece models, or if
            a chat template strips white space.
    """
    start = len(tokens)
    length = 0
    while start and (length < len(continuation) or not tokens[start - 1][0]):
        start -= 1
        length += len(tokens[start][0])
    last_tokens = tokens[start:]
    logprobs = [logprob for _, logprob in last_tokens if logprob is not None]
    text = "".join(text for text, _ in last_tokens)
    if not text.endswith(continuation) or len(logprobs) != len(last_tokens):
        raise EngineError(
            f"the tokens end in {text[-EXCERPT:]!r} and do not spell {continuation[-EXCERPT:]!r}",
            retryable=False,
        )
    return tuple(logprobs)
