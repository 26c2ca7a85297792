"""Messages between a coordinator and its workers: one line of JSON each, over the worker's pipes.

    coordinator -> worker   start     the run file and what else a `Start` contains, once
                            shard     the answer to `next`: a shard, or null if none is left
                            budget    another worker has reached a limit of the budget: send no
                                      further request
                            stop      store completions and end
    worker -> coordinator   next      requests a shard
                            finished  all parts of a shard are written
                            meter     all counters of the worker's meter
                            servers   the state of the servers of the worker's engines
                            failed    the run cannot go on; the worker ends
                            done      no shard is left; the worker ends

The end of a worker's input means that its coordinator has ended. The end of a worker's output
without `failed` or `done` means that the worker has died.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from stepmark import errors
from stepmark.errors import EngineError, StepmarkError, UserError
from storage.dataset.lease import Ticket

__all__ = [
    "MAX_LINE_BYTES",
    "USED",
    "Start",
    "add_change",
    "encode",
    "error_fields",
    "error_of",
    "meter_values",
]

# An error message can quote a long reply of a server.
MAX_LINE_BYTES = 2**24

Values = Mapping[str, Any]

USED = ("prompt_tokens", "generated_tokens")
"""The counters of a meter that count for the budget."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a worker needs to make shards."""

    run_file: str
    """The resolved run file; its limits on what is in flight are those of one worker."""
    code_folder: str | None = None
    """The absolute path of the folder from which paths of plugin files start, on every machine."""
    plugin_files: Mapping[str, str] = field(default_factory=dict)
    """The digests of these files; see `Plan.plugin_files`."""
    makes_traces: bool
    options: RunOptions
    lock_descriptors: Sequence[int]
    """The locked files of a local dataset, which the worker inherits."""
    ticket: Ticket | None
    """The lease on a bucket."""
    retry_seconds: Sequence[float]
    """The waits before the retries of a stage."""
    retries_before_first_answer: int
    """The number of retries while no engine has answered."""
    used: Mapping[str, int] = field(default_factory=dict)
    """The tokens that the workers have used which this one replaces, by counter of the meter."""
    seconds: float = 0.0
    """The time since the start of the run, in seconds."""
    span: Mapping[str, str] = field(default_factory=dict)
    """The coordinator's span, to which those of the worker belong; see `Tracing.environment`."""

    def fields(self) -> dict[str, Any]:
        """Return the fields of the message `start`."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Values) -> Self:
        """Return the content of a message `start`."""
        ticket = Ticket(**fields["ticket"]) if fields["ticket"] else None
        options = RunOptions(**fields["options"])
        return cls(**{**fields, "ticket": ticket, "options": options})


def encode(kind: str, **fields: object) -> bytes:
    """Return a message as a line."""
    return json.dumps({"kind": kind, **fields}).encode("ascii") + b"\n"


def error_fields(error: StepmarkError) -> dict[str, Any]:
    """Return the fields of the message `failed`."""
    name = "UserError"
    # A subclass that another package defines is reported as its public base class.
    for base in type(error).__mro__:
        if base.__module__ == errors.__name__:
            name = base.__name__
            break
    retryable = error.retryable if isinstance(error, EngineError) else False
    return {"error": name, "text": str(error), "retryable": retryable}


def error_of(fields: Values) -> StepmarkError:
    """Return the error that a message `failed` reports."""
    if fields["error"] == EngineError.__name__:
        return EngineError(fields["text"], retryable=fields["retryable"])
    error_class: type[UserError] = getattr(errors, fields["error"])
    return error_class(fields["text"])


def meter_values(meter: Meter) -> dict[str, Any]:
    """Return all counters of a meter."""
    values = dict[str, Any]()
    for name, value in vars(meter).items():
        if isinstance(value, Counter):
            values[name] = dict(value)
        elif isinstance(value, int):  # the time of its start is not an integer
            values[name] = value
    return values


def add_change(meter: Meter, before: Values, after: Values) -> None:
    """Add to a meter what the meter of a worker has counted between two messages.

    Args:
        meter: The meter of the coordinator.
        before: The earlier counters of the worker; empty at first.
        after: The later ones.
    """
    for name, value in after.items():
        if isinstance(value, Mapping):
            counter: Counter[str] = getattr(meter, name)
            for stage, count in value.items():
                counter[stage] += count - before.get(name, {}).get(stage, 0)
        else:
            setattr(meter, name, getattr(meter, name) + value - before.get(name, 0))
