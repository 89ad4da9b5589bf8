"""Extraction on a cluster: each worker loads the network once and writes features directly to the store."""

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from stages.graft.backbone.extraction import rows_of
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.weights import Weights
from stages.graft.compute.ray_cluster import Chunk, Work, ask_worker, chunk_size, map_chunks
from stages.graft.compute.settings import ComputeParams
from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.images.crop import DECODER
from stages.graft.images.loading import LocateImage
from stages.graft.images.location import location_record, read_location
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.feature_backends import FeatureBackend
from stages.graft.storage.feature_store import FeatureStore, write_fragment

MAX_IMAGES_PER_CHUNK = 1024
"""Images of a chunk and of the fragment it gives: 8 MB of ResNet-50's features."""


class ClusterExtractor:
    """Extracts features with one network on a cluster."""

    def __init__(self, weights: Weights, choose: Callable[[Weights], Runtime], compute: ComputeParams) -> None:
        """Ask a worker for the runtime, since this machine may be of another kind.

        Args:
            weights: the network's; the file has the same path on every machine.
            choose: chooses the network's runtime; called by each worker.
            compute: the cluster, which has been joined.
        """
        path = weights.path and weights.path.absolute()
        self._weights, self._compute = dataclasses.replace(weights, path=path), compute
        self._choose = partial(choose, self._weights)
        self.record = ask_worker(partial(_record, self._choose), compute)

    def extract_missing(self, ids: Sequence[str], locate: LocateImage, store: FeatureStore) -> int:
        """As `Extractor.extract_missing`; the images are spread over the cluster."""
        missing = store.missing(ids)
        if not missing:
            return 0
        size = chunk_size(len(missing), int(self.record["batch_size"]), self._compute, MAX_IMAGES_PER_CHUNK)
        chunks = [_chunk(missing[start : start + size], locate) for start in range(0, len(missing), size)]
        expected = {"decoder": DECODER, **self.record}
        make = partial(_make_work, self._choose, self._weights.preprocessing, store.backend, expected)
        with Progress(len(missing), desc="extract", unit="images") as progress:
            for reply in map_chunks(make, chunks, self._compute):
                store.add_fragment(reply["fragment"])
                progress.advance(reply["num_images"])
        return len(missing)


def _chunk(ids: Sequence[str], locate: LocateImage) -> Chunk:
    """Ids and locations of images."""
    return {"ids": list(ids), "locations": [location_record(locate(id_)) for id_ in ids]}


def _record(choose: "partial[Runtime]") -> dict[str, Any]:
    return dict(choose().record)


def _make_work(
    choose: "partial[Runtime]", preprocessing: Preprocessing, backend: FeatureBackend, expected: Mapping[str, Any]
) -> Work:
    """The work of a worker, which loads the network once."""
    runtime = choose()
    _check_same({"decoder": DECODER, **runtime.record}, expected)

    def work(chunk: Chunk) -> dict[str, Any]:
        ids = list(chunk["ids"])
        locations = dict(zip(ids, map(read_location, chunk["locations"]), strict=True))
        rows = list(rows_of(ids, locations.__getitem__, preprocessing, runtime))
        fragment = write_fragment(backend, ids, np.concatenate([features for _, features in rows]))
        return {"fragment": fragment, "num_images": len(ids)}

    return work


def _check_same(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that this machine gives the same bits as the worker that gave the record."""
    differing = [name for name in expected if actual.get(name) != expected[name]]
    if differing:
        differences = "; ".join(f"{name} {actual.get(name)} instead of {expected[name]}" for name in differing)
        raise DataError(
            f"the cluster's machines differ, and would give different features: {platform.node()} has {differences}; "
            "run with machines of one kind and the same packages"
        )
