"""graft serve: a page to try the model, and an interface for programs.

Reads   a bundle: this repository's data/bundle, another folder, or a model of MLflow's registry; the project's training
        images, if they are here
Writes  corrected images, and a log of the answers if it is asked for
"""

from pathlib import Path
from typing import Any

from stages.graft.serving.server import ServeOptions, serve
from stages.graft.tracking.fetch_model import REGISTRY, fetch_bundle


def serve_model(model: str, **options: Any) -> None:
    """Serve a model until the process is interrupted; the options are those of `ServeOptions`."""
    with fetch_bundle(model, Path()) as bundle:
        serve(bundle, model if model.startswith(REGISTRY) else Path(model).resolve().name, ServeOptions(**options))
