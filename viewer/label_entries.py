"""The requests of the page on which people label: what a browser may send, checked."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from stepmark.errors import ConfigError
from storage.labelling.events import Kind, Mark

__all__ = ["HEADER", "Entry", "RaterChoice", "body_of", "parse_entry", "parse_rater"]

HEADER = "x-stepmark"
"""A header that pages of other sites cannot send without permission, which no answer grants."""
JSON = "application/json"
# A request holds one entry; only its comment can be long, with up to four bytes per character.
MAX_BODY_BYTES = 65_536
MAX_COMMENT_CHARS = 10_000
NEEDS_STEP = frozenset({Kind.MARK, Kind.FIRST_ERROR})
# Entries that only the server makes.
INTERNAL = frozenset({Kind.ADOPT, Kind.STORED})


class Entry(BaseModel):
    """One entry of a rater."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    steps_id: str = Field(max_length=64)
    """What identifies the steps that the page shows."""
    step: int | None = Field(default=None, strict=True, ge=0, lt=2**31)
    mark: Mark = Mark.NONE
    is_set: bool = Field(default=False, strict=True)
    text: str = Field(default="", max_length=MAX_COMMENT_CHARS)
    source: str = Field(default="", max_length=64)
    first_error: int | None = Field(default=None, strict=True)
    """With ACCEPT: the first error that the page shows for the source, -1 for none."""
    rater: str = Field(default="", max_length=32)
    """The rater that the page shows; "" if the entry may be from any."""
    seen: str = Field(default="", max_length=64)
    """The `draft_id` of the draft that the page shows; "" if it may be any."""


class RaterChoice(BaseModel):
    """The name that a rater enters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rater: str = Field(max_length=200)


def parse_entry(body: bytes) -> Entry:
    """Return the entry in the body of a request.

    Raises:
        ConfigError: The body is not an entry.
    """
    try:
        entry = Entry.model_validate_json(body)
    except ValidationError as error:
        raise ConfigError(_explained(error)) from error
    if entry.kind in INTERNAL:
        raise ConfigError(f"an entry of a browser cannot be '{entry.kind}'")
    if entry.kind in NEEDS_STEP and entry.step is None:
        raise ConfigError(f"the entry '{entry.kind}' needs a step")
    if entry.kind is Kind.ACCEPT and entry.first_error is None:
        raise ConfigError("the entry 'accept' needs the first error that it accepts")
    return entry


def parse_rater(body: bytes) -> str:
    """Return the name in the body of a request, which can be invalid.

    Raises:
        ConfigError: The body has none.
    """
    try:
        return RaterChoice.model_validate_json(body).rater
    except ValidationError as error:
        raise ConfigError(_explained(error)) from error


async def body_of(request: Request) -> bytes:
    """Return the body of a request that a script of these pages has made.

    Raises:
        HTTPException: Another site may have made it, or it is too large.
    """
    if request.headers.get(HEADER) != "1":
        raise HTTPException(403, "the header X-Stepmark is missing")
    if request.headers.get("content-type", "").partition(";")[0].strip() != JSON:
        raise HTTPException(415, f"the body must be {JSON}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    return body


def _explained(error: ValidationError) -> str:
    """Return the first fault of a body, without the values in it."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, fault["loc"])) or "body"
    return f"the request is not valid: {field}: {fault['msg']}"
