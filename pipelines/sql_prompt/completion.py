"""Completion of views, columns, macros, functions, keywords, named queries and commands."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from storage.queries.named_queries import MARK, named_queries
from storage.queries.vocabulary import Vocabulary

__all__ = ["SqlCompleter"]

_WORD = re.compile(r"[\w\\:]+$")
_WORDS = re.compile(r"\w+")
# What a view or a macro follows.
_SOURCE = re.compile(r"(?:\b(?:from|join|describe|summarize)\s+|^\s*\\d\s+)\S*$", re.IGNORECASE)


@dataclass(frozen=True)
class SqlCompleter(Completer):
    r"""Completions for the word before the cursor.

    Args:
        vocabulary: The names of the dataset.
        commands: The commands of the prompt, such as `\d`.
    """

    vocabulary: Vocabulary
    commands: Sequence[str]

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield the names that begin with the word before the cursor, views and columns first."""
        del complete_event
        before = document.text_before_cursor
        match = _WORD.search(before)
        word = match[0] if match else ""
        for name, kind in self._candidates(before, word, document.text):
            if name.lower().startswith(word.lower()) and name != word:
                yield Completion(name, start_position=-len(word), display_meta=kind)

    def _candidates(self, before: str, word: str, text: str) -> Iterable[tuple[str, str]]:
        is_first_word = before.strip() == word
        if is_first_word and word.startswith("\\"):
            return [(command, "command") for command in self.commands]
        if is_first_word and word.startswith(MARK):
            return [(MARK + name, "named query") for name in named_queries()]
        views = [(view, "view") for view in self.vocabulary.views]
        macros = [(f"{macro}(", "macro") for macro in self.vocabulary.macros]
        if _SOURCE.search(before):
            return views + macros
        if not word:
            return []  # all names would hide the text below the cursor
        keywords = [(keyword, "keyword") for keyword in self.vocabulary.keywords]
        functions = [(f"{function}(", "function") for function in self.vocabulary.functions]
        return [*self._columns(text), *views, *macros, *keywords, *functions]

    def _columns(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the columns of the views that occur in the text; those of all views if none does.

        The names of the views can follow the cursor: `SELECT | FROM traces`.
        """
        words = set(_WORDS.findall(text.lower()))
        views = [view for view in self.vocabulary.views if view in words]
        columns = dict[str, str]()
        for view in views or self.vocabulary.views:
            columns.update(self.vocabulary.views[view])
        yield from columns.items()
