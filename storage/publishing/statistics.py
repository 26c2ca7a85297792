"""The counts of an export, which its card and its summary report."""

from collections import Counter
from dataclasses import dataclass, field, fields
from hashlib import blake2b

import numpy as np

from stepmark.records import NO_ERROR
from storage.formats.base import Example

__all__ = ["ExportStatistics"]

# A 64-bit integer. Among a million solutions, two equal digests have a probability of 3 * 10**-8.
DIGEST_BYTES = 8


@dataclass(slots=True)
class ExportStatistics:
    """Counts over the traces of an export."""

    labelled: int = 0
    kept: int = 0
    split_rows: Counter[str] = field(default_factory=Counter)
    """The exported rows by split."""
    kept_texts: bytearray = field(default_factory=bytearray)
    """A digest of each solution with a kept label, one after the other. A set of them would take
    ten times the memory."""
    left_out: Counter[str] = field(default_factory=Counter)
    """The traces that are not exported, by reason."""
    domains: Counter[str] = field(default_factory=Counter)
    """The kept traces by domain."""
    first_errors: Counter[str] = field(default_factory=Counter)
    """The kept traces by what their label says about the first error."""
    models: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        """Count a labelled trace, whether its label is kept or not."""
        self.labelled += 1
        self.kept += example.label.kept
        if example.label.kept:
            # No id contains the separator. Encoding as JSON would take three times as long.
            text = "\0".join((example.trace.problem_id, "".join(example.trace.steps)))
            encoded = text.encode("utf-8", "surrogatepass")
            self.kept_texts += blake2b(encoded, digest_size=DIGEST_BYTES).digest()
            self.domains[example.problem.domain or "not stated"] += 1
            self.first_errors[_error_class(example.label.first_error)] += 1
        self.models[example.trace.model] += 1
        self.sources[example.problem.source] += 1
        self.licenses[example.problem.license or "not stated"] += 1
        self.methods.update(example.label.sources)
        self.fingerprints[example.label.fingerprint] += 1

    @property
    def distinct(self) -> int:
        """The number of distinct solutions with a kept label."""
        return len(np.unique(np.frombuffer(self.kept_texts, dtype=np.uint64)))

    @property
    def rows(self) -> int:
        """The number of exported rows."""
        return self.split_rows.total()

    @property
    def candidates(self) -> int:
        """The number of rows that the export would have if nothing was left out."""
        return self.rows + self.left_out.total()

    def update(self, other: "ExportStatistics") -> None:
        """Add the counts of other traces."""
        for statistic in fields(self):
            total = getattr(self, statistic.name)
            added = getattr(other, statistic.name)
            if isinstance(total, int | bytearray):
                total += added
                setattr(self, statistic.name, total)
            else:
                total.update(added)


def _error_class(first_error: int | None) -> str:
    if first_error is None:
        return "undecided"
    return "without an error" if first_error == NO_ERROR else "with an error"
