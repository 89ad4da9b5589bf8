"""Extractors of features: this machine or the workers of a cluster, as the section `compute` says."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from stages.graft.backbone.extraction import extract_missing
from stages.graft.backbone.precision_check import ImageSample
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.compute.engine import open_engine
from stages.graft.compute.settings import ComputeParams
from stages.graft.images.loading import LocateImage
from stages.graft.storage.feature_store import FeatureStore


class Extractor(Protocol):
    """Computes the features of images."""

    @property
    def record(self) -> Mapping[str, Any]:
        """The runtime's record."""

    def extract_missing(self, ids: Sequence[str], locate: LocateImage, store: FeatureStore) -> int:
        """Compute the rows that the store lacks, add them, and give their number."""


def open_extractor(
    weights: Weights, choice: RuntimeChoice, networks: Path, compute: ComputeParams, sample: ImageSample | None = None
) -> AbstractContextManager[Extractor]:
    """Give the extractor for a network.

    Args:
        weights: the network's.
        choice: the runtime that the parameters ask for.
        networks: folder of the networks converted for OpenVINO.
        compute: this machine or a cluster.
        sample: some of the images, on which the precision is checked.
    Raises:
        ParamsError: as in `choose_runtime` and `open_engine`.
    """
    choose = partial(choose_runtime, choice=choice, folder=networks.absolute(), sample=sample)

    def remote(compute: ComputeParams) -> Extractor:
        from stages.graft.compute.ray_extraction import ClusterExtractor

        return ClusterExtractor(
            weights, partial(choose_runtime, choice=choice, folder=networks.absolute(), sample=sample), compute
        )

    return open_engine(compute, lambda: LocalExtractor(weights, choose(weights)), remote)


class LocalExtractor:
    """Extracts features on this machine."""

    def __init__(self, weights: Weights, runtime: Runtime) -> None:
        """Take a network and its runtime."""
        self._weights, self._runtime = weights, runtime
        self.record = runtime.record

    def extract_missing(self, ids: Sequence[str], locate: LocateImage, store: FeatureStore) -> int:
        """As `Extractor.extract_missing`."""
        return extract_missing(ids, locate, store, self._weights.preprocessing, self._runtime)
