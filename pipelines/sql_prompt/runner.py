"""Execution of the queries of `stepmark sql`, each within the limits of the command."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stepmark.errors import ConfigError
from storage.dataset.dataset import Dataset
from storage.queries.limits import bound_process
from storage.queries.named_queries import MARK, named_query
from storage.queries.sql import query

__all__ = ["QueryRunner"]

# The exit status of an error that the user can fix.
USER_ERROR = 2
# The exit status after Ctrl-C, as shells report it.
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class QueryRunner:
    """Queries of one dataset, one at a time.

    Args:
        dataset: The dataset.
        timeout: The seconds after which a query is ended.
        memory: The MiB that a query may hold.
    """

    dataset: Dataset
    timeout: float
    memory: int

    def run(self, text: str, arguments: Sequence[str] = ()) -> Any:
        """Return the result of a query as an Arrow table.

        Args:
            text: One SELECT statement, or `:` and the name of a query.
            arguments: The values of the parameters of a named query.

        Raises:
            ConfigError: The query is invalid, or exceeds a limit.
            KeyboardInterrupt: Ctrl-C has stopped the query.
            DatasetError: The dataset is missing, or damaged.
        """
        parameters: Mapping[str, str] = {}
        text = text.strip()
        if text.startswith(MARK):
            named = named_query(text.removeprefix(MARK))
            text = named.sql
            parameters = named.bind(arguments)
            self.dataset.require()
            named.check_methods(parameters, self.dataset.methods("annotations"))
        elif arguments:
            raise ConfigError("a query is one argument: put it in quotes")
        return self._run(text, parameters)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Limit the memory of this process while it runs a query and renders the result.

        Raises:
            ConfigError: The memory is not sufficient.
        """
        try:
            # This process has no other task, so its memory can be limited as a whole.
            with bound_process(self.memory):
                yield
        except MemoryError as error:
            raise ConfigError("the answer does not fit into the memory; add a LIMIT") from error

    def _run(self, text: str, parameters: Mapping[str, str]) -> Any:
        """Run a query in a thread: Ctrl-C cannot interrupt the main thread within DuckDB."""
        stop = threading.Event()

        def end_process() -> None:
            if stop.is_set():
                os._exit(INTERRUPTED)
            message = f"stepmark: the query failed: it took longer than {self.timeout:g} s\n"
            os.write(sys.stderr.fileno(), message.encode())
            os._exit(USER_ERROR)

        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(
                query,
                self.dataset,
                text,
                self.timeout,
                parameters=parameters,
                memory_mib=self.memory,
                on_overdue=end_process,
                stop=stop,
            )
            try:
                return result.result()
            except KeyboardInterrupt:
                stop.set()
                raise
