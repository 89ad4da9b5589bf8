"""The images of each split as MLflow's datasets: how many, which exactly, and what they are used for.

MLflow is passed in: importing this module does not import it.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd

from stages.graft.data.split_names import TEST, TRAIN, VAL
from stages.graft.data.splits import read_splits
from stages.graft.tracking.run_state import SPLITS, name_of_source

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXTS = {TRAIN: "train", VAL: "validation", TEST: "test"}
"""What MLflow calls the use of a split's images."""

COLUMNS = {"mlflow_colspec": [{"type": "binary", "name": "image"}, {"type": "string", "name": "label"}]}

MAX_NAME = 250
"""Characters of a name."""


def split_datasets(root: Path, source: str, entities: Any) -> "list[DatasetInput]":
    """Describe the images of train, validation and test; nothing before the stage split has run.

    Args:
        root: the pipeline's folder.
        source: `ingest.source`.
        entities: the module mlflow.entities.
    """
    if not (root / SPLITS).exists():
        return []
    images = read_splits(root / SPLITS)
    return [
        entities.DatasetInput(
            _dataset(images[images["split"] == split], source, entities),
            [entities.InputTag("mlflow.data.context", context)],
        )
        for split, context in CONTEXTS.items()
    ]


def _dataset(images: pd.DataFrame, source: str, entities: Any) -> Any:
    """A dataset whose digest names these images and labels, whatever else the source has."""
    lines = "".join(f"{id_} {label}\n" for id_, label in zip(images["id"], images["label"], strict=True))
    return entities.Dataset(
        name=name_of_source(source)[:MAX_NAME],
        digest=hashlib.sha256(lines.encode()).hexdigest()[:8],  # as MLflow's own digests
        source_type=urlsplit(source).scheme or "local",
        source=json.dumps({"uri": source}),
        schema=json.dumps(COLUMNS),
        profile=json.dumps({"num_images": len(images), "num_classes": int(images["label"].nunique())}),
    )
