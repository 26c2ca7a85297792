"""The faults that exceptions of the OpenAI client, and odd replies, show; see `faults`."""

import httpx2  # the HTTP client below openai; only its exceptions are used
import openai

from engines.runtime.backoff import read_retry_after
from engines.runtime.doubts import DoubtfulReply
from engines.runtime.faults import Action, Fault, FaultKind, kind_named, kind_of_status
from engines.runtime.openai_replies import UnreadableReply
from stepmark.errors import ConfigError, EngineError

__all__ = ["fault_of"]

USER_ERROR_CURE = "check base_urls, model and api_key_env, and your account there"


def fault_of(error: Exception) -> Fault | None:
    """Return the fault that an exception shows; None for an error in this program."""
    if isinstance(error, DoubtfulReply):
        return Fault(kind=error.kind, error=error)
    if isinstance(error, UnreadableReply):
        return _fault_of_reply(error)
    if isinstance(error, openai.APIStatusError):
        return _fault_of_status(error)
    if isinstance(error, openai.APIConnectionError):
        message = " ".join(str(error).split())
        text = f"no answer from {error.request.url}: {message} Is the server running there?"
        return Fault(kind=_kind_of_connection(error), error=EngineError(text, retryable=True))
    if isinstance(error, openai.APIError):
        message = " ".join(str(error).split())
        text = f"not understood by {error.request.url}: {message}"
        return Fault(kind=kind_named("unreadable reply"), error=EngineError(text, retryable=True))
    if isinstance(error, TimeoutError):
        text = "a server did not complete an answer in time"
        return Fault(kind=kind_named("timeout"), error=EngineError(text, retryable=True))
    return None


def _fault_of_reply(error: UnreadableReply) -> Fault:
    # The results of a batch have no address.
    source = f" by {error.url}" if error.url else ""
    if error.kind.name == "no access":
        text = f"engines.openai: refused{source}: {error}; {USER_ERROR_CURE}"
        return Fault(kind=error.kind, error=ConfigError(text))
    if error.kind.action is Action.STOP:
        return Fault(kind=error.kind, error=ConfigError(f"engines.openai: {error}"))
    text = f"not understood{source}: {error}"
    return Fault(kind=error.kind, error=_request_error(text, error.kind))


def _fault_of_status(error: openai.APIStatusError) -> Fault:
    message = " ".join(str(error).split())
    url = error.request.url
    kind = kind_of_status(error.status_code, message)
    retry_after = read_retry_after(error.response.headers)
    if kind.action is Action.STOP:
        text = f"engines.openai: refused by {url}: {message}; {USER_ERROR_CURE}"
        return Fault(kind=kind, error=ConfigError(text), retry_after=retry_after)
    return Fault(
        kind=kind,
        error=_request_error(f"refused by {url}: {message}", kind),
        retry_after=retry_after,
    )


def _kind_of_connection(error: openai.APIConnectionError) -> FaultKind:
    cause = error.__cause__
    # The request was not sent, so it has no part in it.
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        return kind_named("unreachable")
    if isinstance(error, openai.APITimeoutError):
        return kind_named("timeout")
    return kind_named("connection lost")


def _request_error(text: str, kind: FaultKind) -> EngineError:
    return EngineError(text, retryable=kind.action in (Action.WAIT, Action.REPEAT))
