"""Results of the stages in a folder, so that a second call repeats only what is missing."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stepmark.errors import InputError

__all__ = ["KeptResults"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class KeptResults:
    """A folder with one JSON file per result."""

    folder: Path

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `InputError` if the results in the folder were made with other options."""
        file = self.folder / "options.json"
        if file.exists():
            earlier = json.loads(file.read_text(encoding="utf-8"))
            if earlier != options:
                raise InputError(
                    f"{self.folder} has results with other options: {json.dumps(earlier)};"
                    " name another folder in --keep"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(options), encoding="utf-8")

    async def get(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return the result of this name, and make and write it if it is not in the folder."""
        file = self.folder / f"{name}.json"
        if file.exists():
            kept: T = json.loads(file.read_text(encoding="utf-8"))
            return kept
        made = await make()
        file.parent.mkdir(parents=True, exist_ok=True)
        # A file appears complete or not at all, also if the process is killed.
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(made), encoding="utf-8")
        draft.replace(file)
        return made
