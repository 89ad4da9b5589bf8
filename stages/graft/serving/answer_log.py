"""What a server was asked and what it answered, as Parquet files, to be checked later.

<time>-<process>-<number>.parquet    a whole file every few seconds, in UTC; none is changed after it is written
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.graft.heads.head import Float32
from stages.graft.storage.files import atomic_path

ROWS_PER_FILE, SECONDS_PER_FILE = 1000, 10.0
"""A file is written when there are so many rows, or after so long; a server that is killed loses what is younger."""

MAX_ROWS = 20_000
"""Rows kept in memory while files cannot be written; the oldest are lost then, and counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """An image and its answer."""

    time: datetime
    """When it was answered, UTC."""
    model: str
    """The model's version, the SHA-256 of its record, hex."""
    file: str
    """The client's name of the image; empty if it gave none."""
    image_id: str
    """SHA-256 of the image file, hex."""
    thumbnail: bytes
    """A small JPEG."""
    label: str
    """The likeliest class."""
    confidence: float
    """Its calibrated probability."""
    unsure: bool
    """Whether the confidence is below the threshold."""
    unknown: bool
    """Whether the image is out of distribution."""
    distance: float
    """From the nearest class."""
    probabilities: tuple[float, ...]
    """Of each class, in the model's order."""
    features: Float32
    """What the head reads, shape (d,)."""


class AnswerLog:
    """Collects rows and writes them to a folder in whole files."""

    def __init__(self, folder: Path, classes: Sequence[str], count_lost: Callable[[int], None]) -> None:
        """Make the folder; `count_lost` is told how many rows could not be written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._classes, self._count_lost = folder, classes, count_lost
        self._rows: list[LogRow] = []
        self._number, self._has_failed = 0, False
        self._lock, self._stopped, self._full = threading.Lock(), threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._write_now_and_then, daemon=True)
        self._writer.start()

    def add(self, row: LogRow) -> None:
        """Keep a row until the next file."""
        with self._lock:
            self._rows.append(row)
            num_lost = max(0, len(self._rows) - MAX_ROWS)
            del self._rows[:num_lost]
            if len(self._rows) >= ROWS_PER_FILE:
                self._full.set()
        if num_lost:
            self._count_lost(num_lost)

    def close(self) -> None:
        """Write what there is, and end."""
        self._stopped.set()
        self._full.set()
        self._writer.join()

    def _write_now_and_then(self) -> None:
        while not self._stopped.is_set():
            self._full.wait(SECONDS_PER_FILE)
            self._full.clear()
            self._write()
            if self._has_failed:
                self._stopped.wait(SECONDS_PER_FILE)
        self._write()
        if self._rows:
            self._count_lost(len(self._rows))

    def _write(self) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        self._number += 1
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        try:
            self._write_file(rows, self._folder / f"{stamp}-{os.getpid()}-{self._number:06}.parquet")
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                print(f"serve: the log cannot be written ({error}); it is tried again", file=sys.stderr)
            self._has_failed = True
            with self._lock:
                self._rows = [*rows, *self._rows]

    def _write_file(self, rows: Sequence[LogRow], path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        columns = {name: [getattr(row, name) for row in rows] for name in LogRow.__slots__}
        table = pa.table(columns, schema=_schema(pa, self._classes))
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary, compression="zstd")


def _schema(pa: Any, classes: Sequence[str]) -> Any:
    """Give the columns of a file, with the classes in the order of the probabilities."""
    types = {
        "time": pa.timestamp("us", tz="UTC"),
        "thumbnail": pa.binary(),
        **dict.fromkeys(("confidence", "distance"), pa.float64()),
        **dict.fromkeys(("unsure", "unknown"), pa.bool_()),
        "probabilities": pa.list_(pa.float64()),
        "features": pa.list_(pa.float32()),
    }
    fields = [(name, types.get(name, pa.string())) for name in LogRow.__slots__]
    return pa.schema(fields, metadata={"classes": "\n".join(classes)})
