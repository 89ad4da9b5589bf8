"""Prediction on a cluster: the names of many image files spread over workers that have the model loaded once."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from stages.graft.compute.ray_cluster import Item, Work, chunk_size, map_chunks
from stages.graft.compute.settings import ComputeParams
from stages.graft.images.location import absolute_address
from stages.graft.model.bundle import bundle_in, load_bundle
from stages.graft.model.predictor import ImageFile, Predictor, columns_of

MAX_IMAGES_PER_CHUNK = 1024


class ClusterPredictor:
    """A cluster that classifies images with one bundle."""

    def __init__(self, folder: Path, compute: ComputeParams) -> None:
        """Look into the bundle; the workers load it.

        Args:
            folder: where the bundle is, under the same path for every machine.
            compute: of the cluster, which has been joined.
        """
        bundle = load_bundle(bundle_in(folder))
        self.columns = columns_of(bundle)
        self._folder, self._batch_size, self._compute = folder.absolute(), bundle.runtime.record["batch_size"], compute

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """As `Predictor.predict`, of files on disk or in S3; their names, but not their bytes, are held in memory."""
        named = [(file.name, absolute_address(file.address)) for file in files]
        size = chunk_size(len(named), self._batch_size, self._compute, MAX_IMAGES_PER_CHUNK)
        chunks = [named[start : start + size] for start in range(0, len(named), size)]
        items = [
            {"names": [name for name, _ in chunk], "addresses": [address for _, address in chunk]} for chunk in chunks
        ]
        for reply in map_chunks(partial(_predicting, self._folder), items, self._compute):
            yield from reply["rows"]


def _predicting(folder: Path) -> Work:
    """What a worker does: it loads the model once."""
    predictor = Predictor(load_bundle(bundle_in(folder)))

    def work(item: Item) -> dict[str, Any]:
        files = map(ImageFile.at_address, item["addresses"], item["names"])
        return {"rows": list(predictor.predict(files))}

    return work
