"""What a server takes on at once, and how it refuses more."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that keep the memory of a server small, whatever it is sent."""

    max_bytes: int = 32 * MB
    """Of the body of a request."""
    max_images: int = 64
    """In a request."""
    max_pixels: int = 25_000_000
    """Of an image; the model's own limit also holds."""
    max_requests: int = 64
    """With a body, worked on at once; the next ones are refused."""
    max_bytes_at_once: int = 96 * MB
    """Of the bodies of all these requests."""
    body_seconds: float = 30.0
    """Within which a body has to arrive."""


class RefusedError(Exception):
    """A request is refused; the client is told why, in plain words."""

    def __init__(self, status: int, reason: str) -> None:
        """Refuse with a status of HTTP."""
        super().__init__(reason)
        self.status, self.reason = status, reason
