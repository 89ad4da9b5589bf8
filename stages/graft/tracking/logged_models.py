"""The model of a run, as MLflow's pages show it: signature, input example, and the very bundle that was evaluated.

MLflow is imported only when it is asked.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from stages.graft.storage.hashing import sha256_of
from stages.graft.tracking.run_state import BUNDLE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

LOCK, PREDICTIONS = "requirements.lock", "reports/predictions.csv"
"""Relative to the pipeline's root."""

NAME, BUNDLE_TAG = "classifier", "graft.bundle"
"""The name of every logged model; its tag with the SHA-256 of the bundle's record, which names every file."""


def find_or_log_model(client: "MlflowClient", experiment: str, run_id: str, root: Path) -> "LoggedModel":
    """Find the run's model that has the present files, or write and upload it.

    Args:
        client: of the store.
        experiment: id of the experiment that the models are logged in.
        run_id: of the run that has the model's results.
        root: the pipeline's folder.
    Raises:
        DataError: a file is missing or damaged.
    """
    sha256 = sha256_of(root / BUNDLE)
    query = f"source_run_id = '{run_id}' AND tags.`{BUNDLE_TAG}` = '{sha256}'"
    ready = [model for model in client.search_logged_models([experiment], query) if model.status == "READY"]
    return ready[0] if ready else _log_model(client, experiment, run_id, root, {BUNDLE_TAG: sha256})


def _log_model(client: "MlflowClient", experiment: str, run_id: str, root: Path, tags: dict[str, str]) -> "LoggedModel":
    """Write the MLflow model and upload it to the store."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    from stages.graft.tracking.mlflow_model import write_model  # and all that a model needs

    logged = client.create_logged_model(experiment, NAME, run_id, tags=tags, model_type="classifier")
    model_id = str(logged.model_id)
    record = Model(artifact_path=logged.artifact_location, model_uuid=model_id, run_id=run_id, model_id=model_id)
    try:
        with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / "model"
            write_model((root / BUNDLE).parent, root / PREDICTIONS, root / LOCK, folder, record)
            client.log_model_artifacts(model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise
    client.log_outputs(run_id, models=[LoggedModelOutput(model_id, step=0)])
    return client.finalize_logged_model(model_id, "READY")
