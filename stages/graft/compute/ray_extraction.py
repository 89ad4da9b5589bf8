"""Extraction on a cluster: each worker loads the network once, and writes features straight to the store."""

import dataclasses
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.graft.backbone.extraction import Images, rows_of
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.compute.ray_cluster import Item, Work, ask_worker, chunk_size, map_chunks
from stages.graft.compute.settings import ComputeParams
from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.images.crop import DECODER
from stages.graft.images.loading import LocateImage
from stages.graft.images.location import ImageInPlace, ImageLocation, absolute_address
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.feature_backends import FeatureBackend
from stages.graft.storage.feature_store import FeatureStore, write_fragment

MAX_IMAGES_PER_CHUNK = 1024
"""Also of a fragment: of ResNet-50's features, 8 MB."""


class ClusterExtractor:
    """A cluster that extracts features with one network."""

    def __init__(self, weights: Weights, choice: RuntimeChoice, networks: Path, compute: ComputeParams) -> None:
        """Ask a worker what the network would be run with: this machine may be of another kind.

        Args:
            weights: the network's; the file is to be found under the same path by every machine.
            choice: what the parameters ask for.
            networks: where networks converted for OpenVINO are kept; shared by the machines.
            compute: of the cluster, which has been joined.
        """
        path = weights.path and weights.path.absolute()
        self._weights, self._compute = dataclasses.replace(weights, path=path), compute
        self._choose = partial(choose_runtime, self._weights, choice, networks.absolute())
        self.record = ask_worker(partial(_record, self._choose), compute)

    def extract_missing(self, wanted: Iterable[Images], store: FeatureStore) -> list[int]:
        """As `extraction.extract_missing` of several sets of images, spread over the cluster together."""
        missing = [(store.missing(ids), path_of) for ids, path_of in wanted]
        numbers = [len(ids) for ids, _ in missing]
        if not sum(numbers):
            return numbers
        size = chunk_size(sum(numbers), int(self.record["batch_size"]), self._compute, MAX_IMAGES_PER_CHUNK)
        items = [
            _item(ids[start : start + size], path_of) for ids, path_of in missing for start in range(0, len(ids), size)
        ]
        shelf, expected = store.backend.absolute(), {"decoder": DECODER, **self.record}
        make = partial(_extracting, self._choose, self._weights.preprocessing, shelf, expected)
        with Progress(sum(numbers), desc="extract", unit="images") as progress:
            for reply in map_chunks(make, items, self._compute):
                store.add_fragment(reply["fragment"])
                progress.advance(reply["num_images"])
        return numbers


def _item(ids: Sequence[str], path_of: LocateImage) -> Item:
    """A chunk of images: their ids, where they are, and the ids again of those in place, to be checked."""
    places = [path_of(id_) for id_ in ids]
    return {
        "ids": list(ids),
        "addresses": [absolute_address(str(place)) for place in places],
        "checked": [place.id if isinstance(place, ImageInPlace) else "" for place in places],
    }


def _place(address: str, checked: str) -> ImageLocation:
    return ImageInPlace(address, checked) if checked else Path(address)


def _record(choose: "partial[Runtime]") -> dict[str, Any]:
    return dict(choose().record)


def _extracting(
    choose: "partial[Runtime]", preprocessing: Preprocessing, shelf: FeatureBackend, expected: Mapping[str, Any]
) -> Work:
    """What a worker does: it loads the network once."""
    runtime = choose()
    _check_same({"decoder": DECODER, **runtime.record}, expected)

    def work(item: Item) -> dict[str, Any]:
        ids = list(item["ids"])
        places = dict(zip(ids, map(_place, item["addresses"], item["checked"]), strict=True))
        rows = list(rows_of(ids, places.__getitem__, preprocessing, runtime))
        fragment = write_fragment(shelf, ids, np.concatenate([features for _, features in rows]))
        return {"fragment": fragment, "num_images": len(ids)}

    return work


def _check_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """See that this machine gives the bits of the one that was asked first."""
    differing = [name for name in expected if found.get(name) != expected[name]]
    if differing:
        what = "; ".join(f"{name} {found.get(name)} instead of {expected[name]}" for name in differing)
        raise DataError(
            f"the cluster's machines differ, and would give different features: {platform.node()} has {what}; "
            "run with machines of one kind and the same packages"
        )
