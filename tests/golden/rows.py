"""The recorded files: JSON lines, decisions apart from texts, and their comparison."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.json_lines import read_json_lines

__all__ = [
    "RECORDED",
    "Golden",
    "compare",
    "digest",
    "excerpt",
    "export_rows",
    "record",
    "table_rows",
]

RECORDED = Path(__file__).with_name("recorded")
TOLERANCE = 1e-12
"""Relative and absolute. The linear algebra of numpy may round the last bit differently on another
processor; STEPMARK_GOLDEN_EXACT=1 compares every digit."""
LONGEST = 100
"""Longest text in characters that is stored unchanged; longer ones become excerpt and digest."""
HEAD = 60
TEXT_COLUMNS = ("outcome_reason", "reason", "error", "rationale")
"""Wording, which may be rewritten. All other columns are decisions."""
EXCLUDED_COLUMNS = ("seconds", "waited_seconds")
"""Wall time, which no two runs share."""
PART_KEY = b"stepmark.fingerprint"
VERSION = re.compile(r"Stepmark \d[\w.+-]*\w|Stepmark unknown")
"""The version that a card names."""
ROWS_VERSION = re.compile(r"^  version: 0\.0\.\d+\n", re.MULTILINE)
"""The version of the rows of an export, which depends on how Arrow writes them."""


@dataclass
class Golden:
    """The rows of one set: what must never change, and the wording beside it."""

    decisions: list[Any] = field(default_factory=list)
    texts: list[Any] = field(default_factory=list)

    def extend(self, other: "Golden") -> None:
        """Append the rows of another set."""
        self.decisions.extend(other.decisions)
        self.texts.extend(other.texts)


def digest(text: str) -> str:
    """Return 12 hexadecimal digits that identify a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def excerpt(text: str) -> str:
    """Return a text as it is when it is short, else its beginning and its digest."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:HEAD]}… #{digest(text)}"


def table_rows(dataset: Path, *, only: str = "") -> Golden:
    """Return all parts of a dataset: keys of their footers, and their rows, in order.

    `only` restricts the tables to one kind, such as "labels".
    """
    golden = Golden()
    learned = dict[str, int]()
    for file in sorted(dataset.rglob("*.parquet")):
        name = file.relative_to(dataset).as_posix()
        # The texts of completions are those of traces, rollouts and critiques.
        if not name.startswith(only) or name.startswith("completions/"):
            continue
        table = pq.read_table(file)
        key = (table.schema.metadata or {}).get(PART_KEY, b"").decode()
        golden.decisions.append({"part": name, "rows": table.num_rows, "part_key": key})
        for number, row in enumerate(table.to_pylist()):
            _add_row(golden, learned, f"{name}:{number}", row)
    for file in sorted(dataset.glob("*.toml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        golden.decisions.append({"file": file.name, "lines": lines})
    return golden


def export_rows(folder: Path, name: str) -> Golden:
    """Return the rows of an export, in order; its card is a text."""
    golden = Golden()
    for file in sorted(folder.rglob("*")):
        relative = f"{name}/{file.relative_to(folder).as_posix()}"
        if file.suffix == ".parquet":
            rows = pq.read_table(file).to_pylist()
        elif file.suffix == ".jsonl":
            rows = read_json_lines(file)
        else:
            if file.is_file():
                content = VERSION.sub("Stepmark VERSION", file.read_text(encoding="utf-8"))
                content = ROWS_VERSION.sub("", content)
                golden.texts.append({"file": relative, "lines": content.splitlines()})
            continue
        golden.decisions.append({"export": relative, "rows": len(rows)})
        for number, row in enumerate(rows):
            golden.decisions.append({"at": f"{relative}:{number}", **_shortened(row)})
    return golden


def record(name: str, golden: Golden) -> None:
    """Write the files of a set; a set without texts, or without decisions, has one file."""
    RECORDED.mkdir(exist_ok=True)
    for kind, rows in (("decisions", golden.decisions), ("texts", golden.texts)):
        if rows:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            path = RECORDED / f"{name}.{kind}.jsonl"
            path.write_text("".join(lines), encoding="utf-8")


def compare(name: str, golden: Golden) -> None:
    """Raise `AssertionError` with the first row that differs from the recorded ones."""
    for kind, rows in (("decisions", golden.decisions), ("texts", golden.texts)):
        path = RECORDED / f"{name}.{kind}.jsonl"
        recorded = list[Any]()
        if path.exists():
            recorded = read_json_lines(path)
        # The same round trip, so that tuples are lists on either side.
        current = [json.loads(json.dumps(row)) for row in rows]
        _compare_rows(path.name, recorded, current)


def _compare_rows(file: str, recorded: Sequence[Any], current: Sequence[Any]) -> None:
    for number, (old, new) in enumerate(zip(recorded, current, strict=False), start=1):
        where = _difference(old, new, "")
        if where is not None:
            excerpts = [json.dumps(row, ensure_ascii=False)[:600] for row in (old, new)]
            message = f"{file}, row {number} differs at '{where}'"
            raise AssertionError(f"{message}\nrecorded: {excerpts[0]}\nnow:      {excerpts[1]}")
    if len(recorded) != len(current):
        longer = max(recorded, current, key=len)
        rest = longer[min(len(recorded), len(current))]
        raise AssertionError(
            f"{file} has {len(recorded)} rows, and now there are {len(current)}; "
            f"the first without a counterpart: {json.dumps(rest, ensure_ascii=False)[:600]}"
        )


def _difference(old: Any, new: Any, path: str) -> str | None:
    """Return the path of the first value that differs, None when there is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        if old.keys() != new.keys():
            return f"{path}: keys {sorted(old.keys() ^ new.keys())}"
        return _first(_difference(old[key], new[key], f"{path}.{key}") for key in old)
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{path}: length"
        pairs = enumerate(zip(old, new, strict=True))
        return _first(_difference(*pair, f"{path}[{number}]") for number, pair in pairs)
    if isinstance(old, float) and isinstance(new, float):
        return None if _close(old, new) else path
    return None if type(old) is type(new) and old == new else path


def _close(old: float, new: float) -> bool:
    if old == new or (math.isnan(old) and math.isnan(new)):
        return True
    if os.environ.get("STEPMARK_GOLDEN_EXACT"):
        return False
    return math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _first(differences: Iterable[str | None]) -> str | None:
    for difference in differences:
        if difference is not None:
            return difference
    return None


def _add_row(golden: Golden, learned: dict[str, int], at: str, row: dict[str, Any]) -> None:
    decisions: dict[str, Any] = {"at": at}
    texts: dict[str, Any] = {}
    for column, value in row.items():
        if column in EXCLUDED_COLUMNS:
            continue
        if column == "learned" and value:
            # The same for all traces of a shard, and long: it is stored once and then counted.
            if value not in learned:
                learned[value] = len(learned)
                golden.decisions.append({"learned": learned[value], "content": json.loads(value)})
            decisions[column] = learned[value]
        elif column in TEXT_COLUMNS:
            _add_text(decisions, texts, column, value)
        elif column == "finish_reason" and ": " in value:
            decisions[column] = value.partition(": ")[0]
            texts[column] = value
        elif column == "steps" and value and isinstance(value[0], dict) and "rationale" in value[0]:
            rationales = [step.pop("rationale") for step in value]
            decisions[column] = _shortened(value)
            if any(rationales):
                texts["rationales"] = rationales
        else:
            decisions[column] = _shortened(value)
    golden.decisions.append(decisions)
    if texts:
        golden.texts.append({"at": at, **texts})


def _add_text(
    decisions: dict[str, Any],
    texts: dict[str, Any],
    column: str,
    value: str | None,
) -> None:
    if not value:
        decisions[column] = value
        return
    texts[column] = value
    prefix, separator, _ = value.partition(": ")
    if column == "reason" and separator and prefix.isidentifier():
        # SQL groups by the part of a label's reason that is in front of the colon.
        decisions["reason prefix"] = prefix


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return excerpt(value)
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(item) for item in value]
    return value
