"""Class folders as sources, and parameters of `ingest`, for tests."""

from pathlib import Path
from typing import Any

from stages.graft.core.params import load_params
from stages.graft.data.candidates import Source
from stages.graft.data.class_folder import list_folder
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.label_rules import label_contents
from tests.conftest import REPOSITORY


def ingest_params(**changes: Any) -> IngestParams:
    """The section `ingest` of the repository, changed."""
    params = load_params("ingest", IngestParams, REPOSITORY / "params.yaml")
    return params.model_copy(update={{"copy": "copy_"}.get(name, name): value for name, value in changes.items()})


def read_class_folder(folder: Path, name: str = "plates") -> Source:
    """A folder as a source."""
    return label_contents(name, list_folder(folder))
