"""The tokens that a text ends with, told by what they spell: servers give log-probabilities token by token, and not where each begins."""

from collections.abc import Sequence

from stepmark.errors import EngineError

__all__ = ["ending"]


def ending(tokens: Sequence[tuple[str, float | None]], continuation: str) -> tuple[float, ...]:
    """The log-probabilities of the tokens at the end, of (text, log-probability), that hold anything of `continuation`.

    A character of several tokens is spelled by its last one, and the others are empty: they go with it. Where each token loses the space
    before it, as with old SentencePiece models, or a chat template cuts white space, the tokens do not spell the text: `EngineError`.
    """
    start, length = len(tokens), 0
    while start and (length < len(continuation) or not tokens[start - 1][0]):
        start -= 1
        length += len(tokens[start][0])
    found = [logprob for _, logprob in tokens[start:] if logprob is not None]
    spelled = "".join(text for text, _ in tokens[start:])
    if not spelled.endswith(continuation) or len(found) != len(tokens) - start:
        raise EngineError(
            f"its tokens end in {spelled[-60:]!r} and do not spell {continuation[-60:]!r}",
            retryable=False,
        )
    return tuple(found)
