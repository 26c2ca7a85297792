"""Files of JSON lines."""

import json
from pathlib import Path
from typing import Any

__all__ = ["read_json_lines", "write_json_lines"]


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a file. Only "\\n" ends a line, so texts may hold other separators."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def write_json_lines(path: Path, *rows: object) -> str:
    """Write one line per row, and return the path as the text that run files contain."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
