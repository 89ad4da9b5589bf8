"""Extractors of features: this machine or the workers of a cluster, as the section `compute` says."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from stages.graft.backbone.extraction import Images, extract_missing
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.compute.engine import open_engine
from stages.graft.compute.settings import ComputeParams
from stages.graft.storage.feature_store import FeatureStore


class Extractor(Protocol):
    """Computes the features of images."""

    @property
    def record(self) -> Mapping[str, Any]:
        """The runtime's record."""

    def extract_missing(self, image_sets: Iterable[Images], store: FeatureStore) -> list[int]:
        """Compute the rows that the store lacks, add them, and give their number for each set of images.

        On this machine, a set is read from `image_sets` after the set before it is done.
        """


def open_extractor(
    weights: Weights, choice: RuntimeChoice, networks: Path, compute: ComputeParams
) -> AbstractContextManager[Extractor]:
    """Give the extractor for a network.

    Args:
        weights: the network's.
        choice: the runtime that the parameters ask for.
        networks: folder of the networks converted for OpenVINO.
        compute: this machine or a cluster.
    Raises:
        ParamsError: as in `choose_runtime` and `open_engine`.
    """

    def remote(compute: ComputeParams) -> Extractor:
        from stages.graft.compute.ray_extraction import ClusterExtractor

        return ClusterExtractor(weights, choice, networks, compute)

    return open_engine(compute, lambda: LocalExtractor(weights, choice, networks), remote)


class LocalExtractor:
    """Extracts features on this machine."""

    def __init__(self, weights: Weights, choice: RuntimeChoice, networks: Path) -> None:
        """Choose the runtime; arguments as in `open_extractor`."""
        self._weights, self._runtime = weights, choose_runtime(weights, choice, networks)
        self.record = self._runtime.record

    def extract_missing(self, image_sets: Iterable[Images], store: FeatureStore) -> list[int]:
        """As `Extractor.extract_missing`."""
        preprocessing = self._weights.preprocessing
        return [extract_missing(ids, locate, store, preprocessing, self._runtime) for ids, locate in image_sets]
