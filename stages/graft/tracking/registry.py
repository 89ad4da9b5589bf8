"""A registered model of MLflow: a version for each model that passes the gate; aliases champion and challenger.

Aliases move only when a version is new: publishing again, or publishing an older state, changes no decision, and none
that a person made.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

from stages.graft.data.manifest import read_manifest
from stages.graft.metrics.answer_changes import Predictions, parse_predictions
from stages.graft.model.bundle import BUNDLE
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.tracking.logged_models import find_or_log_model
from stages.graft.tracking.mlflow_model import PREDICTIONS
from stages.graft.tracking.promotion import Promotion, decide_promotion
from stages.graft.tracking.run_state import MANIFEST, RunState, name_of_source

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases: the version to use; the latest version that passed the gate."""

BUNDLE_TAG, DECISION = "graft.bundle", "graft.succession"
"""Tags of a version: SHA-256 of its bundle's record, which names every file; the decision on it, written last."""

COMPARED = "graft.compared"
"""Tag of a version: the number of the champion that it was compared with; empty when there was none."""

REGISTERED = "graft.registered"
"""Tag of a run: its model's version and the decision on it, or why there is no version."""

GATE = "reports/gate.json"
MODEL_BUNDLE, TEST_PREDICTIONS = "data/bundle", "reports/predictions.csv"
"""Files to read, relative to the pipeline's root."""

NO_OTHER = "there was none"
"""Why a first model is the champion."""

MAX_REASON = 400
"""Characters of a reason on the terminal and in a tag."""


def open_registry(client: "MlflowClient", experiment: str, state: RunState, root: Path) -> "Registry":
    """Open the registered model that `tracking.model_name` or the source names."""
    if state.model_name is not None:
        return Registry(client=client, experiment=experiment, name=state.model_name)
    name = name_of_source(state.source)
    return Registry(client=client, experiment=experiment, name=name).for_images(root, state.source)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registered model and its store."""

    client: "MlflowClient"
    experiment: str
    """Id of the experiment that the models are logged in."""
    name: str
    """Name of the registered model."""

    def for_images(self, root: Path, source: str) -> "Registry":
        """Give the registry itself or, where its champion was tested on images of other data, one of another name.

        That is the name with a hash of the source: two folders of one name do not share a champion.
        """
        models = self.client.search_registered_models(f"name = '{self.name}'")
        number = models[0].aliases.get(CHAMPION) if models else None
        predictions = self._read_predictions(str(number)) if number else None
        if not predictions or predictions.keys() & _read_table(root / TEST_PREDICTIONS).keys():
            return self
        if not predictions.keys().isdisjoint(read_manifest(root / MANIFEST, ("id",))["id"]):
            return self  # the same data, split otherwise
        return replace(self, name=f"{self.name}-{hashlib.sha256(source.encode()).hexdigest()[:6]}")

    def register(self, run_id: str, root: Path) -> str | None:
        """Register the present model if it passes the gate, and decide whether it becomes the champion.

        A model whose very files are registered already keeps its version.

        Args:
            run_id: of the run that has the model's results.
            root: the pipeline's folder.
        Returns:
            The decision in a line; None if the results have no gate.
        Raises:
            DataError: a file is missing or damaged.
        """
        if not (root / GATE).is_file():
            return None
        gate = read_json(root / GATE)
        if not gate["passed"]:
            refusal = shorten(f"not registered. {' '.join(gate['reasons'])}", MAX_REASON, placeholder=" …")
            self._tag_run(run_id, refusal)
            return refusal
        version = self._find_version(root) or self._create_version(run_id, root)
        known = version.tags.get(DECISION)
        decision = known or self._promote(str(version.version), _read_table(root / TEST_PREDICTIONS))
        self._tag_run(run_id, decision)
        return f"version {version.version} of {self.name} is registered already" if known else decision

    def find_champion(self, root: Path) -> tuple[str, Predictions] | None:
        """Find the version to hold the present model against: the champion or, where the present model is registered,
        the champion of that time.

        Returns:
            Its number and predictions; None when there is no such version, or its predictions are not on record.
        """
        models = self.client.search_registered_models(f"name = '{self.name}'")
        if not models:
            return None
        own = self._find_version(root)
        number = models[0].aliases.get(CHAMPION) if own is None else own.tags.get(COMPARED)
        predictions = self._read_predictions(str(number)) if number else None
        return None if predictions is None else (str(number), predictions)

    def _find_version(self, root: Path) -> "ModelVersion | None":
        """Find the version with the same files."""
        query = f"name = '{self.name}' and tags.`{BUNDLE_TAG}` = '{sha256_of(root / MODEL_BUNDLE / BUNDLE)}'"
        versions: list[ModelVersion] = list(self.client.search_model_versions(query))
        return min(versions, key=lambda version: int(version.version), default=None)

    def _create_version(self, run_id: str, root: Path) -> "ModelVersion":
        """Log the present model and register it as a version."""
        self._create_registered_model()
        tags = {BUNDLE_TAG: sha256_of(root / MODEL_BUNDLE / BUNDLE)}
        model = find_or_log_model(self.client, self.experiment, run_id, root)
        # Its location, not models:/<id>: a local store looks that up in the process's default store.
        version = self.client.create_model_version(
            self.name, model.artifact_location, run_id, tags=tags, model_id=model.model_id
        )
        links = json.dumps([{"name": self.name, "version": version.version}])
        # A server sets this tag itself; the UI reads it.
        self.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": links})
        return version

    def _create_registered_model(self) -> None:
        """Create the registered model, if it is new."""
        from mlflow import MlflowException

        if self.client.search_registered_models(f"name = '{self.name}'"):
            return
        try:
            self.client.create_registered_model(self.name)
        except MlflowException:  # another process may have created it
            self.client.get_registered_model(self.name)

    def _promote(self, number: str, predictions: Predictions) -> str:
        """Make a new version the challenger, and the champion if it is no worse; returns the decision in a line."""
        aliases = self.client.get_registered_model(self.name).aliases
        champion = str(aliases.get(CHAMPION, number))
        self.client.set_registered_model_alias(self.name, CHALLENGER, number)
        promotion = Promotion(is_promoted=True, reason=NO_OTHER)
        if champion != number:
            self.client.set_model_version_tag(self.name, number, COMPARED, champion)
            promotion = decide_promotion(self._read_predictions(champion), predictions)
        if promotion.is_promoted:
            self.client.set_registered_model_alias(self.name, CHAMPION, number)
            outcome = "is the new champion"
        else:
            outcome = f"is a challenger, version {champion} stays champion"
        decision = f"version {number} of {self.name} {outcome}: {promotion.reason}"
        self.client.set_model_version_tag(self.name, number, DECISION, decision)
        return decision

    def _read_predictions(self, number: str) -> Predictions | None:
        """Read a version's predictions on its test images; None if it was registered without them."""
        from mlflow import MlflowException
        from mlflow.artifacts import download_artifacts

        address = f"{self.client.get_model_version(self.name, number).source}/{PREDICTIONS}"
        with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            try:
                table = download_artifacts(address, dst_path=scratch, tracking_uri=self.client.tracking_uri)
            except (MlflowException, OSError):
                return None
            return _read_table(Path(table))

    def _tag_run(self, run_id: str, text: str) -> None:
        """Tag the run, unless it has that tag already."""
        if self.client.get_run(run_id).data.tags.get(REGISTERED) != text:
            self.client.set_tag(run_id, REGISTERED, text)


def _read_table(path: Path) -> Predictions:
    with path.open(newline="", encoding="utf-8") as lines:
        return parse_predictions(lines)
