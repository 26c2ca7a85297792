"""A cursor over tokens, for parsers that stop at the first unexpected token."""

from collections.abc import Sequence

__all__ = ["NotInLanguageError", "TokenCursor"]


class NotInLanguageError(Exception):
    """The text is not in the language."""


class TokenCursor:
    """A sequence of tokens and the current position. Past the end, tokens are empty texts."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._position = 0

    @property
    def current(self) -> str:
        """The next token to be read."""
        return self._token_at(self._position)

    @property
    def following(self) -> str:
        """The token after the current one."""
        return self._token_at(self._position + 1)

    def advance(self) -> str:
        """Read the current token and return it."""
        token = self.current
        self._position += 1
        return token

    def accept(self, token: str) -> bool:
        """Read the current token if it equals `token`, and return whether it does."""
        if not token or self.current != token:
            return False
        self._position += 1
        return True

    def expect(self, token: str) -> None:
        """Read the current token.

        Raises:
            NotInLanguageError: It is not `token`.
        """
        if not self.accept(token):
            raise NotInLanguageError

    def _token_at(self, position: int) -> str:
        if position >= len(self._tokens):
            return ""
        return self._tokens[position]
