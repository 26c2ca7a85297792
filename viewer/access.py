"""Access to the pages: who may request them, and what a browser may do with them.

A page of another site that is open in the same browser must not read a dataset. On this machine the
names in the Host header are fixed, which stops DNS rebinding. When other machines can connect,
every request needs the token of the address that the command prints.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Access", "Guard"]

# No inline script or style, and nothing from other servers.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TOKEN = "token"
# A token is in the address bar once, and then in a cookie that no script can read.
COOKIE = "stepmark_view"
SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may request the pages of a server."""

    hosts: Sequence[str] = ()
    """The permitted values of the Host header; all values if there are none."""
    token: str = ""
    """The token that every request needs; "" if it needs none."""


class Guard:
    """Middleware that rejects requests without access, and adds the headers for browsers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._rejection(scope) or self._token_answer(scope) or self.app
        await answer(scope, receive, send_with_headers)

    def _rejection(self, scope: Scope) -> Response | None:
        """Return the answer to a request that another site may have made; None for others."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.access.hosts and host not in self.access.hosts:
            return _refuse(f"This server answers to {self.access.hosts[0]} only.")
        origin = headers.get("origin")
        is_safe = scope["method"] in SAFE_METHODS
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            return _refuse("A page of another site made this request.")
        if origin is None and not is_safe:
            return _refuse("A request that changes something needs the header Origin.")
        # A link on another site may lead here; a frame, a script or an image may not.
        is_link = headers.get("sec-fetch-dest", "document") == "document"
        if headers.get("sec-fetch-site") == "cross-site" and not (is_safe and is_link):
            return _refuse("A page of another site made this request.")
        return None

    def _token_answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request without a valid cookie; None if it has one."""
        # Cookies are sent to all ports of a host, where two datasets can be served.
        cookie = f"{COOKIE}_{scope['server'][1]}"
        if not self.access.token or self._is_token(_cookie(scope, cookie)):
            return None
        parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not self._is_token(dict(parameters).get(TOKEN, "")):
            return _refuse("Open the address with the token that `stepmark view` has printed.")
        # The token must not stay in the address bar, from which people copy links.
        rest = urlencode([(name, value) for name, value in parameters if name != TOKEN])
        # With two slashes it would be the address of another server.
        location = "/" + quote(scope["path"]).lstrip("/")
        if rest:
            location += f"?{rest}"
        redirect = RedirectResponse(location, status_code=303)
        # Not "strict": browsers would leave the cookie out after a link on another site, such as
        # a chat with the address. What else other sites request is refused above.
        redirect.set_cookie(cookie, self.access.token, httponly=True, samesite="lax")
        return redirect

    def _is_token(self, text: str) -> bool:
        # In constant time: a comparison that stops early tells how much of a guess is right.
        return hmac.compare_digest(text.encode(), self.access.token.encode())


def _cookie(scope: Scope, name: str) -> str:
    try:
        cookies = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _refuse(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", status_code=403)
