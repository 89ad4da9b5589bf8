"""Room in memory that all threads of a process share: an image waits until there is room for it.

The bounds hold for the process, whatever the number of threads. Large images wait in line; one that needs more than all
of a room waits until it is nearly alone there. Small ones do not wait behind them: part of a room is for these only.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress

GIB = 2**30


SMALL, FOR_SMALL = 32, 8
"""An image is small when it needs up to this part of a room (a 32nd), and this part (an eighth) is for small ones."""


class Room:
    """So many bytes, of which threads take a part for a while."""

    def __init__(self, num_bytes: int) -> None:
        """Make an empty room."""
        self.num_bytes = num_bytes
        self._taken = 0
        self._line = threading.Lock()  # who asks for much is not overtaken again and again by those who ask for little
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """Wait until there is room for so many bytes, and keep it until the end of the context."""
        is_small = num_bytes <= self.num_bytes // SMALL
        most = self.num_bytes - (0 if is_small else self.num_bytes // FOR_SMALL)
        num_bytes = min(num_bytes, most)
        with nullcontext() if is_small else self._line, self._changed:
            self._changed.wait_for(lambda: self._taken + num_bytes <= most)
            self._taken += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= num_bytes
                self._changed.notify_all()


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""glibc's names for three of its limits."""

_NUM_HEAPS, MOST_KEPT = 4, 2**26
"""How many heaps there are, and bytes that each may keep for the next image: as many as glibc itself would, at most."""


def share_heaps(kept_bytes: int = MOST_KEPT) -> None:
    """Let all threads share a few heaps, and each heap keep what an image has left for the next one.

    Every thread would have a heap of its own; and what is given back to the system is cleared page by page when it is
    asked for again. What takes half of `kept_bytes` is in no heap.
    """
    limits = {_M_ARENA_MAX: _NUM_HEAPS, _M_TRIM_THRESHOLD: kept_bytes, _M_MMAP_THRESHOLD: kept_bytes // 2}
    with suppress(AttributeError, OSError, TypeError):  # another C library
        for name, value in limits.items():
            ctypes.CDLL(None).mallopt(name, value)


share_heaps()

FILES, PIXELS = Room(GIB // 2), Room(3 * GIB // 2)
"""For the bytes of image files, and for what decoding them needs: 2 GiB in all. A thread takes them in this order."""


class _OneImage(threading.local):
    """The image that a thread works on."""

    stack: ExitStack | None = None
    rooms: frozenset[Room] = frozenset()


_this_thread = _OneImage()


@contextmanager
def one_image() -> Iterator[None]:
    """Work on one image in this thread: what is taken inside is kept until the end."""
    if _this_thread.stack is not None:
        yield
        return
    with ExitStack() as stack:
        _this_thread.stack, _this_thread.rooms = stack, frozenset()
        try:
            yield
        finally:
            _this_thread.stack = None


def take(room: Room, num_bytes: int) -> None:
    """Wait for room for the image of this thread; nothing outside of `one_image`, or when the image has its room.

    An image asks each room once: two that held a part and waited for more would wait for each other.
    """
    image = _this_thread
    if image.stack is not None and room not in image.rooms:
        image.rooms |= {room}
        image.stack.enter_context(room.taken(num_bytes))
