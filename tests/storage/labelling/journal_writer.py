"""A process that appends entries to a journal, and prints each one after it is saved.

Arguments: the journal, a name, and the number of entries.
"""

import sys
from pathlib import Path

from storage.labelling.events import Event, Kind
from storage.labelling.journal import Journal


def write(path: str, name: str, count: str) -> None:
    """Append the entries."""
    journal = Journal(Path(path))
    for number in range(int(count)):
        event_id = f"{name}-{number}"
        journal.append(
            Event(
                event_id=event_id,
                time="2026-01-01T00:00:00+00:00",
                trace_id=name,
                steps_id="s",
                kind=Kind.COMMENT,
                text="x" * 5000,
            )
        )
        print(event_id, flush=True)  # noqa: T201


if __name__ == "__main__":
    write(*sys.argv[1:])
