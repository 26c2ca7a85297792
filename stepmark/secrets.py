"""Secrets in settings and messages: recognized by their place or their name, and replaced.

A secret is the user information or a query value of a URL, the value of a header, the value of
a key with the name of a credential, or a text in place of the name of an environment variable.
Secrets belong in no fingerprint, message, run file of a dataset, or other record.
"""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

__all__ = [
    "REDACTED",
    "is_variable_name",
    "public_address",
    "redact",
    "redact_urls",
    "secrets_in",
    "without_secrets",
]

T = TypeVar("T")

REDACTED = "REDACTED"
"""The word in place of a secret. It is valid in a URL and as a TOML string."""

# A shorter value occurs in messages by chance.
MIN_SECRET_CHARS = 4
# The scheme is bounded so that the search stays linear in a long text. A URL that was taken for
# a path has one slash.
START = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30})(?P<slashes>://?)"
URL = re.compile(START + r"(?P<rest>[^\s\"'`<>]*)")
WHOLE_URL = re.compile(START + r"(?P<rest>.*)", re.DOTALL)
# The end of the host of a URL.
AUTHORITY_END = re.compile(r"[/?#]")
AUTHORITY = re.compile(r"(?:[^:@\[\]]*|\[[^\[\]@]*\])(?::\d*)?")
# Schemes in whose paths `@` does not occur, as it does in hf://datasets/x/y@main.
WEB_SCHEMES = frozenset({"http", "https", "ftp", "ftps", "ws", "wss"})
# What follows the host is a port, or a secret in its place. Five digits are at most a wrong port;
# a message can continue after the address.
PORT = re.compile(
    r"\A(?P<host>\[[^\]]*\]|[^:/?#\[\]]*):(?!\d{0,5}\W*(?:[/?#]|\Z))(?P<port>[^/?#]*)"
)
# User information of an address without a scheme, in a message.
BARE_USER = re.compile(r"(?<![\w:/])[\w.%+-]{1,100}:[^\s\"'`<>@/:]{1,100}@(?=[\w\[])")
QUERY_VALUE = re.compile(r"(?P<name>[^=&;?#]*=)?(?P<value>[^&;?#]+)")

# Names with a space or other characters are texts, for instance those of scripted replies.
NAME = re.compile(r"[A-Za-z_][\w.-]{0,99}")
CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Everything below a key with one of these names is secret.
CREDENTIAL = re.compile(
    r"(?:password|passwd|passphrase|passcode|secret|credential|authorization|authentication"
    r"|api_?key|(?:access|private|account|subscription|service|client|signing|auth)_?key"
    r"|(?:access|auth|bearer|refresh|session|security|api|hf|id|oauth)_?token)"
    r"|(?:^|_)(?:auth|pwd|cookies?|bearer|jwt|signature|sig|headers?)$"
)
# Of these, only texts are: the others are numbers of tokens, and positions.
WEAK_CREDENTIAL = re.compile(r"(?:^|_)(?:key|token)$")
NO_CREDENTIAL = re.compile(
    r"(?:_env|_file|_path|cache_key)$"
    r"|(?:bos|eos|pad|unk|sep|cls|mask|stop|end|start|begin|think|special|image|video|audio)_token$"
)
# The value of a header for authorization; it has a digit or a sign, unlike "basic arithmetic".
SCHEME_AND_CREDENTIAL = re.compile(
    r"(?:bearer|basic)\s+(?=[A-Za-z]*[^A-Za-z\s])[\w.~+/=-]{8,}", re.IGNORECASE
)
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
VARIABLE_KEY = re.compile(r"_env$")


def is_variable_name(text: str) -> bool:
    """Return whether a text is the name of an environment variable: upper-case letters, digits, _.

    >>> is_variable_name("OPENAI_API_KEY"), is_variable_name("sk-4f1c")
    (True, False)
    """
    return VARIABLE.fullmatch(text) is not None


def redact_urls(text: str) -> str:
    """Return a message in which the URLs have no user information and no query values.

    >>> redact_urls("no answer from http://me:pw@host/v1?key=k&v=1")
    'no answer from http://REDACTED@host/v1?key=REDACTED&v=REDACTED'
    """
    text = URL.sub(lambda match: _redact_url(match, []), text)
    return BARE_USER.sub(f"{REDACTED}@", text)


def redact(text: str, secrets: Collection[str]) -> str:
    """Return a text without secrets: those of its URLs, and the given ones wherever they occur.

    Very short secrets, which occur in texts by chance, are not searched for.
    """
    # The longest first, because one can contain another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, REDACTED)
    return redact_urls(text)


def public_address(url: str) -> str:
    """Return the address of a server without its secrets, also one without a scheme.

    >>> public_address("me:pw@host/v1")
    'REDACTED@host/v1'
    """
    if "://" in url:
        return without_secrets(url)
    return without_secrets(f"http://{url}").removeprefix("http://")


def without_secrets(settings: T) -> T:
    """Return settings, nested tables and lists of values, with `REDACTED` in place of secrets.

    >>> without_secrets({"model": "m", "api_key": "k", "urls": ["https://me:pw@host/v1"]})
    {'model': 'm', 'api_key': 'REDACTED', 'urls': ['https://REDACTED@host/v1']}
    """
    public: T = _Search().public(settings)
    return public


def secrets_in(settings: object) -> frozenset[str]:
    """Return the secrets in settings as texts, in the forms in which a server can repeat them."""
    search = _Search()
    search.public(settings)
    return frozenset(search.secrets)


@dataclass
class _Search:
    """A search for secrets in settings."""

    secrets: list[str] = field(default_factory=list)

    def public(self, value: Any, name: str = "", *, is_secret: bool = False) -> Any:
        """Return a value without its secrets, and collect them.

        Args:
            value: The value.
            name: The key of the value, or of the list that it is in.
            is_secret: Whether the value is below a key that makes all of it secret.
        """
        if isinstance(value, Mapping):
            return {
                key: self.public(item, str(key), is_secret=is_secret or _is_credential(str(key)))
                for key, item in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            items = [self.public(item, name, is_secret=is_secret) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        if value is None or isinstance(value, bool):
            return value
        if is_secret:
            return self._secret(str(value))
        return self._public_text(value, name) if isinstance(value, str) else value

    def _public_text(self, text: str, name: str) -> str:
        words = _words(name)
        if VARIABLE_KEY.search(words):
            return text if not text or is_variable_name(text) else self._secret(text)
        is_named = WEAK_CREDENTIAL.search(words) and not NO_CREDENTIAL.search(words)
        if is_named or SCHEME_AND_CREDENTIAL.fullmatch(text):
            return self._secret(text)
        return self.public_address(text)

    def public_address(self, text: str) -> str:
        """Return a text without the secrets of the URL that it is, or of those that it contains."""
        url_match = WHOLE_URL.fullmatch(text)
        if url_match is not None:
            return _redact_url(url_match, self.secrets)
        return URL.sub(lambda match: _redact_url(match, self.secrets), text)

    def _secret(self, text: str) -> str:
        if text:
            self.secrets += [text, text.rpartition(" ")[2]]
        return REDACTED if text else ""


def _is_credential(key: str) -> bool:
    words = _words(key)
    return bool(CREDENTIAL.search(words)) and not NO_CREDENTIAL.search(words)


def _words(key: str) -> str:
    """Return a key in lower case with `_` between its words; "" for a key that is a text."""
    if not NAME.fullmatch(key):
        return ""
    return (
        CAMEL_BORDER.sub("_", key).replace("-", "_").replace(".", "_").lower().rstrip("_0123456789")
    )


def _redact_url(match: re.Match[str], secrets: list[str]) -> str:
    """Return a URL without its secrets, and add them to a list."""
    scheme = match["scheme"]
    user, host, query = _parts(scheme.lower(), match["rest"])
    url = f"{scheme}{match['slashes']}"
    if user:
        secrets += _forms_of_user(user)
        url += f"{REDACTED}@"

    port = PORT.match(host) if scheme.lower() in WEB_SCHEMES else None
    if port is not None:
        secrets += [port["port"], unquote(port["port"])]
        host = f"{port['host']}:{REDACTED}{host[port.end() :]}"

    def redact_value(pair: re.Match[str]) -> str:
        secrets.extend({pair["value"], unquote(pair["value"])})
        return f"{pair['name'] or ''}{REDACTED}"

    return f"{url}{host}{QUERY_VALUE.sub(redact_value, query)}"


def _parts(scheme: str, rest: str) -> tuple[str, str, str]:
    """Return the user information, the host and path, and the query and fragment of a URL."""
    end = AUTHORITY_END.search(rest)
    authority = rest[: end.start()] if end else rest
    searched = authority
    if "@" not in authority and scheme in WEB_SCHEMES:
        # A password can have `/`, `?` or `#` that should be escaped.
        searched = rest.partition("?")[0] if AUTHORITY.fullmatch(authority) else rest
    user, at, _ = searched.rpartition("@")
    host = rest[len(user) + len(at) :]
    query = re.search(r"[?#]", host)
    if query is None:
        return user, host, ""
    return user, host[: query.start()], host[query.start() :]


def _forms_of_user(user: str) -> Sequence[str]:
    """Return the user information of a URL, its password, and both as a server reads them."""
    plain = unquote(user)
    _, _, password = user.partition(":")
    header = base64.b64encode(plain.encode(errors="replace")).decode()
    return [user, plain, password or user, unquote(password or user), header]
