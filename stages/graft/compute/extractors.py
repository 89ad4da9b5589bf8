"""Who turns images into features, as the section `compute` says: this machine, or the workers of a cluster."""

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
    """What turns images into features."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Of the runtime, as `Runtime.record`."""

    def extract_missing(self, wanted: Iterable[Images], store: FeatureStore) -> list[int]:
        """Compute the rows the store lacks and add them; how many those were of each set.

        A set is asked for when the one before is done, where the work is done here.
        """


def extractor(
    weights: Weights, choice: RuntimeChoice, networks: Path, compute: ComputeParams
) -> AbstractContextManager[Extractor]:
    """Give who extracts.

    Args:
        weights: the network's.
        choice: what the parameters ask for.
        networks: where networks converted for OpenVINO are kept.
        compute: who does it.
    Raises:
        ParamsError: as in `choose_runtime` and `engine_of`.
    """

    def here() -> Extractor:
        return _Here(weights, choice, networks)

    def there(compute: ComputeParams) -> Extractor:
        from stages.graft.compute.ray_extraction import ClusterExtractor

        return ClusterExtractor(weights, choice, networks, compute)

    return open_engine(compute, here, there)


class _Here:
    """This machine."""

    def __init__(self, weights: Weights, choice: RuntimeChoice, networks: Path) -> None:
        self._weights, self._runtime = weights, choose_runtime(weights, choice, networks)
        self.record = self._runtime.record

    def extract_missing(self, wanted: Iterable[Images], store: FeatureStore) -> list[int]:
        preprocessing = self._weights.preprocessing
        return [extract_missing(ids, path_of, store, preprocessing, self._runtime) for ids, path_of in wanted]
