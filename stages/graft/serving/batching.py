"""Images of all clients in batches: workers take what waits, up to a batch, and never wait for more.

So one client is answered at once, and with many clients the batches are full.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

AskedT = TypeVar("AskedT")
AnsweredT = TypeVar("AnsweredT")


class Batcher(Generic[AskedT, AnsweredT]):
    """Answers what is asked in threads of its own; what is cancelled before its turn costs nothing."""

    def __init__(
        self, answer: Callable[[Sequence[AskedT]], Sequence[AnsweredT]], batch_size: int, num_workers: int
    ) -> None:
        """Start the workers; `answer` is called with 1 to `batch_size` things, in several threads at once."""
        self._answer, self._batch_size = answer, batch_size
        self._waiting: queue.SimpleQueue[tuple[AskedT, Future[AnsweredT]] | None] = queue.SimpleQueue()
        self._blas = threadpool_limits(1, "blas")  # more threads take a fifth of the network's speed
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(num_workers)]
        for worker in self._workers:
            worker.start()

    def ask(self, asked: AskedT) -> "Future[AnsweredT]":
        """Put something in line; its answer comes in the future."""
        future: Future[AnsweredT] = Future()
        self._waiting.put((asked, future))
        return future

    @property
    def num_waiting(self) -> int:
        """Count what no worker has taken yet."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Answer what waits, and end the workers."""
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join()
        self._blas.restore_original_limits()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            taken = [first]
            while len(taken) < self._batch_size:
                try:
                    another = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    self._waiting.put(None)  # for the end of this worker, after this batch
                    break
                taken.append(another)
            self._answer_batch([one for one in taken if one[1].set_running_or_notify_cancel()])

    def _answer_batch(self, taken: Sequence[tuple[AskedT, "Future[AnsweredT]"]]) -> None:
        if not taken:
            return
        try:
            for (_, future), answered in zip(taken, self._answer([asked for asked, _ in taken]), strict=True):
                future.set_result(answered)
        except Exception as error:  # goes to those who asked
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
