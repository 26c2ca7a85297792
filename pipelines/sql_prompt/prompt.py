r"""The prompt of `stepmark sql`: queries until `;`, named queries, and commands such as `\d`."""

import os
import pydoc
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.sql_prompt.completion import SqlCompleter
from pipelines.sql_prompt.output import Expanded, result_output
from pipelines.sql_prompt.runner import QueryRunner
from stepmark.errors import ConfigError, UserError
from stepmark.visible_text import one_line, visible
from storage.queries.named_queries import MARK, named_queries
from storage.queries.result_files import check_result_file, write_result
from storage.queries.vocabulary import Vocabulary, read_vocabulary

__all__ = ["Prompt", "history_file"]

HELP = r"""\d [VIEW]         list the views, or the columns of one
\x [on|off|auto]  print every value on its own line; auto: where the columns do not fit
\timing           switch the time of every query on or off
\o FILE           write the next result to a file: .parquet, .csv, .json or .jsonl
:                 list the named queries
:NAME ARGUMENTS   run a named query
\?                this help
\q                leave; also Ctrl-D
A query ends with ';' and can have several lines. Ctrl-C clears it, or stops it while it runs."""
PROMPT = "stepmark> "
CONTINUATION = "     ...> "
# For a pager `less`: quit if the text fits, keep colours, and leave the text on the screen.
LESS = "FRX"


class Prompt:
    """One session of the prompt.

    Args:
        runner: Executes the queries.
        console: Prints the results; the terminal by default.
    """

    def __init__(self, runner: QueryRunner, console: Console | None = None) -> None:
        self._runner = runner
        self._console = console or Console(highlight=False)
        self._vocabulary: Vocabulary = read_vocabulary(runner.dataset)
        self._expanded = Expanded.auto
        self._shows_time = False
        self._output = ""
        self._commands: Mapping[str, Callable[[Sequence[str]], None]] = {
            "\\d": self._describe,
            "\\x": self._expand,
            "\\timing": self._toggle_time,
            "\\o": self._set_output,
            "\\?": self._help,
        }

    def run(self) -> None:
        """Read and execute lines until the user leaves.

        Raises:
            DatasetError: The dataset is missing.
        """
        session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=Condition(lambda: not is_complete(session.default_buffer.document)),
            prompt_continuation=CONTINUATION,
            history=_history(),
            lexer=PygmentsLexer(SqlLexer),
            completer=SqlCompleter(self._vocabulary, [*self._commands, "\\q"]),
            complete_while_typing=False,
        )
        self._print([Text(f"{visible(self._runner.dataset.uri)}: \\? shows the help", "dim")])
        while True:
            try:
                text = session.prompt().strip()
            except KeyboardInterrupt:
                continue  # Ctrl-C only clears the text
            except EOFError:
                return
            if text.rstrip("; ") == "\\q":
                return
            if text:
                self.execute(text)

    def execute(self, text: str) -> None:
        """Execute a command or a query. Print a `UserError` as one line instead of raising it."""
        try:
            if text.startswith("\\"):
                self._command(text)
            elif text.startswith(MARK):
                with self._runner.limited():
                    self._run_named(text)
            else:
                with self._runner.limited():
                    self._query(text)
        except UserError as error:
            self._print([Text(one_line(str(error)), "red")])
        except KeyboardInterrupt:
            self._print([Text("stopped", "red")])

    def _command(self, text: str) -> None:
        name, *arguments = _words(text)
        if name not in self._commands:
            raise ConfigError(f"there is no command {name}; \\? lists them")
        self._commands[name](arguments)

    def _run_named(self, text: str) -> None:
        """Run a named query, or list all of them if the text has no name."""
        name, *arguments = _words(text)
        if name != MARK:
            self._query(name, arguments)
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for query in named_queries().values():
            table.add_row(Text(query.usage), Text(query.description, "dim"))
        self._print([table])

    def _query(self, text: str, arguments: Sequence[str] = ()) -> None:
        r"""Run a query, and print its result or write it to the file that `\o` has set."""
        start = time.monotonic()
        answer = self._runner.run(text, arguments)
        seconds = time.monotonic() - start
        if self._output:
            write_result(answer, self._output)
            self._print([Text(f"{_row_count(answer)} written to {visible(self._output)}")])
            # The next result must not replace the file.
            self._output = ""
        else:
            results = result_output(answer, self._console, self._expanded)
            self._print([*results, Text(f"({_row_count(answer)})", "dim")])
        if self._shows_time:
            self._print([Text(f"{seconds:.3f} s", "dim")])

    def _describe(self, arguments: Sequence[str]) -> None:
        table = Table.grid(padding=(0, 2, 0, 0))
        views = self._vocabulary.views
        if not arguments:
            for view, columns in views.items():
                table.add_row(Text(view), Text(f"{len(columns)} columns", "dim"))
            for macro, parameters in self._vocabulary.macros.items():
                table.add_row(Text(f"{macro}({', '.join(parameters)})"), Text("macro", "dim"))
        elif arguments[0] in views:
            for column, kind in views[arguments[0]].items():
                table.add_row(Text(column), Text(kind, "dim"))
        else:
            raise ConfigError(f"there is no view {arguments[0][:80]!a}; \\d lists them")
        self._print([table])

    def _expand(self, arguments: Sequence[str]) -> None:
        if not arguments:
            is_on = self._expanded is Expanded.on
            self._expanded = Expanded.auto if is_on else Expanded.on
        elif arguments[0] in Expanded.__members__:
            self._expanded = Expanded(arguments[0])
        else:
            raise ConfigError("write \\x on, \\x off or \\x auto")
        self._print([Text(f"every value on its own line: {self._expanded}", "dim")])

    def _toggle_time(self, arguments: Sequence[str]) -> None:
        del arguments
        self._shows_time = not self._shows_time
        self._print([Text(f"timing: {'on' if self._shows_time else 'off'}", "dim")])

    def _set_output(self, arguments: Sequence[str]) -> None:
        if len(arguments) != 1:
            raise ConfigError("write \\o and the name of one file")
        check_result_file(arguments[0])
        self._output = arguments[0]

    def _help(self, arguments: Sequence[str]) -> None:
        del arguments
        self._print([Text(HELP)])

    def _print(self, renderables: Iterable[RenderableType]) -> None:
        """Print to the console; on a terminal with fewer lines than the text, in a pager."""
        with self._console.capture() as capture:
            for renderable in renderables:
                self._console.print(renderable)
        text = capture.get()
        if self._console.is_terminal and text.count("\n") >= self._console.height:
            os.environ.setdefault("LESS", LESS)
            pydoc.pager(text)
        else:
            self._console.file.write(text)
            self._console.file.flush()


def is_complete(document: Document) -> bool:
    """Return whether Enter ends the text: a command, or a query that ends with a semicolon."""
    text = document.text.strip()
    return not text or text.startswith(("\\", MARK)) or text.endswith(";")


def history_file() -> Path:
    """Return the path of the history, below `$XDG_STATE_HOME` or `~/.local/state`."""
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(folder, "stepmark", "sql_history")


def _history() -> History:
    """Return the history in its file, or one in memory if the file cannot be written."""
    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Queries can quote data, which other users of the machine must not read.
        path.touch(mode=0o600)
        with path.open("ab"):
            return FileHistory(path)
    except OSError:
        return InMemoryHistory()  # as on a read-only file system


def _words(text: str) -> Sequence[str]:
    """Return the words of a command, without quotes around them and without a final semicolon.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        # Without escapes: commands begin with a backslash.
        lexer = shlex.shlex(text.rstrip("; "), posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.escape = ""
        lexer.commenters = ""
        return list(lexer)
    except ValueError as error:
        raise ConfigError(f"a quote is not closed: {text[:80]}") from error


def _row_count(answer: Any) -> str:
    """Return the number of rows of a result, as a text with the unit."""
    return "1 row" if answer.num_rows == 1 else f"{answer.num_rows:,} rows"
