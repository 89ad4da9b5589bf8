"""Where a model is: a bundle's folder, a repository that made one, or MLflow's registry."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.graft.bundle import BUNDLE
from stages.graft.errors import DataError
from stages.graft.tracking_store import check_alive, find_address, quieten, without_password

BUNDLE_FOLDER = Path("data/bundle")
"""In a repository's root."""

REGISTRY = ("models:/", "runs:/")
"""How MLflow's addresses of models begin."""


@contextmanager
def found_bundle(model: str, root: Path) -> Iterator[Path]:
    """Give the bundle's folder; one from MLflow is fetched, and gone at the end.

    Args:
        model: a folder, or an address such as models:/graft@champion.
        root: the repository whose MLflow store is asked, unless the environment names another.
    Raises:
        DataError: there is no model.
    """
    if model.startswith(REGISTRY):
        with tempfile.TemporaryDirectory(prefix="graft-model-") as scratch:
            yield bundle_in(_fetch(model, root, Path(scratch)), model)
    else:
        yield bundle_in(Path(model), model)


def bundle_in(folder: Path, model: str | None = None) -> Path:
    """Find a folder's bundle: it is one, a repository with one, or an MLflow model around one.

    Args:
        folder: where to look.
        model: what the user called it.
    Raises:
        DataError: there is none.
    """
    for place in (folder, folder / BUNDLE_FOLDER, *sorted(folder.glob("*/"))):
        if (place / BUNDLE).is_file():
            return place
    raise DataError(
        f"--model {model or folder}: no {BUNDLE} there; `dvc repro` makes data/bundle, `dvc pull` fetches it"
    )


def _fetch(model: str, root: Path, scratch: Path) -> Path:
    address = find_address(root)
    try:
        check_alive(address)
        quieten()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow and what it imports
            import mlflow

            mlflow.set_tracking_uri(address.uri)
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=str(scratch)))
    except Exception as error:  # MLflow and its transports raise many kinds
        reason = " ".join(without_password(str(error)).split())[:200]
        raise DataError(f"--model {model} cannot be fetched from {without_password(address.uri)}: {reason}") from None
