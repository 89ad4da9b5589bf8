"""A bundle as an MLflow model: a folder with the bundle, the code for predictions, and pinned requirements.

MLmodel                    signature and how to load it; no pickle
data/bundle/               the bundle
code/stages/               the packages of this library that predictions need
requirements.txt           the libraries these need, and what they need in turn, with the versions of requirements.lock
predictions.csv            test images with label and prediction; a later model is compared with them
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
"""The module with which MLflow loads the model."""

PACKAGES = ("core", "storage", "metrics", "images", "data", "backbone", "heads", "model")
"""The loader's package and the packages below it."""

PREDICTIONS = "predictions.csv"

REQUIREMENTS = (
    "mlflow-skinny",  # the part of mlflow that loads and serves models
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "simplejpeg",
    "threadpoolctl",
    "tqdm",
)
"""Libraries that predictions need beside the runtime."""

RUNTIMES = {"openvino": ("openvino",), "torch": ("torch", "torchvision")}
"""Packages that a runtime needs, by the first word of its name."""


def write_model(bundle: Path, predictions: Path, lock: Path, folder: Path, model: "Model | None" = None) -> None:
    """Write the MLflow model's folder.

    Args:
        bundle: the bundle's folder.
        predictions: table of the test images, with at least the columns that a promotion compares.
        lock: requirements.lock.
        folder: does not exist yet.
        model: MLflow's record, with the model's id and its run's; None for a model that MLflow does not know.
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
    """Describe input and output for MLflow."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    types = {"label": "string", "confidence": "double", "unsure": "boolean", "unknown": "boolean", "distance": "double"}
    types |= {probability_column(label): "double" for label in classes} | {"error": "string"}
    outputs = Schema([ColSpec(type_, name, required=False) for name, type_ in types.items()])
    return ModelSignature(inputs=Schema([ColSpec("string", IMAGE)]), outputs=outputs)


def needed(record: dict[str, Any]) -> list[str]:
    """List the libraries that a bundle needs, by its record: torch only if OpenVINO does not run the network."""
    runtime = str(record["runtime"]["runtime"]).split()[0]
    provided = provider_of(str(record["backbone"]["name"])).PACKAGES if runtime == "torch" else ()
    return sorted([*REQUIREMENTS, *RUNTIMES[runtime], *provided])


def _copy_code(scratch: Path) -> Path:
    """Copy the packages that predictions need into a package of the same name."""
    library, package = Path(core.__file__).parents[1], scratch / "stages"
    for name in PACKAGES:
        shutil.copytree(library / name, package / "graft" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("", "graft"):
        shutil.copyfile(library.parent / folder / "__init__.py", package / folder / "__init__.py")
    return package


def _copy_predictions(source: Path, target: Path) -> None:
    """Copy the columns that a promotion compares: the files' names stay private."""
    with source.open(newline="", encoding="utf-8") as lines, target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(csv.DictReader(lines))


def _example() -> str:
    """A small grey image, as text for a request."""
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
