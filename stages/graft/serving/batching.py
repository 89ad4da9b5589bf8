"""Images of all clients in batches: workers take what waits, up to a batch, and never wait for more.

So one client is answered at once, and with many clients the batches are full. Clients take turns, and while others ask,
none has more than half of the workers: images that take long to decode are waited for by the client that sends them.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

AskedT = TypeVar("AskedT")
AnsweredT = TypeVar("AnsweredT")

SECONDS_SEEN = 10.0
"""A client counts as one that asks for so long after its last image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waiting(Generic[AskedT, AnsweredT]):
    """An image in line."""

    asked: AskedT
    """What is asked."""
    client: str
    """Who asks."""
    future: "Future[AnsweredT]" = field(default_factory=Future)
    """Gets the answer."""


class Batcher(Generic[AskedT, AnsweredT]):
    """Answers what is asked in threads of its own; what is cancelled before its turn costs nothing."""

    def __init__(
        self, answer: Callable[[Sequence[AskedT]], Sequence[AnsweredT]], batch_size: int, num_workers: int
    ) -> None:
        """Start the workers; `answer` is called with 1 to `batch_size` things, in several threads at once."""
        self._answer, self._batch_size = answer, batch_size
        self._most, self._changed, self._is_closed = batch_size * num_workers, threading.Condition(), False
        self._lines: dict[str, deque[_Waiting[AskedT, AnsweredT]]] = {}  # of each client; who is next comes first
        self._in_work: Counter[str] = Counter()
        self._last_asked: dict[str, float] = {}
        self._blas = threadpool_limits(1, "blas")  # more threads take a fifth of the network's speed
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(num_workers)]
        for worker in self._workers:
            worker.start()

    def ask(self, asked: AskedT, client: str = "") -> "Future[AnsweredT]":
        """Put something in line for a client; its answer comes in the future."""
        waiting: _Waiting[AskedT, AnsweredT] = _Waiting(asked=asked, client=client)
        with self._changed:
            now = time.monotonic()
            recent = {name: last for name, last in self._last_asked.items() if last > now - SECONDS_SEEN}
            self._last_asked = recent | {client: now}
            self._lines.setdefault(client, deque()).append(waiting)
            self._changed.notify()
        return waiting.future

    @property
    def num_waiting(self) -> int:
        """Count what no worker has taken yet."""
        with self._changed:
            return sum(map(len, self._lines.values()))

    def close(self) -> None:
        """Answer what waits, and end the workers."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        self._blas.restore_original_limits()

    def _work(self) -> None:
        while taken := self._wait_for_batch():
            self._answer_batch([one for one in taken if one.future.set_running_or_notify_cancel()])
            with self._changed:
                self._in_work -= Counter(one.client for one in taken)
                self._changed.notify_all()

    def _wait_for_batch(self) -> list[_Waiting[AskedT, AnsweredT]]:
        """Wait for something to do; nothing when all is done and the end has come."""
        with self._changed:
            while not (taken := list(self._taken())) and (self._lines or not self._is_closed):
                self._changed.wait()
            return taken

    def _taken(self) -> Iterator[_Waiting[AskedT, AnsweredT]]:
        """Take up to a batch, one image of each client in turn."""
        for _ in range(self._batch_size):
            client = next(filter(self._may_have_more, self._lines), None)
            if client is None:
                return
            line = self._lines.pop(client)
            self._in_work[client] += 1
            yield line.popleft()
            if line:
                self._lines[client] = line  # behind the others

    def _may_have_more(self, client: str) -> bool:
        recently = time.monotonic() - SECONDS_SEEN
        others_ask = any(name != client and last > recently for name, last in self._last_asked.items())
        return self._in_work[client] < (max(1, self._most // 2) if others_ask else self._most)

    def _answer_batch(self, taken: Sequence[_Waiting[AskedT, AnsweredT]]) -> None:
        if not taken:
            return
        try:
            for one, answered in zip(taken, self._answer([one.asked for one in taken]), strict=True):
                one.future.set_result(answered)
        except Exception as error:  # goes to those who asked
            for one in taken:
                if not one.future.done():
                    one.future.set_exception(error)
