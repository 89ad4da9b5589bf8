"""Find a model's bundle in a folder, in a repository, or in MLflow's registry."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.model.bundle import bundle_in
from stages.graft.tracking.server import check_alive, configure_mlflow, find_address, hide_password

REGISTRY = ("models:/", "runs:/")
"""Beginnings of MLflow's addresses of models."""


@contextmanager
def fetch_bundle(model: str, root: Path) -> Iterator[Path]:
    """Give the bundle's folder; a model from MLflow is downloaded, and deleted at the end.

    Args:
        model: a folder, or an address such as models:/plates@champion.
        root: the repository whose MLflow store is asked, unless MLFLOW_TRACKING_URI names another.
    Raises:
        DataError: there is no model.
    """
    if model.startswith(REGISTRY):
        with tempfile.TemporaryDirectory(prefix="graft-model-") as scratch:
            yield bundle_in(_fetch(model, root, Path(scratch)), model)
    else:
        yield bundle_in(Path(model), model)


def _fetch(model: str, root: Path, scratch: Path) -> Path:
    address = find_address(root)
    try:
        check_alive(address)
        configure_mlflow()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow and what it imports
            import mlflow

            mlflow.set_tracking_uri(address.uri)
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=str(scratch)))
    except Exception as error:  # MLflow and its transports raise many kinds
        reason = " ".join(hide_password(str(error)).split())[:200]
        raise DataError(f"--model {model} cannot be fetched from {hide_password(address.uri)}: {reason}") from None
