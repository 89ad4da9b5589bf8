"""How far along a long step is, on stderr: a tqdm bar on a terminal, elsewhere one line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self, TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 5.0
"""A log stays readable: an hour of work is at most 720 lines."""


def bar(items: Iterable[T], *, desc: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Give the items one by one and show how many are done.

    Args:
        items: what to go through.
        desc: the step's name, shown first.
        unit: what is counted, plural ("images", "epochs"); "B" counts bytes and shows them as MB or GB.
        total: how many items there are; by default their length, if they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, desc=desc, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


class Progress:
    """The same by hand: `with Progress(1200, desc="extract", unit="images") as progress: progress.advance(64)`."""

    def __init__(
        self,
        total: int | None,
        *,
        desc: str,
        unit: str,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start counting.

        Args:
            total: how many there are; None if nobody knows.
            desc: the step's name, shown first.
            unit: what is counted, plural; "B" counts bytes and shows them as MB or GB.
            done: how many were done before the start (a download that goes on); they do not count for the rate.
            clock: gives the time in seconds.
        """
        self.total, self.desc, self.unit = total, desc, unit
        self.done = self._done_before = done
        self._note = ""
        self._clock = clock
        self._start = self._last_line = clock()
        self._tqdm = _terminal_bar(total, desc, unit, done) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
        elif kind is None and self.done:
            self._print_line(finished=True)

    def advance(self, count: int = 1) -> None:
        """Count `count` more as done. Call it from one thread only."""
        self.done += count
        if self._tqdm is not None:
            self._tqdm.update(count)
        elif self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line(finished=False)

    def note(self, text: str) -> None:
        """Show a few words behind the numbers, such as the present loss."""
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


def _terminal_bar(total: int | None, desc: str, unit: str, done: int) -> "tqdm[Any]":
    # tqdm writes "12.3images/s" without the space
    return tqdm(total=total, desc=desc, unit=f" {unit}".replace(" B", "B"), unit_scale=unit == "B", initial=done)


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
