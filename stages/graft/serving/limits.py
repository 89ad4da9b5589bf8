"""What a server takes on at once, and how it refuses more."""

from dataclasses import dataclass

from stages.graft.core.errors import DataError
from stages.graft.images.formats import jpeg_2000_pixels

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
    """With a body, worked on at once; the next ones are refused. Half of them are for one client."""
    max_bytes_at_once: int = 128 * MB
    """Of the bodies of all these requests; half of them for one client."""
    body_seconds: float = 30.0
    """Within which a body has to arrive."""


MAX_JPEG_2000_PIXELS = 1_000_000
"""Of JPEG 2000: Pillow's decoder lets no other thread of Python run, so that no other client would be answered."""


def check_duration(data: bytes) -> bytes:
    """Give an image file; a DataError when no other client would be answered while it is decoded."""
    if jpeg_2000_pixels(data) > MAX_JPEG_2000_PIXELS:
        raise DataError("a JPEG 2000 image of over 1 megapixel, which takes too long here; send it as JPEG or PNG")
    return data


class RefusedError(Exception):
    """A request is refused; the client is told why, in plain words."""

    def __init__(self, status: int, reason: str) -> None:
        """Refuse with a status of HTTP."""
        super().__init__(reason)
        self.status, self.reason = status, reason
