"""Images to features: rows the store has are reused, the others go through the network in batches of one fixed shape.

Each worker decodes a batch and then has it computed, so that decoding and the network share the processors without
waiting for each other, and no more pixels are in memory than the workers hold.
"""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from stages.graft.preprocessing import Preprocessing
from stages.graft.progress import Progress
from stages.graft.reading import PathOf, read_batch
from stages.graft.runtimes import Compute, Runtime
from stages.graft.store import Features, FeatureStore
from stages.graft.threads import in_threads, num_cpus

MAX_BYTES_PER_FRAGMENT = 8 * 2**20
"""Of features held back until a fragment is written: bounds the memory."""

MAX_SECONDS_PER_FRAGMENT = 20.0
"""What a killed extraction loses at most."""


def extract_missing(
    ids: Sequence[str], path_of: PathOf, store: FeatureStore, preprocessing: Preprocessing, runtime: Runtime
) -> int:
    """Compute the rows the store lacks and add them, a fragment at a time.

    Args:
        ids: the images wanted.
        path_of: where an image's file is.
        store: where rows are kept.
        preprocessing: resize and crop (the network itself normalises).
        runtime: what runs the network; loaded only when a row is missing.
    Returns:
        How many rows were computed.
    Raises:
        DataError: an image cannot be decoded any more; names its path. The rows before it are kept.
    """
    missing = store.missing(ids)
    if not missing:
        return 0
    compute, batch_size = runtime.load(), int(runtime.record["batch_size"])
    chunks = [missing[start : start + batch_size] for start in range(0, len(missing), batch_size)]
    work = partial(_compute_chunk, compute, path_of, preprocessing, batch_size)
    # One worker more than streams: it decodes while the others compute.
    num_workers = max(num_cpus(), runtime.num_streams) + 1
    fragments = _Fragments(store)
    try:
        with Progress(len(missing), desc="extract", unit="images") as progress:
            for chunk, rows in zip(chunks, in_threads(work, chunks, num_workers), strict=True):
                fragments.add(chunk, rows)
                progress.advance(len(chunk))
    finally:
        fragments.write()
    return len(missing)


def _compute_chunk(
    compute: Compute, path_of: PathOf, preprocessing: Preprocessing, batch_size: int, ids: Sequence[str]
) -> Features:
    return compute(read_batch(ids, path_of, preprocessing, batch_size))[: len(ids)]


class _Fragments:
    """Rows on their way to the store."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self._ids, self._rows, self._num_bytes, self._since = list[str](), list[Features](), 0, time.monotonic()

    def add(self, ids: Sequence[str], rows: Features) -> None:
        self._ids += ids
        self._rows.append(rows)
        self._num_bytes += rows.nbytes
        if self._num_bytes >= MAX_BYTES_PER_FRAGMENT or time.monotonic() - self._since > MAX_SECONDS_PER_FRAGMENT:
            self.write()

    def write(self) -> None:
        if self._ids:
            self._store.add(self._ids, np.concatenate(self._rows))
        self._begin()
