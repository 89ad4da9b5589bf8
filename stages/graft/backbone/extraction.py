"""From images to features: rows in the store are reused, the others are computed in batches of one fixed shape.

Of small batches, each worker decodes one and then runs the network on it: decoding and the network share the processors
without waiting for each other, and only one batch per worker is in memory.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from stages.graft.backbone.runtime import Runtime
from stages.graft.core.progress import Progress
from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.images.decode import Batch
from stages.graft.images.loading import LocateImage, decoded_batches, read_batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.feature_store import Features, FeatureStore

Images = tuple[Sequence[str], LocateImage]
"""Ids, and the function that locates their files."""

MAX_IMAGES_PER_TASK = 32
"""Largest batch that is decoded by one thread; the images of a larger one, as GPUs take, are decoded side by side."""

MAX_BYTES_PER_FRAGMENT = 8 * 2**20
"""Bytes of features in a fragment, which are in memory until it is written."""

MAX_SECONDS_PER_FRAGMENT = 20.0
"""Seconds between fragments: the most work that a killed extraction loses."""


def extract_missing(
    ids: Sequence[str], locate: LocateImage, store: FeatureStore, preprocessing: Preprocessing, runtime: Runtime
) -> int:
    """Compute the rows that the store lacks and add them, a fragment at a time; return their number.

    The network is loaded only if a row is missing.

    Raises:
        DataError: an image cannot be decoded; names its path. The rows before it are in the store.
    """
    missing = store.missing(ids)
    if not missing:
        return 0
    fragments = _Fragments(store)
    try:
        for chunk, rows in embed(missing, locate, preprocessing, runtime, "extract"):
            fragments.add(chunk, rows)
    finally:
        fragments.write()
    return len(missing)


def format_extraction(num_images: int, num_new: int, seconds: float) -> str:
    """Describe in a line how many images there are, how many were computed, how long that took and how fast it was."""
    if not num_new:
        return f"{num_images} images, none new"
    rate = num_new / max(seconds, 1e-9)
    return f"{num_images} images, {num_new} new, {seconds:.1f} s, {rate:.{0 if rate >= 10 else 1}f} images/s"


def embed(
    ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing, runtime: Runtime, desc: str
) -> Iterator[tuple[Sequence[str], Features]]:
    """Compute features in order, a batch at a time, and show the progress, labelled `desc`.

    Returns:
        Ids and features (n, d) of each batch, n at most the runtime's batch size.
    Raises:
        DataError: an image cannot be decoded; names its path.
    """
    with Progress(len(ids), desc=desc, unit="images") as progress:
        for chunk, rows in rows_of(ids, locate, preprocessing, runtime):
            yield chunk, rows
            progress.advance(len(chunk))


def rows_of(
    ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing, runtime: Runtime
) -> Iterator[tuple[Sequence[str], Features]]:
    """Compute features as `embed` does, without showing the progress."""
    batch_size = int(runtime.record["batch_size"])
    each_chunk = _rows_of_chunks if batch_size <= MAX_IMAGES_PER_TASK else _rows_of_images
    return each_chunk(ids, locate, preprocessing, runtime, batch_size)


def _rows_of_chunks(
    ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing, runtime: Runtime, batch_size: int
) -> Iterator[tuple[Sequence[str], Features]]:
    """Decode and compute a batch in one thread."""
    compute = runtime.load()
    chunks = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]

    def compute_rows(chunk: Sequence[str]) -> Features:
        return compute(read_batch(chunk, locate, preprocessing, batch_size))[: len(chunk)]

    yield from zip(chunks, in_threads(compute_rows, chunks, num_workers(runtime)), strict=True)


def _rows_of_images(
    ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing, runtime: Runtime, batch_size: int
) -> Iterator[tuple[Sequence[str], Features]]:
    """Decode the images of a batch side by side: a large batch in one thread would keep the network waiting."""
    compute = runtime.load()

    def compute_rows(chunk: tuple[Sequence[str], Batch]) -> tuple[Sequence[str], Features]:
        ids, images = chunk
        padding = np.zeros((batch_size - len(ids), *images.shape[1:]), np.uint8)
        return ids, compute(np.concatenate([images, padding]))[: len(ids)]

    decoded = decoded_batches(ids, locate, preprocessing, batch_size)
    yield from in_threads(compute_rows, decoded, runtime.num_streams, runtime.num_streams)


def num_workers(runtime: Runtime) -> int:
    """Give the number of worker threads: one more than can compute, to decode meanwhile."""
    return max(num_cpus(), runtime.num_streams) + 1


class _Fragments:
    """Collects rows and writes them to the store."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._ids, self._rows, self._since = list[str](), list[Features](), time.monotonic()

    def add(self, ids: Sequence[str], rows: Features) -> None:
        self._ids += ids
        self._rows.append(rows)
        num_bytes = sum(some.nbytes for some in self._rows)
        if num_bytes >= MAX_BYTES_PER_FRAGMENT or time.monotonic() - self._since > MAX_SECONDS_PER_FRAGMENT:
            self.write()

    def write(self) -> None:
        if self._ids:
            self._store.add(self._ids, np.concatenate(self._rows))
        self._ids, self._rows, self._since = [], [], time.monotonic()
