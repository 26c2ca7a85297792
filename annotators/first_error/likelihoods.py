"""Compute the log-likelihood of each step's rollouts, for every parameter value of the model.

The likelihood of a step depends on its `StepCounts` only, and many steps have equal counts. Rows
are therefore computed once per distinct counts and cached.

A step has one of two kinds of wording, which all its rollouts share: with probability v only one
wording is possible, otherwise several are. With n_p rollouts that pass the step with the trace's
wording and n_r that diverge there and end as r, the likelihood given a parameter value is

    P(pass)^n_p [ v prod_r P1(r)^n_r + (1 - v) SAME_WORDING^n_p prod_r P2(r)^n_r ]

where P1 is the probability of diverging and ending as r if one wording is possible, and P2 the
probability of ending as r if several are. Neither is normalized exactly: passing and all ends
together sum to 1.00 to 1.05. All counts are scaled to the effective sample size first (see
`effective_sample_size`).
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import islice
from threading import Lock
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from annotators.first_error.model import (
    LAPSE_RATE,
    SAME_WORDING,
    SECOND_MISTAKE_RATE,
    SECOND_MISTAKE_REPEAT_RATES,
    FirstErrorModel,
)
from annotators.first_error.numerics import Floats
from annotators.first_error.trace_evidence import RolloutEnd, StepCounts, TraceEvidence

__all__ = ["StepLikelihoods", "StepTable", "effective_sample_size", "end_probabilities"]

# A row takes 2 KiB, so the cache takes at most 17 MiB.
MAX_CACHED_ROWS = 8192


class StepTable(NamedTuple):
    """The rows of the steps of some traces, by the step's position relative to the first error.

    The first four are log-likelihoods of the step and its rollouts.
    """

    before: Floats
    """[trace, step, before point]: the step precedes the first error."""
    at: Floats
    """[trace, step, before point]: the step is the first error."""
    no_error: Floats
    """[trace, step, before point]: the trace has no error."""
    after: Floats
    """[trace, step, after point]: the step follows the first error."""
    repeats: Floats
    """[trace, step, after point]: the probability (no logarithm) that one more rollout from this
    step, which follows the first error, ends with the trace's wrong answer."""


class DivergenceTables(NamedTuple):
    """Log-probabilities that depend only on the number of steps left, one row per number from 1.

    The columns are the blocks before, at and no error [before point], then one block [after point]
    for each repeat rate after the error: k, or one of `SECOND_MISTAKE_REPEAT_RATES`.
    """

    repeats_rest: Floats
    """[steps left, after point]: the probability (no logarithm) that a rollout that passed a step
    after the error repeats the rest of the trace: k^(steps left - 1), with lapses."""
    one_wording: Floats
    """[steps left, end, column]: P1, diverging at a step with one possible wording, by end."""
    many_wordings: Floats
    """[steps left, end, column]: P2, the end if several wordings are possible."""


class StepLikelihoods:
    """The likelihood rows of steps under one model, with a cache.

    Share an instance between traces: most steps of a shard have equal counts. It may be used from
    several threads (a fit runs in a worker thread while other shards are searched).
    """

    def __init__(self, model: FirstErrorModel) -> None:
        self.model = model
        self._cache: dict[StepCounts[float], Floats] = {}
        self._lock = Lock()

    def table(self, traces: Sequence[TraceEvidence]) -> StepTable:
        """Return the rows of all steps of traces that have the same number of steps."""
        self._refresh(traces)
        rows = list[Floats]()
        for trace in traces:
            # No row is None after the refresh.
            rows.extend(cast(list[Floats], trace.rows))
        table = np.concatenate(rows).reshape(len(traces), -1, self._column_ends[-1])
        return StepTable(*np.split(table, self._column_ends[:-1], axis=2))

    def compute(self, counts: Sequence[StepCounts[float]]) -> Floats:
        """Return the rows [step, column] of steps with these counts, without the cache.

        The columns are the fields of `StepTable`, side by side.
        """
        table = np.array(counts)
        steps_left = StepCounts(*table.T).steps_left.astype(int)
        # A power of two, so that few different sizes are built and cached.
        longest = 1 << (int(steps_left.max()) - 1).bit_length()
        tables = _divergence_tables(self.model, longest)
        logs = self._wording_likelihoods(table, steps_left, tables)  # [step, column]

        before_columns = len(self._log_step_prior)
        before_rows = logs[:, :before_columns]
        # The prior of the last step depends on lambda; `Weights.last_step_log_prior` adds it.
        before_rows[steps_left > 1] += self._log_step_prior

        after_rows, repeat_rate = self._rows_after(logs[:, before_columns:])
        repeats_rest = tables.repeats_rest[steps_left - 1]
        repeats = (1 - self.model.harmless) * repeat_rate * repeats_rest
        return np.concatenate([before_rows, after_rows, repeats], axis=1)

    def _wording_likelihoods(
        self, table: Floats, steps_left: npt.NDArray[np.int_], tables: DivergenceTables
    ) -> Floats:
        """Sum out the kind of wording of each step.

        Args:
            table: The `StepCounts` of the steps, array [step, count].
            steps_left: The column of `table` as integers, array [step].
            tables: The tables of the model.

        Returns:
            The log-likelihoods of the rollouts, array [step, column], with the columns of
            `DivergenceTables`.
        """
        columns: StepCounts[Floats] = StepCounts(*table.T)
        # The effective sample size is the number of visits divided by this (Kish's design effect).
        design_effect = 1 + self.model.rollout_correlation * (columns.visits - 1)
        passed = (columns.passed / design_effect)[:, None]
        effective = table / design_effect[:, None]
        diverged = effective[:, None, -len(RolloutEnd) :]  # [step, 1, end]
        one_wording = (diverged @ tables.one_wording[steps_left - 1])[:, 0]
        many_wordings = (diverged @ tables.many_wordings[steps_left - 1])[:, 0]

        verbatim_rate = columns.verbatim_rate[:, None]
        one_wording = one_wording + np.log(verbatim_rate)
        log_other_wordings = passed * np.log(SAME_WORDING) + np.log(1 - verbatim_rate)
        many_wordings = many_wordings + log_other_wordings
        logs: Floats = passed * self._log_pass + np.logaddexp(one_wording, many_wordings)
        return logs

    def _rows_after(self, logs: Floats) -> tuple[Floats, Floats]:
        """Sum out the repeat rate of steps after the error.

        Args:
            logs: Log-likelihoods, array [step, mode * after point].

        Returns:
            The log-likelihoods, and the expected repeat rates, both [step, after point].
        """
        repeat_rates = self._repeat_rates
        # [step, mode, after point]
        modes = logs.reshape(-1, *repeat_rates.shape) + self._log_modes
        after = np.logaddexp.reduce(modes, axis=1)
        repeat_rate = (np.exp(modes - after[:, None]) * repeat_rates).sum(axis=1)
        return after, repeat_rate

    def _refresh(self, traces: Sequence[TraceEvidence]) -> None:
        """Fill every row that is missing in the traces."""
        stale = list[tuple[TraceEvidence, int, StepCounts[float]]]()
        for trace in traces:
            for step, row in enumerate(trace.rows):
                if row is None:
                    stale.append((trace, step, trace.step_counts(step)))
        rows = self._rows_of([counts for _, _, counts in stale])
        for trace, step, counts in stale:
            trace.rows[step] = rows[counts]

    def _rows_of(self, counts: Sequence[StepCounts[float]]) -> dict[StepCounts[float], Floats]:
        rows: dict[StepCounts[float], Floats] = {}
        missing = list[StepCounts[float]]()
        for key in dict.fromkeys(counts):
            row = self._cache.get(key)
            if row is None:
                missing.append(key)
            else:
                rows[key] = row
        if missing:
            # Copies: a view would keep the whole table of this call alive in the cache.
            computed = [row.copy() for row in self.compute(missing)]
            new_rows = dict(zip(missing, computed, strict=True))
            self._remember(new_rows)
            rows.update(new_rows)
        return rows

    def _remember(self, rows: dict[StepCounts[float], Floats]) -> None:
        """Add rows to the cache. When it is full, evict the oldest ones until it is half full."""
        with self._lock:
            self._cache.update(rows)
            if len(self._cache) > MAX_CACHED_ROWS:
                # Half at once: a dict scans the slots of deleted keys to find its oldest key.
                evicted = len(self._cache) - MAX_CACHED_ROWS // 2
                for key in list(islice(self._cache, evicted)):
                    del self._cache[key]

    @cached_property
    def _column_ends(self) -> Sequence[int]:
        """Return the end of every field of `StepTable` in a row."""
        before_points = len(self.model.reliability)
        after_points = len(self.model.harmless)
        sizes = [before_points, before_points, before_points, after_points, after_points]
        ends: list[int] = np.cumsum(sizes).tolist()
        return ends

    @cached_property
    def _log_step_prior(self) -> Floats:
        """Return the log-prior of a step, array [3 * before point].

        The blocks are before, at and no error.
        """
        q = self.model.reliability
        logs: Floats = np.log(np.concatenate([q, 1 - q, q]))
        return logs

    @cached_property
    def _log_pass(self) -> Floats:
        """Return the log-probability of passing a step, array [column].

        The columns are those of `DivergenceTables`.
        """
        q = self.model.reliability
        at = (1 - self.model.passing) * self.model.repeating
        logs: Floats = np.log(np.concatenate([q, at, q, *self._repeat_rates]))
        return logs

    @cached_property
    def _repeat_rates(self) -> Floats:
        """Return the repeat probability of a step after the error, array [mode, after point]."""
        return _repeat_rates(self.model)

    @cached_property
    def _log_modes(self) -> Floats:
        """Return the log-probability of each mode, array [mode, 1]."""
        modes = len(SECOND_MISTAKE_REPEAT_RATES)
        rates = [1 - SECOND_MISTAKE_RATE] + [SECOND_MISTAKE_RATE / modes] * modes
        logs: Floats = np.log(rates)[:, None]
        return logs


def effective_sample_size(count: Floats, correlation: float) -> Floats:
    """Return the effective size of `count` equally correlated rollouts: n / (1 + rho (n - 1))."""
    return count / (1 + correlation * (count - 1))


def end_probabilities(
    correct: Floats, same_wrong: Floats, continues: Floats | float = 0.0
) -> Floats:
    """Return the probabilities of the three rollout ends, with lapses.

    Args:
        correct: Probability of the correct answer, any shape.
        same_wrong: Probability of the trace's own wrong answer, same shape.
        continues: Probability that the rollout does not diverge, so that it does not end here.

    Returns:
        Array [end, ...] in the order of `RolloutEnd`. The remaining probability is another answer.
    """
    other = np.maximum(0.0, 1 - correct - same_wrong - continues)
    ends = np.array([correct, same_wrong, other])
    ends *= 1 - LAPSE_RATE
    ends += LAPSE_RATE / len(RolloutEnd)
    return ends


def _repeat_rates(model: FirstErrorModel) -> Floats:
    """Return the repeat probability of a step after the error, array [mode, after point].

    The first mode is k: the step is no second mistake.
    """
    k = model.faithful
    # Adding 0 * k repeats the number for every grid point.
    second_mistakes = [rate + 0 * k for rate in SECOND_MISTAKE_REPEAT_RATES]
    return np.stack([k, *second_mistakes])


@lru_cache(maxsize=32)
def _divergence_tables(model: FirstErrorModel, longest: int) -> DivergenceTables:
    """Return the tables for 1 ... `longest` steps left."""
    steps_left = np.arange(1, longest + 1)[:, None]
    repeats_rest = (1 - LAPSE_RATE) * model.faithful ** (steps_left - 1) + LAPSE_RATE / 2
    one_before, many_before = _tables_before(model, steps_left)
    one_after, many_after = _tables_after(model, repeats_rest)
    return DivergenceTables(
        repeats_rest=repeats_rest,
        one_wording=_join_blocks(one_before, one_after),
        many_wordings=_join_blocks(many_before, many_after),
    )


def _tables_before(
    model: FirstErrorModel, steps_left: npt.NDArray[np.int_]
) -> tuple[Floats, Floats]:
    """Return the log-probabilities of diverging with one and with many wordings, by end.

    Arrays [block, end, steps left, before point]; the blocks are before, at and no error.
    """
    q = model.reliability
    h = model.passing
    c = model.repeating
    # All steps but the failed one are passed with q.
    others_pass = q ** (steps_left - 1)
    never = np.zeros((len(steps_left), len(q)))

    # With one wording, a rollout that diverges from a correct step has failed it.
    fails_step = end_probabilities(never, never, continues=q)
    at_error = end_probabilities(h * others_pass, never, continues=(1 - h) * c)
    one_wording = np.log([fails_step, at_error, fails_step])

    # With many wordings, it may have written the same step in other words.
    rewords = end_probabilities(h * others_pass, (1 - h) * c * others_pass)
    without_error = end_probabilities(q**steps_left, never)
    many_wordings = np.log([rewords, rewords, without_error])
    return one_wording, many_wordings


def _tables_after(model: FirstErrorModel, repeats_rest: Floats) -> tuple[Floats, Floats]:
    """Return the same as `_tables_before` for steps after the error.

    Args:
        model: The model.
        repeats_rest: The field of `DivergenceTables`, array [steps left, after point].

    Returns:
        Arrays [mode, end, steps left, after point]; the modes are those of `_repeat_rates`.
    """
    repeat_rates = _repeat_rates(model)[:, None]
    every_row = np.ones((len(repeat_rates), *repeats_rest.shape))
    epsilon = model.harmless
    ends = np.array([epsilon, 1 - epsilon, 1 - epsilon])[:, None]

    # With one wording, a rollout that diverges did not repeat the step. It reaches the trace's
    # wrong answer by a lapse only. This probability is not subtracted from the other answers.
    fails_step = (1 - repeat_rates) * every_row
    one_wording = np.stack([fails_step, LAPSE_RATE * fails_step, fails_step], axis=1)

    # With many wordings, it may have repeated the step in other words.
    repeats = repeat_rates * repeats_rest
    many_wordings = np.stack([every_row, repeats, 1 - repeats], axis=1)
    return np.log(ends * one_wording), np.log(ends * many_wordings)


def _join_blocks(before: Floats, after: Floats) -> Floats:
    """Return [steps left, end, column] from two arrays [block, end, steps left, point]."""
    flat = list[Floats]()
    for blocks in (before, after):
        by_step = blocks.transpose(2, 1, 0, 3)
        flat.append(by_step.reshape(len(by_step), len(RolloutEnd), -1))
    return np.concatenate(flat, axis=2)
