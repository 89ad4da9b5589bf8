"""A bundle as an MLflow model: a folder with the bundle, the code that answers, and what must be installed, pinned.

MLmodel                    signature and how to load it; no pickle
data/bundle/               the bundle
code/stages/               of this library, the packages that answering needs
requirements.txt           the libraries these need, and what they need in turn, as requirements.lock has them
predictions.csv            test images, their classes and what this model says: what a successor is compared with
"""

import base64
import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stages.graft import core
from stages.graft.backbone.providers import provider_of
from stages.graft.model.bundle import BUNDLE
from stages.graft.model.model_folder import MODEL
from stages.graft.model.predictor import probability_column
from stages.graft.model.serving import IMAGE, READ_PATHS
from stages.graft.storage.files import read_json
from stages.graft.tracking.promotion import COLUMNS
from stages.graft.tracking.requirements import pinned_requirements

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

LOADER = "stages.graft.model.serving"
"""The module MLflow loads the model with."""

PACKAGES = ("core", "storage", "metrics", "images", "data", "backbone", "heads", "model")
"""The loader's package and those below it."""

PREDICTIONS = "predictions.csv"

REQUIREMENTS = (
    "mlflow-skinny",  # loads and serves models; what mlflow adds to it does neither
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "threadpoolctl",
    "tqdm",
)
"""What answering needs beside the runtime."""

RUNTIMES = {"openvino": ("openvino",), "torch": ("torch", "torchvision")}
"""Packages that a runtime needs, by the first word of its name."""


def write_model(bundle: Path, predictions: Path, lock: Path, folder: Path, model: "Model") -> None:
    """Write the MLflow model's folder.

    Args:
        bundle: the bundle's folder.
        predictions: table of the test images, with at least the columns a succession reads.
        lock: requirements.lock.
        folder: does not exist yet.
        model: MLflow's record, with the model's id and its run's.
    Raises:
        DataError: a file is missing, or the lock lacks a library.
    """
    import pandas as pd
    from mlflow import pyfunc

    with TemporaryDirectory() as scratch:
        pyfunc.save_model(
            str(folder),
            loader_module=LOADER,
            data_path=str(bundle),
            code_paths=[str(_copy_code(Path(scratch)))],
            mlflow_model=model,
            signature=signature(read_json(bundle / MODEL)["classes"]),
            input_example=pd.DataFrame({IMAGE: [_example()]}),
            pip_requirements=pinned_requirements(needed(read_json(bundle / BUNDLE)), lock),
            model_config={READ_PATHS: False},
        )
    _copy_predictions(predictions, folder / PREDICTIONS)


def signature(classes: Sequence[str]) -> "ModelSignature":
    """Say what goes in and what comes out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    shares = [ColSpec("double", probability_column(label), required=False) for label in classes]
    return ModelSignature(
        inputs=Schema([ColSpec("string", IMAGE)]),
        outputs=Schema(
            [
                ColSpec("string", "label", required=False),
                ColSpec("double", "confidence", required=False),
                ColSpec("boolean", "unsure", required=False),
                ColSpec("boolean", "unknown", required=False),
                ColSpec("double", "distance", required=False),
                *shares,
                ColSpec("string", "error", required=False),
            ]
        ),
    )


def needed(record: dict[str, Any]) -> list[str]:
    """List the libraries that a bundle needs, by its record: torch only where OpenVINO does not run the network."""
    runtime = str(record["runtime"]["runtime"]).split()[0]
    provided = provider_of(str(record["backbone"]["name"])).PACKAGES if runtime == "torch" else ()
    return sorted([*REQUIREMENTS, *RUNTIMES[runtime], *provided])


def _copy_code(scratch: Path) -> Path:
    """Copy the packages that answering needs into a package of the same name."""
    library, package = Path(core.__file__).parents[1], scratch / "stages"
    for name in PACKAGES:
        shutil.copytree(library / name, package / "graft" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("", "graft"):
        shutil.copyfile(library.parent / folder / "__init__.py", package / folder / "__init__.py")
    return package


def _copy_predictions(source: Path, target: Path) -> None:
    """Copy what a succession reads: whoever gets the model need not know the files' names."""
    with source.open(newline="", encoding="utf-8") as lines, target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(csv.DictReader(lines))


def _example() -> str:
    """A small grey picture, as a request carries it."""
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
