"""A place in a sequence of tokens, for readers that give up at the first token they do not expect."""

from collections.abc import Sequence

__all__ = ["Cursor", "UnreadError"]


class UnreadError(Exception):
    """The text is not in the language."""


class Cursor:
    """Tokens, and how far they have been read; past the end stands the empty token."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def next(self) -> str:
        """The token to be read next."""
        return self._at(self._place)

    @property
    def after(self) -> str:
        """The token behind that."""
        return self._at(self._place + 1)

    def pop(self) -> str:
        """Read a token."""
        token = self.next
        self._place += 1
        return token

    def take(self, token: str) -> bool:
        """Read the token if it is the next one."""
        found = bool(token) and self.next == token
        self._place += found
        return found

    def expect(self, token: str) -> None:
        """Read the token, or give up."""
        if not self.take(token):
            raise UnreadError

    def _at(self, place: int) -> str:
        return self._tokens[place] if place < len(self._tokens) else ""
