"""A registered model of MLflow: a version for each model the gate lets through, the latest challenger, the champion.

Aliases are moved when a version is new and at no other time: neither publishing again nor an older state that is
checked out takes back what happened since, or what a person decided.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

from stages.graft.model.bundle import BUNDLE
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.tracking.mlflow_model import PREDICTIONS, write_model
from stages.graft.tracking.promotion import Predictions, Promotion, decide_promotion, read_predictions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases: the version to use; the latest one that the gate let through."""

BUNDLE_TAG, DECISION = "graft.bundle", "graft.succession"
"""Tags of a version: SHA-256 of its bundle's record, which names every file; what became of it, written last."""

REGISTERED = "graft.registered"
"""Tag of a run: its model's version and what became of it, or why there is none."""

GATE, LOCK = "reports/gate.json", "requirements.lock"
MODEL_BUNDLE, TEST_PREDICTIONS = "data/bundle", "reports/predictions.csv"
"""What is read, relative to the pipeline's root."""

MAX_REASON = 400
"""Characters of a reason on the terminal and in a tag."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registered model and the store it is in."""

    client: "MlflowClient"
    uri: str
    """The store's."""
    experiment: str
    """Id of the experiment the models are logged in."""
    name: str
    """The registered model's."""

    def offer(self, run_id: str, root: Path) -> str | None:
        """Register the present model if the gate holds, and decide whether it is the champion.

        A model whose very files are registered already stays the version it is.

        Args:
            run_id: of the run that has the model's results.
            root: the pipeline's folder.
        Returns:
            What became of it, in a line; None when the pipeline's results know of no gate.
        Raises:
            DataError: a file is missing or damaged.
        """
        if not (root / GATE).is_file():
            return None
        gate = read_json(root / GATE)
        if not gate["passed"]:
            refusal = shorten(f"not registered. {' '.join(gate['reasons'])}", MAX_REASON, placeholder=" …")
            self._note(run_id, refusal)
            return refusal
        version = self._version_of(root) or self._add(run_id, root)
        if decision := version.tags.get(DECISION):
            self._note(run_id, decision)
            return f"version {version.version} of {self.name} is registered already"
        decision = self._place(version, read_predictions(root / TEST_PREDICTIONS))
        self._note(run_id, decision)
        return decision

    def _version_of(self, root: Path) -> "ModelVersion | None":
        """The version that holds the same files."""
        query = f"name = '{self.name}' and tags.`{BUNDLE_TAG}` = '{sha256_of(root / MODEL_BUNDLE / BUNDLE)}'"
        found: list[ModelVersion] = list(self.client.search_model_versions(query))
        return min(found, key=lambda version: int(version.version), default=None)

    def _add(self, run_id: str, root: Path) -> "ModelVersion":
        """Log the present model and register it as a version."""
        self._registered()
        tags = {BUNDLE_TAG: sha256_of(root / MODEL_BUNDLE / BUNDLE)}
        model = self._log_model(run_id, root)
        # Its place, not models:/<id>, which a local store looks up in whatever store the process has set for all.
        place, model_id = model.artifact_location, model.model_id
        version = self.client.create_model_version(self.name, place, run_id, tags=tags, model_id=model_id)
        links = json.dumps([{"name": self.name, "version": version.version}])
        self.client.set_logged_model_tags(
            model_id, {"mlflow.modelVersions": links}
        )  # as a server does; the UI reads it
        return version

    def _log_model(self, run_id: str, root: Path) -> "LoggedModel":
        """Write the MLflow model and bring it to the store."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        logged = self.client.create_logged_model(self.experiment, self.name, run_id, model_type="classifier")
        model_id, place = str(logged.model_id), logged.artifact_location
        record = Model(artifact_path=place, model_uuid=model_id, run_id=run_id, model_id=model_id)
        try:
            with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                folder = Path(scratch) / "model"
                write_model(root / MODEL_BUNDLE, root / TEST_PREDICTIONS, root / LOCK, folder, record)
                self.client.log_model_artifacts(model_id, str(folder))
        except BaseException:
            self.client.finalize_logged_model(model_id, "FAILED")
            raise
        self.client.log_outputs(run_id, models=[LoggedModelOutput(model_id, step=0)])
        return self.client.finalize_logged_model(model_id, "READY")

    def _registered(self) -> "RegisteredModel":
        """The registered model, made if it is new."""
        from mlflow import MlflowException

        found = self.client.search_registered_models(f"name = '{self.name}'")
        if not found:
            try:
                return self.client.create_registered_model(self.name)
            except MlflowException:  # another process may have been faster
                return self.client.get_registered_model(self.name)
        return found[0]

    def _place(self, version: "ModelVersion", calls: Predictions) -> str:
        """Make a new version the challenger, decide whether it is the champion too, and say so in a line."""
        number, aliases = str(version.version), self._aliases()
        self.client.set_registered_model_alias(self.name, CHALLENGER, number)
        succession = self._decide(aliases.get(CHAMPION), number, calls)
        if succession.follows:
            self.client.set_registered_model_alias(self.name, CHAMPION, number)
            said = f"version {number} of {self.name} is the new champion: {succession.reason}"
        else:
            champion = f"version {aliases[CHAMPION]} stays champion"
            said = f"version {number} of {self.name} is a challenger, {champion}: {succession.reason}"
        self.client.set_model_version_tag(self.name, number, DECISION, said)
        return said

    def _aliases(self) -> Mapping[str, str]:
        return {alias: str(number) for alias, number in self.client.get_registered_model(self.name).aliases.items()}

    def _decide(self, champion: str | None, number: str, calls: Predictions) -> Promotion:
        if champion is None or champion == number:
            return Promotion(follows=True, reason="there was none")
        return decide_promotion(self._calls_of(champion), calls)

    def _calls_of(self, number: str) -> Predictions | None:
        """What a version says about its test images; None when it was registered without that."""
        from mlflow import MlflowException
        from mlflow.artifacts import download_artifacts

        version = self.client.get_model_version(self.name, number)
        with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            try:
                place = f"{version.source}/{PREDICTIONS}"
                table = download_artifacts(place, dst_path=scratch, tracking_uri=self.uri)
            except (MlflowException, OSError):
                return None
            return read_predictions(Path(table))

    def _note(self, run_id: str, text: str) -> None:
        """Tag the run, unless it has that tag already."""
        if self.client.get_run(run_id).data.tags.get(REGISTERED) != text:
            self.client.set_tag(run_id, REGISTERED, text)
