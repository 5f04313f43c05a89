"""What every request passes before it is read: host, origin, token and size; and the headers of every answer."""

import asyncio
import dataclasses
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from mtnets.serving.metrics import Metrics

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

OPEN = frozenset(("/", "/page.js", "/page.css", "/healthz", "/readyz"))  # without a token: they tell and do nothing
HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(?::\d+)?", re.ASCII)
BODY_SECONDS = 30.0  # in which a body must have come
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclasses.dataclass(frozen=True)
class Refused(Exception):
    """Why a request is not answered."""

    status: int
    detail: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Guard:
    """ASGI middleware.

    Args:
      app: what answers the requests that pass.
      metrics: what is counted.
      token: that requests must bring; None for none.
      hosts: names that the Host header may have, without the port; None for any. Without a token, a page of another
        site could otherwise reach the server by a name of its own (DNS rebinding).
      frames: sites that may show the page within theirs, such as https://huggingface.co.
      most_bytes: of a body.
    """

    def __init__(
        self,
        app: Any,
        metrics: Metrics,
        token: str | None,
        hosts: Iterable[str] | None,
        frames: Iterable[str],
        most_bytes: int,
    ) -> None:
        self.app, self.metrics, self.most_bytes = app, metrics, most_bytes
        self.token = None if token is None else token.encode()
        self.hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        # everything from the server itself, and nothing that stands within the page
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        around = " ".join(frames) or "'none'"
        policy += f"form-action 'none'; base-uri 'none'; frame-ancestors {around}"
        self.headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        self.headers.append((b"content-security-policy", policy.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_on(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *self.headers]}
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
            await self.app(scope, _replayed(body, receive), send_on)
        except Refused as refused:
            await _refuse(refused, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.request(scope["method"], route, status, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        named = HOST.fullmatch(host)
        if self.hosts is not None and (named is None or named[1].strip("[]").lower() not in self.hosts):
            raise Refused(421, f"The host {host[:100]!r} is not one of this server; start it with --allow-host NAME.")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refused(403, "The request comes from a page of another site; use the page of this server.")
        if self.token is None or scope["path"] in OPEN:
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.token):
            raise Refused(
                401, "The token is missing or wrong; send Authorization: Bearer TOKEN.", {"www-authenticate": "Bearer"}
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request, of which no more is read than may come."""
        told = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
        too_large = Refused(413, f"The body is larger than {self.most_bytes} bytes; send less in one request.")
        if not told.isdigit() or int(told) > self.most_bytes:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "The request ended early; send it again.")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.most_bytes:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Refused(408, f"The body did not come within {BODY_SECONDS:g} seconds; send it again.") from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body, which was read already, and then what comes."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(refused: Refused, send: Send) -> None:
    headers = {"content-type": "application/json", **refused.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": json.dumps({"detail": refused.detail}).encode()})
