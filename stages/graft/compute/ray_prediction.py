"""Prediction on a cluster: image files are spread over workers, which load the model once."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from stages.graft.compute.ray_cluster import Chunk, Work, chunk_size, map_chunks
from stages.graft.compute.settings import ComputeParams
from stages.graft.images.location import absolute_address
from stages.graft.model.bundle import bundle_in, load_bundle
from stages.graft.model.predictor import ImageFile, Predictor, columns_of

MAX_IMAGES_PER_CHUNK = 1024


class ClusterPredictor:
    """Classifies images with one bundle on a cluster."""

    def __init__(self, folder: Path, compute: ComputeParams) -> None:
        """Read the columns and the batch size of the bundle in a folder; the workers load it from the same path."""
        bundle = load_bundle(bundle_in(folder))
        self.columns = columns_of(bundle)
        self._folder, self._batch_size, self._compute = folder.absolute(), bundle.runtime.record["batch_size"], compute

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """As `Predictor.predict`, for files on disk or in S3; their names, but not their bytes, are in memory."""
        names, addresses = list[str](), list[str]()
        for file in files:
            names.append(file.name)
            addresses.append(absolute_address(file.address))
        size = chunk_size(len(names), self._batch_size, self._compute, MAX_IMAGES_PER_CHUNK)
        chunks = [
            {"names": names[start : start + size], "addresses": addresses[start : start + size]}
            for start in range(0, len(names), size)
        ]
        for reply in map_chunks(partial(_make_work, self._folder), chunks, self._compute):
            yield from reply["rows"]


def _make_work(folder: Path) -> Work:
    """The work of a worker, which loads the model once."""
    predictor = Predictor(load_bundle(bundle_in(folder)))

    def work(chunk: Chunk) -> dict[str, Any]:
        files = map(ImageFile.at_address, chunk["addresses"], chunk["names"])
        return {"rows": list(predictor.predict(files))}

    return work
