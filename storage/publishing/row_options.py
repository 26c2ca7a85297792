"""The options of an export that do not depend on its format: which rows it has, in which splits."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import blake2b

from stepmark.errors import ConfigError
from stepmark.records import Problem
from storage.formats.base import Format, ProblemFormat

__all__ = ["ALL_ROWS", "VALIDATION", "RowOptions"]

TRAIN = "train"
VALIDATION = "validation"
# A digest of 64 bits is a position in this range.
POSITIONS = 2**64


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Which traces are exported, and which of their rows, in which splits."""

    traces: Set[str] | None = field(default=None, repr=False)
    """The ids of the traces to export; None for all."""
    limit: int | None = None
    """The number of rows at most; without `balance` the first ones."""
    balance: bool = False
    """Whether as many rows of each split have an error as have none; further ones are left out at
    random."""
    validation: float = 0.0
    """The share of the problems whose rows are the split `validation`; 0 for none."""
    seed: int = 0
    """The seed of the random choices."""
    with_ids: bool = False
    """Whether rows contain the ids of their problem and traces."""

    def check(self, exporter: Format) -> None:
        """Check the options.

        Raises:
            ConfigError: An option is out of range, or does not fit the format.
        """
        if not 0 <= self.validation < 1:
            raise ConfigError(f"--validation {self.validation:g} is no share: it is from 0 to 1")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit {self.limit} exports nothing: it is 1 or more")
        if self.balance and self.limit == 1:
            raise ConfigError("--limit 1 with --balance exports nothing: it is 2 or more")
        if self.validation and exporter.split != TRAIN:
            raise ConfigError(
                "--validation divides training data; this format is a benchmark without such splits"
            )
        if self.balance and isinstance(exporter, ProblemFormat):
            raise ConfigError(
                "--balance counts traces with and without an error; the rows of this format are of"
                " several traces each"
            )

    def split_of(self, problem: Problem, default: str) -> str:
        """Return the split of a problem's rows: `VALIDATION`, or the split of the format.

        Problems with the same text are in one split, even if their ids differ, and a problem is in
        the same split of every export with this seed.
        """
        if not self.validation:
            return default
        # Of the words alone: copies of a problem often differ in white space or capitals.
        words = " ".join(problem.question.casefold().split())
        hashed = blake2b(f"{self.seed}\0{words}".encode("utf-8", "replace"), digest_size=8)
        position = int.from_bytes(hashed.digest(), "big")
        return VALIDATION if position < self.validation * POSITIONS else default

    def balanced_rows(self, have_error: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Return for every row 1 if `balance` keeps it, else 0, by split; at most `limit` are kept.

        Args:
            have_error: For every row of a split 1 if its trace has an error, else 0.
        """
        rng = random.Random(self.seed)
        pairs = {split: _pairs(rows) for split, rows in have_error.items()}
        if self.limit is not None:
            pairs = _sampled(pairs, self.limit // 2, rng)
        kept = dict[str, bytes]()
        for split, rows in have_error.items():
            is_kept = bytearray(len(rows))
            for has_error in (1, 0):
                numbers = [number for number, value in enumerate(rows) if value == has_error]
                for number in rng.sample(numbers, pairs[split]):
                    is_kept[number] = 1
            kept[split] = bytes(is_kept)
        return kept

    def describe(self) -> Sequence[str]:
        """Return the options that change the rows, as short texts for the card."""
        texts = list[str]()
        if self.traces is not None:
            texts.append("selected traces")
        if self.balance:
            texts.append(f"balanced (seed {self.seed})")
        if self.limit is not None:
            texts.append(f"at most {self.limit} rows")
        if self.validation:
            texts.append(f"validation {self.validation:g} of the problems (seed {self.seed})")
        return texts


def _pairs(have_error: bytes) -> int:
    """Return how many pairs of a row with an error and one without it there are."""
    return min(have_error.count(1), have_error.count(0))


def _sampled(pairs: Mapping[str, int], limit: int, rng: random.Random) -> dict[str, int]:
    """Return how many pairs of each split are among at most `limit`, each with equal chances."""
    if sum(pairs.values()) <= limit:
        return dict(pairs)
    if len(pairs) == 1:
        return dict.fromkeys(pairs, limit)
    splits = list(pairs)
    drawn = Counter(rng.sample(splits, limit, counts=pairs.values()))
    return {split: drawn[split] for split in splits}


ALL_ROWS = RowOptions()
"""All rows of all traces, in one split."""
