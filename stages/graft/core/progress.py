"""Progress of a long step on stderr: a tqdm bar on a terminal, elsewhere a line every few seconds.

A step of a few seconds leaves nothing behind: the line that its stage prints at the end says what was done.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_running: "list[Progress]" = []
"""Steps that have begun and not ended, the outermost first."""


def running() -> "Progress | None":
    """Give the progress of the step that this process is at, the outermost; None between steps."""
    return _running[0] if _running else None


SECONDS_BETWEEN_LINES = 5.0
"""Keeps a log readable: an hour of work gives at most 720 lines."""


def bar(items: Iterable[T], *, desc: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Give the items one by one and show the progress.

    Args:
        items: any iterable.
        desc: name of the step, shown first.
        unit: name of the items, plural ("images", "epochs"); "B" counts bytes and shows them as MB or GB.
        total: number of items; by default their length, if they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, desc=desc, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


class Progress:
    """Progress of a step without an iterable, such as `with Progress(12, desc="train", unit="epochs") as progress`."""

    def __init__(
        self, total: int | None, *, desc: str, unit: str, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start to count.

        Args:
            total: number of items; None if unknown.
            desc, unit: as in `bar`.
            done: items done before the start (a resumed download); the rate leaves them out.
            clock: gives the time in seconds.
        """
        self.total, self.desc, self.unit = total, desc, unit
        self.done = self._done_before = done
        self._note = ""
        self._clock = clock
        self._start = self._last_line = clock()
        self._tqdm: tqdm[Any] | None = None
        if sys.stderr.isatty():
            words = f" {unit}".replace(" B", "B")  # tqdm writes "12.3images/s" without the space
            self._tqdm = tqdm(total=total, desc=desc, unit=words, unit_scale=unit == "B", initial=done, leave=False)

    def __enter__(self) -> Self:
        _running.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _running.remove(self)
        if self._tqdm is not None:
            self._tqdm.close()
        elif kind is None and self._clock() - self._start >= SECONDS_BETWEEN_LINES:
            self._print_line(finished=True)

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done. Call it from one thread only."""
        self.done += count
        if self._tqdm is not None:
            self._tqdm.update(count)
        elif self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line(finished=False)

    def note(self, text: str) -> None:
        """Show a few words after the numbers, such as the loss."""
        self._note = text
        if self._tqdm is not None:
            self._tqdm.set_postfix_str(text, refresh=False)

    def _print_line(self, finished: bool) -> None:
        self._last_line = self._clock()
        seconds = max(self._last_line - self._start, 1e-9)
        rate = (self.done - self._done_before) / seconds
        time_spent = f"in {_clock_face(seconds)}" if finished else self._time_left(rate)
        shown = [f"{self.desc}: {self._amount()}", f"{_quantity(rate, self.unit)}/s", time_spent, self._note]
        print(", ".join(part for part in shown if part), file=sys.stderr, flush=True)

    def _amount(self) -> str:
        if self.total is None:
            return _quantity(self.done, self.unit)
        return f"{_number(self.done, self.unit)}/{_quantity(self.total, self.unit)}"

    def _time_left(self, rate: float) -> str:
        if self.total is None or rate <= 0:
            return ""
        return f"{_clock_face(max(self.total - self.done, 0) / rate)} left"


def _number(count: float, unit: str) -> str:
    if unit == "B":
        return f"{count / 1e6:.1f}"
    return f"{count:.1f}" if isinstance(count, float) else f"{count}"


def _quantity(count: float, unit: str) -> str:
    return f"{_number(count, unit)} {'MB' if unit == 'B' else unit}"


def _clock_face(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
