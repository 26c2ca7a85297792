"""The results of a batch: the lines of its output file and of its error file.

    {"custom_id": "…", "response": {"status_code": 200, "body": {…}}, "error": null}

The lines come in any order. A request can have several lines, or none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engines.runtime.faults import kind_of_error, kind_of_status
from engines.runtime.openai_replies import UnreadableReply, check_reply, excerpt

__all__ = ["Line", "is_answer", "read_lines", "read_result", "rejection", "was_processed"]

Line = Mapping[str, Any]
"""A line of a result file, as a JSON object."""

NO_RESULT = "no result"
OK = 200
BAD_REQUEST = 400
# The codes of requests that a batch did not process before it expired or was cancelled.
EXPIRED_CODES = frozenset({"batch_expired", "batch_cancelled"})
# Characters of the message of an error that are kept.
MESSAGE_CHARACTERS = 300


def read_lines(contents: Iterable[bytes]) -> dict[str, Line]:
    """Return the lines of result files by their `custom_id`.

    An answer takes precedence over an error with the same id, and the first answer over others.
    Other text is left out, so its request has no result.
    """
    lines: dict[str, Line] = {}
    for content in contents:
        for line in _objects(content):
            name = line.get("custom_id")
            if not isinstance(name, str):
                continue
            if name not in lines or (is_answer(line) and not is_answer(lines[name])):
                lines[name] = line
    return lines


def read_result(line: Line | None) -> Mapping[str, Any]:
    """Return the reply to one request of a batch, as a server would have sent it.

    Raises:
        UnreadableReply: The request failed, or has no result.
    """
    if line is None:
        raise UnreadableReply("the batch has no result for the request", NO_RESULT)
    response = line.get("response")
    if isinstance(response, dict) and "status_code" in response:
        status = response["status_code"]
        body = response.get("body")
        if status == OK:
            return check_reply(body)
        if type(status) is not int:
            raise UnreadableReply("a line of the batch has no status")
        message = _message(body)
        kind = kind_of_status(status, message)
        raise UnreadableReply(f"status {status} in the batch: {message}", kind.name)
    error = line.get("error")
    if not isinstance(error, dict):
        raise UnreadableReply("a line of the batch has neither a response nor an error")
    message = _message({"error": error})
    if not was_processed(line):
        raise UnreadableReply(f"the batch did not process the request: {message}", NO_RESULT)
    kind = kind_of_error([], f"{message} {_code(error)}")
    raise UnreadableReply(f"an error in the batch: {message}", kind.name)


def is_answer(line: Line) -> bool:
    """Return whether a line has the reply to its request, and no error."""
    response = line.get("response")
    return isinstance(response, dict) and response.get("status_code") == OK


def was_processed(line: Line | None) -> bool:
    """Return whether a request was processed before its batch expired or was cancelled."""
    if line is None:
        return False
    error = line.get("error")
    return not isinstance(error, dict) or _code(error) not in EXPIRED_CODES


def rejection(message: str) -> Line:
    """Return the line of a request that makes a server refuse the batch as a whole."""
    return {"response": {"status_code": BAD_REQUEST, "body": {"error": {"message": message}}}}


def _code(error: Mapping[str, Any]) -> str:
    return str(error.get("code") or "").lower()


def _objects(content: bytes) -> Iterator[Line]:
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def _message(body: Any) -> str:
    """Return the message in the body of an error, on one line."""
    message: Any = body
    if isinstance(body, dict):
        message = body.get("error") or body.get("message") or body
    if isinstance(message, dict):
        message = message.get("message") or message.get("code") or message
    return excerpt(" ".join(str(message).split()), MESSAGE_CHARACTERS)
