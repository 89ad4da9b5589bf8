"""What every request passes: who may ask, how much, how often; and the headers of every answer.

One client has at most half of all room, so that a client that sends slowly, or much, does not keep others out.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from stages.graft.serving.counters import Counters
from stages.graft.serving.limits import MB, Limits, RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An application of ASGI."""

LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))

MAX_BYTES_PER_SECOND = 100 * MB
"""Of the body of a request, as a gigabit network has it: taken in faster, it would hold up the others."""

DRAINED_BYTES, DRAINED_SECONDS = 64 * MB, 30.0
"""Of the body of a refused request, what is read and thrown away: a client that still sends cannot read an answer."""


class Gate:
    """Lets requests through to an application, within limits."""

    def __init__(
        self, app: App, limits: Limits, counters: Counters, headers: Mapping[str, str], only_local: bool
    ) -> None:
        """Stand before an application.

        Args:
            app: the application.
            limits: bounds of bodies and of the work at once.
            counters: count every request.
            headers: of every answer.
            only_local: whether the server is asked by names of this machine alone. A page elsewhere that lets its own
                name point to this machine is refused then.
        """
        self._app, self._limits, self._counters, self._only_local = app, limits, counters, only_local
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.num_requests, self._num_bytes = 0, 0
        self._requests_of, self._bytes_of = Counter[str](), Counter[str]()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, begun = 500, time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        try:
            await self._let_through(scope, receive, send_with_headers)
        except RefusedError as refusal:
            await _refuse(refusal, send_with_headers)
        finally:
            path = _counted(scope["path"])
            self._counters.count_request(path, status)
            if path == "/answers":
                self._counters.count_seconds(time.monotonic() - begun)

    async def _let_through(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_origin(headers)
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return await self._app(scope, receive, send)
        length, client = self._length_of(headers), client_of(scope)
        try:
            self._check_room(length, client)
        except RefusedError:
            if "expect" not in headers:  # else the client waits for the answer before it sends
                await _drain(receive)
            raise
        self._count(client, 1, length)
        try:
            body = await self._read(receive)
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._count(client, -1, -length)

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse pages of other sites, which a browser on this machine may have open."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._only_local and _name_of(f"//{host}") not in LOCAL_NAMES:
            raise RefusedError(403, "this server answers to localhost alone; start it with --host for other names")
        if origin is not None and urlsplit(origin).netloc != host:
            raise RefusedError(403, "requests of another site's page are refused")

    def _length_of(self, headers: Mapping[str, str]) -> int:
        """Give the length of a body; without a header that says it, the most that is allowed."""
        length = headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdigit() else self._limits.max_bytes

    def _count(self, client: str, num_requests: int, num_bytes: int) -> None:
        """Count what a request takes, or no longer takes."""
        self.num_requests, self._num_bytes = self.num_requests + num_requests, self._num_bytes + num_bytes
        for counts, change in ((self._requests_of, num_requests), (self._bytes_of, num_bytes)):
            counts[client] += change
            if not counts[client]:
                del counts[client]

    def _check_room(self, length: int, client: str) -> None:
        limits = self._limits
        if length > limits.max_bytes:
            raise _too_long(limits)
        if (
            self._requests_of[client] >= max(1, limits.max_requests // 2)
            or self._bytes_of[client] + length > limits.max_bytes_at_once // 2
        ):
            raise RefusedError(429, "too many requests at once; wait for the answers to those before")
        if self.num_requests >= limits.max_requests or self._num_bytes + length > limits.max_bytes_at_once:
            raise RefusedError(503, "the server is busy; try again in a moment")

    async def _read(self, receive: Receive) -> bytes:
        chunks, num_bytes, more = list[bytes](), 0, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "the request was broken off")
                    chunks.append(message.get("body", b""))
                    num_bytes, more = num_bytes + len(chunks[-1]), message.get("more_body", False)
                    await asyncio.sleep(len(chunks[-1]) / MAX_BYTES_PER_SECOND)
                    if num_bytes > self._limits.max_bytes:
                        raise _too_long(self._limits)
        except TimeoutError:
            raise RefusedError(408, f"the request took longer than {self._limits.body_seconds:.0f} s") from None
        return b"".join(chunks)


def _too_long(limits: Limits) -> RefusedError:
    return RefusedError(413, f"more than {limits.max_bytes // MB} MB in a request; send a smaller image, or fewer")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that has been read, and then what the client does: it may go away."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _drain(receive: Receive) -> None:
    num_bytes = 0
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while num_bytes < DRAINED_BYTES:
                message = await receive()
                num_bytes += len(message.get("body", b""))
                await asyncio.sleep(len(message.get("body", b"")) / MAX_BYTES_PER_SECOND)
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _refuse(refusal: RefusedError, send: Send) -> None:
    body = error_json(refusal.reason)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def client_of(scope: Message) -> str:
    """Give the address of a client, without its port; all behind a proxy have the proxy's."""
    return str((scope.get("client") or [""])[0])


def error_json(reason: str) -> bytes:
    """Write why a request is refused, as every refusal does."""
    return json.dumps({"error": reason}, ensure_ascii=False).encode()


def _name_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _counted(path: str) -> str:
    """Name a path in the counters, which must stay few."""
    if path.startswith("/training/"):
        return "/training"
    return path if path in PATHS else "other"


PATHS = frozenset(
    ("/", "/answers", "/corrections", "/docs", "/health", "/metrics", "/model", "/openapi.json", "/ready")
)
"""Paths that have counters of their own."""
