"""A bundle as an MLflow model: a folder with the bundle, the code that answers, and what must be installed, pinned.

MLmodel                    signature and how to load it; no pickle
data/bundle/               the bundle
code/stages/               of this library, the modules that answering needs
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

from stages.graft.artifacts import read_json
from stages.graft.bundle import BUNDLE
from stages.graft.imports import reached
from stages.graft.model import MODEL
from stages.graft.pins import pinned
from stages.graft.prediction import probability_column
from stages.graft.serving import IMAGE, READ_PATHS
from stages.graft.succession import COLUMNS

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

LOADER = "stages.graft.serving"
"""The module MLflow loads the model with."""

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

RUNTIMES = {"openvino": ("openvino",), "torch": ("torch", "torchvision"), "timm": ("timm",)}
"""What a runtime needs, by the first word of its name."""


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
            pip_requirements=pinned(needed(read_json(bundle / BUNDLE)), lock),
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
    from_timm = runtime == "torch" and str(record["backbone"]["name"]).startswith("timm:")
    return sorted([*REQUIREMENTS, *RUNTIMES[runtime], *(RUNTIMES["timm"] if from_timm else ())])


def _copy_code(scratch: Path) -> Path:
    """Copy the modules that answering needs as a package of the same name."""
    root, package = Path(__file__).parents[2], scratch / "stages"
    files = [*reached(LOADER, root), root / "stages/__init__.py", root / "stages/graft/__init__.py"]
    for path in files:
        target = scratch / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
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
