"""The audit of exported rows with the tokenizer of a trainer: which labels its tokens would have.

Trainers lose labels without a message: they truncate long rows, and they search for the token of a
marker, which a tokenizer can split or join with the text beside it. The audit tokenizes every
exported row as its trainer does, and compares where the labels must be with where they would be.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from stepmark import plugins
from stepmark.errors import ConfigError
from storage.formats.base import Format
from storage.formats.solutions.conversations import Turn
from storage.formats.texts.training_texts import (
    Chat,
    MarkedChat,
    MarkedText,
    SeparatedSteps,
    TrainingText,
    has_training_texts,
    training_texts,
)
from storage.publishing.files import rows_of
from storage.publishing.format_fields import KIND

__all__ = ["AuditedTokenizer", "Token", "TokenAudit", "audit_files", "check_auditable"]


class Token(Protocol):
    """A token, and the part of the text that it is made of: characters from `start` to `end`."""

    @property
    def id(self) -> int:
        """The number of the token in the vocabulary."""
        ...

    @property
    def start(self) -> int:
        """The first character."""
        ...

    @property
    def end(self) -> int:
        """The character after the last one."""
        ...


class _Span(NamedTuple):
    id: int
    start: int
    end: int


class AuditedTokenizer(Protocol):
    """What the audit needs of a tokenizer."""

    @property
    def has_bos(self) -> bool:
        """Whether it has a token for the beginning of a text."""
        ...

    def encode(self, text: str, *, special_tokens: bool) -> Sequence[Token]:
        """Return the tokens of a text.

        Args:
            text: The text.
            special_tokens: Whether tokens such as that of the beginning are added.
        """
        ...

    def render(self, messages: Sequence[Turn]) -> str:
        """Return a conversation as one text, by the chat template.

        Raises:
            ConfigError: There is no chat template, or it refuses the conversation.
        """
        ...


@dataclass(kw_only=True)
class TokenAudit:
    """The counts of an audit."""

    max_length: int | None = None
    """The number of tokens at which a trainer truncates a text; None for no truncation."""
    rows: int = 0
    rows_cut: int = 0
    """Rows with a text of more than `max_length` tokens."""
    rows_with_few_markers: int = 0
    rows_with_many_markers: int = 0
    labels: int = 0
    labels_cut: int = 0
    """Labels at tokens that are truncated."""
    labels_misplaced: int = 0
    """Labels that a trainer would give to another token than that at the end of their step."""
    split_markers: int = 0
    """Markers, separators and verdicts that are several tokens."""
    longest: int = 0
    """The largest number of tokens of a text."""

    @property
    def has_misplaced(self) -> bool:
        """Whether labels would be at other steps, or none."""
        return bool(
            self.labels_misplaced or self.rows_with_few_markers or self.rows_with_many_markers
        )

    def counts(self) -> Mapping[str, int]:
        """Return the counts by their names, for a table; those of truncation only with a limit."""
        counts = {"rows": self.rows, "tokens of the longest row": self.longest}
        if self.max_length is not None:
            counts[f"rows cut at {self.max_length} tokens"] = self.rows_cut
        counts["labels"] = self.labels
        if self.max_length is not None:
            counts["labels cut"] = self.labels_cut
        counts["labels misplaced"] = self.labels_misplaced
        counts["rows with too few markers"] = self.rows_with_few_markers
        counts["rows with too many markers"] = self.rows_with_many_markers
        counts["markers of several tokens"] = self.split_markers
        return counts

    def add(self, text: TrainingText, tokenizer: AuditedTokenizer) -> int:
        """Count a text, and return its number of tokens."""
        if isinstance(text, MarkedText):
            return self._add_marked(text, tokenizer)
        if isinstance(text, MarkedChat):
            rendered = MarkedText(tokenizer.render(text.messages), text.marker, text.labels)
            return self._add_marked(rendered, tokenizer, is_chat=True)
        if isinstance(text, SeparatedSteps):
            return self._add_separated(text, tokenizer)
        if isinstance(text, Chat):
            return self._add_chat(text, tokenizer)
        return len(tokenizer.encode(text.text, special_tokens=True))

    def _add_marked(
        self, text: MarkedText, tokenizer: AuditedTokenizer, *, is_chat: bool = False
    ) -> int:
        # The template of a chat contains the special tokens.
        tokens = _without_gaps(tokenizer.encode(text.text, special_tokens=not is_chat))
        expected = list[int]()
        for start in _occurrences(text.marker, text.text):
            covering = _covering(tokens, start, start + len(text.marker))
            expected.extend(covering[-1:])
            self.split_markers += len(covering) > 1
        # Trainers take the last token of the marker alone. Some tokenizers omit white space.
        marker_ids = [token.id for token in tokenizer.encode(text.marker, special_tokens=False)]
        if is_chat and len(marker_ids) > 1:
            # ms-swift searches for the first one instead, which can be in any text.
            marker_ids = []
        positions = [index for index, token in enumerate(tokens) if token.id in marker_ids[-1:]]
        self.rows_with_few_markers += len(positions) < text.labels
        self.rows_with_many_markers += len(positions) > text.labels
        self.labels += text.labels
        for number in range(text.labels):
            wanted = _item(expected, number)
            position = _item(positions, number)
            # A label that must be cut, but is at an earlier token, is misplaced.
            if self._is_cut(wanted) and (position is None or self._is_cut(position)):
                self.labels_cut += 1
            elif wanted is None or position != wanted:
                self.labels_misplaced += 1
        return len(tokens)

    def _add_separated(self, text: SeparatedSteps, tokenizer: AuditedTokenizer) -> int:
        separator = len(tokenizer.encode(text.separator, special_tokens=False))
        length = tokenizer.has_bos + len(tokenizer.encode(text.prompt, special_tokens=False))
        for step, has_label in zip(text.steps, text.has_label, strict=True):
            step_tokens = len(tokenizer.encode(step, special_tokens=False)) + separator
            length += step_tokens
            self.split_markers += separator > 1
            if not has_label:
                continue
            self.labels += 1
            if not step_tokens:
                self.labels_misplaced += 1
            elif self._is_cut(length - 1):
                self.labels_cut += 1
        return length

    def _add_chat(self, chat: Chat, tokenizer: AuditedTokenizer) -> int:
        text, verdicts = _rendered(chat, tokenizer)
        # The template contains the special tokens.
        tokens = _without_gaps(tokenizer.encode(text, special_tokens=False))
        for start, end in verdicts:
            covering = _covering(tokens, start, end)
            self.labels += 1
            self.split_markers += len(covering) > 1
            if not covering:
                self.labels_misplaced += 1
            elif self._is_cut(covering[-1]):
                self.labels_cut += 1
            elif _goes_beyond(tokens[covering[0]], tokens[covering[-1]], start, end, text):
                self.labels_misplaced += 1
        return len(tokens)

    def _is_cut(self, position: int | None) -> bool:
        if self.max_length is None or position is None:
            return False
        return position >= self.max_length


def check_auditable(exporter: Format) -> None:
    """Check that it is known what a trainer tokenizes.

    Raises:
        ConfigError: The format is not for trainers, or it does not declare its texts.
    """
    if has_training_texts(exporter):
        return
    names = list[str]()
    for name in plugins.available(KIND):
        if has_training_texts(plugins.load(KIND, name)):
            names.append(name)
    raise ConfigError(
        "--audit-tokenizer: this format does not declare which texts a trainer tokenizes;"
        f" formats that do: {', '.join(names)}"
    )


def audit_files(
    exporter: Format, folder: Path, tokenizer: AuditedTokenizer, max_length: int | None
) -> TokenAudit:
    """Return the audit of all rows of exported files.

    Args:
        exporter: The format of the files, which passes `check_auditable`.
        folder: The folder with the data files.
        tokenizer: The tokenizer.
        max_length: The number of tokens at which the trainer truncates; None for no truncation.

    Raises:
        ConfigError: The format has conversations, and the tokenizer no chat template for them.
    """
    audit = TokenAudit(max_length=max_length)
    for path in sorted(folder.iterdir()):
        for row in rows_of(path):
            longest = 0
            for text in training_texts(exporter, row):
                longest = max(longest, audit.add(text, tokenizer))
            audit.rows += 1
            audit.rows_cut += max_length is not None and longest > max_length
            audit.longest = max(audit.longest, longest)
    return audit


def _without_gaps(tokens: Sequence[Token]) -> Sequence[_Span]:
    """Return tokens that each begin at the end of the token before.

    Some tokenizers count no white space at the beginning of a token as a part of it.
    """
    contiguous = list[_Span]()
    end = 0
    for token in tokens:
        contiguous.append(_Span(token.id, min(token.start, end), token.end))
        end = max(end, token.end)
    return contiguous


def _item(positions: Sequence[int], number: int) -> int | None:
    return positions[number] if number < len(positions) else None


def _occurrences(marker: str, text: str) -> Iterator[int]:
    start = text.find(marker)
    while start >= 0:
        yield start
        start = text.find(marker, start + len(marker))


def _covering(tokens: Sequence[_Span], start: int, end: int) -> Sequence[int]:
    """Return the indices of the tokens of a part of the text."""
    # Ends ascend: tokens are in the order of the text.
    first = bisect_left(tokens, start + 1, key=lambda token: token.end)
    covering = list[int]()
    for index in range(first, len(tokens)):
        if tokens[index].start >= end:
            break
        covering.append(index)
    return covering


def _goes_beyond(first: _Span, last: _Span, start: int, end: int, text: str) -> bool:
    """Return whether the tokens of a verdict contain more than it and white space before it."""
    return last.end > end or bool(text[first.start : start].strip())


def _rendered(chat: Chat, tokenizer: AuditedTokenizer) -> tuple[str, Sequence[tuple[int, int]]]:
    """Return the text of a conversation, and where its labels begin and end."""
    if not any(chat.has_label):
        return tokenizer.render(chat.messages), []
    # Each label is found by a placeholder that no message contains.
    contents = "".join(message["content"] for message in chat.messages)
    placeholder = _absent_character(contents)
    messages = list[Turn]()
    labels = list[str]()
    for message, has_label in zip(chat.messages, chat.has_label, strict=True):
        if has_label:
            labels.append(message["content"])
            message = {**message, "content": placeholder}
        messages.append(message)
    between = tokenizer.render(messages).split(placeholder)
    if len(between) != len(labels) + 1:
        raise ConfigError(
            "--audit-tokenizer: the chat template of the tokenizer omits or repeats turns, so that"
            " labels are lost or misplaced; use the tokenizer of another model"
        )
    text = between[0]
    spans = list[tuple[int, int]]()
    for label, after in zip(labels, between[1:], strict=True):
        spans.append((len(text), len(text) + len(label)))
        text += label + after
    return text, spans


def _absent_character(text: str) -> str:
    """Return a character for private use that a text does not contain."""
    characters = set(text)
    for code in range(0xE000, 0xF900):
        if chr(code) not in characters:
            return chr(code)
    raise ConfigError("--audit-tokenizer: a row has every character for private use; leave it out")
