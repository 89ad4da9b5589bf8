"""Connections of a server: one client has so many at once, so that others find a place."""

import asyncio
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MAX_CONNECTIONS = 256
"""Of one client. A process may usually have 1,024 files and connections open; more clients are then not let in."""


class LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection, which is closed at once when its client has MAX_CONNECTIONS already."""

    num_open: ClassVar[Counter[str]] = Counter()
    """Connections of each client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and count."""
        super().connection_made(transport)
        self._client = str((transport.get_extra_info("peername") or [""])[0])
        self.num_open[self._client] += 1
        if self.num_open[self._client] > MAX_CONNECTIONS:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and count."""
        super().connection_lost(exc)
        self.num_open[self._client] -= 1
        if not self.num_open[self._client]:
            del self.num_open[self._client]
