"""The faults of model servers: one table of what is waited for, repeated, and given up.

The same table is in docs/engines.md. Every exception and every odd reply of a server is one of
these kinds, and each kind is counted under its name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "CONFIRMATIONS",
    "FAULT_KINDS",
    "MAX_WAITS",
    "Action",
    "Fault",
    "FaultKind",
    "kind_named",
    "kind_of_error",
    "kind_of_status",
]

CONFIRMATIONS = 4
"""How often a request is repeated before a rejection or a doubtful reply is accepted.

A sick server or a proxy rejects valid requests at random. If it rejects every fifth, all five
attempts fail for one request in 3,000, and for one in three million if it rejects every twentieth.
"""
MAX_WAITS = 100
"""How often a request is repeated that one server after the other refuses as busy.

Some limits of a rate can never be met, for instance by a prompt with more tokens than a minute has.
"""
# The part of an error in which words are searched for.
EXCERPT = 300


class Action(Enum):
    """What follows a fault, on another server first if there is one."""

    WAIT = "repeated until a server takes it, at most 100 times while others are answered"
    """The server is busy or not running, and hardly ever because of the request."""
    REPEAT = "repeated up to `retries` times; then the failure of the request"
    """The server failed at the request, perhaps because of the request."""
    CONFIRM = "repeated up to 4 times; then the failure of the request"
    """The server rejects the request."""
    STOP = "repeated up to 4 times; then the end of the run"
    """The server rejects all requests, because a setting is wrong."""
    DOUBT = "requested again up to 4 times; then stored as it is"
    """The reply is complete, but a model rarely answers so."""


@dataclass(frozen=True, kw_only=True)
class FaultKind:
    """A row of the table.

    An error is of the first kind whose statuses or words match; a status in the text of an error
    with status 200 counts as its status.
    """

    name: str
    action: Action
    meaning: str
    statuses: frozenset[int] = frozenset()
    words: str = ""
    """A regular expression that matches the message, or the code, of an error of the request."""
    lowers_concurrency: bool = False
    """Whether the server has too many requests at the same time."""
    is_outage: bool = False
    """Whether a single such fault shows that the server takes no requests."""


FAULT_KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            name="unreachable",
            action=Action.WAIT,
            meaning="no connection: refused, unknown host, no route",
            is_outage=True,
        ),
        FaultKind(
            name="restarting",
            action=Action.WAIT,
            meaning="any error whose text says that the server starts, stops or loads a model",
            words=r"restart|starting up|is starting|shutting down|is loading|loading model"
            r"|not ready|temporarily|enginedead|engine (?:is )?dead",
        ),
        FaultKind(
            name="busy",
            action=Action.WAIT,
            meaning="status 429, 503 or 529: too many requests",
            statuses=frozenset({429, 503, 529}),
            words=r"rate.?limit|overloaded|too many requests|server.?busy",
            lowers_concurrency=True,
        ),
        FaultKind(
            name="not now",
            action=Action.REPEAT,
            meaning="status 408, 409 or 425",
            statuses=frozenset({408, 409, 425}),
        ),
        FaultKind(
            name="no access",
            action=Action.STOP,
            meaning="status 401, 402, 403, 404 or 405: a wrong key, address or model, or no credit",
            statuses=frozenset({401, 402, 403, 404, 405}),
        ),
        FaultKind(
            name="no log-probabilities",
            action=Action.STOP,
            meaning="a score without the log-probabilities of the prompt",
        ),
        FaultKind(
            name="rejected",
            action=Action.CONFIRM,
            meaning="any other status from 400 to 499: a prompt that is too long, a bad request",
            statuses=frozenset(range(400, 500)),
            words=r"invalid.?request|context.?length|badrequest|invalid.?argument",
        ),
        FaultKind(
            name="server error",
            action=Action.REPEAT,
            meaning="any other status, or an error in a reply with status 200",
            statuses=frozenset(range(300, 600)),
        ),
        FaultKind(
            name="connection lost",
            action=Action.REPEAT,
            meaning="the connection was closed before the reply was complete",
        ),
        FaultKind(
            name="timeout",
            action=Action.REPEAT,
            meaning="no complete reply within `timeout`",
        ),
        FaultKind(
            name="unreadable reply",
            action=Action.REPEAT,
            meaning="not JSON, truncated, or without a text",
        ),
        FaultKind(
            name="no result",
            action=Action.REPEAT,
            meaning="a request of a batch that expired, or whose result files lack the request",
        ),
        FaultKind(
            name="wrong number of choices",
            action=Action.REPEAT,
            meaning="no choices or too many; where some are missing, those are requested again",
        ),
        FaultKind(
            name="impossible number",
            action=Action.CONFIRM,
            meaning="a count of tokens or a log-probability that cannot be one",
        ),
        FaultKind(
            name="empty text",
            action=Action.DOUBT,
            meaning="a text of white space, without reasoning",
        ),
        FaultKind(
            name="interrupted text",
            action=Action.DOUBT,
            meaning="a text that an abort, an error or a filter ended",
        ),
        FaultKind(
            name="no finish reason",
            action=Action.DOUBT,
            meaning="a text of which nothing says whether it is complete",
        ),
        FaultKind(
            name="cut text",
            action=Action.DOUBT,
            meaning="a text that was cut although longer ones were not",
        ),
        FaultKind(
            name="text cut early",
            action=Action.DOUBT,
            meaning="a text that was cut before it had as many tokens as were requested",
        ),
    )
}
"""The table, in the order in which an error is compared with the kinds."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of one server at one request."""

    kind: FaultKind
    error: Exception
    """What the caller receives if the request fails for good."""
    retry_after: float | None = None
    """The seconds after which the server asks for the next request."""

    @property
    def action(self) -> Action:
        """What follows the fault."""
        return self.kind.action


def kind_named(name: str) -> FaultKind:
    """Return a row of the table."""
    return FAULT_KINDS[name]


def kind_of_status(status: int, text: str) -> FaultKind:
    """Return the kind of an HTTP status other than 200, with the text of the error."""
    if _matches("restarting", text):
        return FAULT_KINDS["restarting"]
    for kind in FAULT_KINDS.values():
        if status in kind.statuses:
            return kind
    return FAULT_KINDS["server error"]


def kind_of_error(statuses: Iterable[int], text: str) -> FaultKind:
    """Return the kind of an error that a server sends with status 200.

    Args:
        statuses: The numbers in the error that look like a status.
        text: The message, the type and the code of the error.
    """
    for status in statuses:
        return kind_of_status(status, text)
    for name, kind in FAULT_KINDS.items():
        if kind.words and _matches(name, text):
            return kind
    return FAULT_KINDS["server error"]


def _matches(name: str, text: str) -> bool:
    # Errors can quote a prompt, which begins later.
    return re.search(FAULT_KINDS[name].words, text[:EXCERPT], re.IGNORECASE) is not None
