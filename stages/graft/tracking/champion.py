"""The champion of the present images, read from MLflow for the page of results."""

import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from stages.graft.metrics.answer_changes import Predictions
from stages.graft.tracking.run_state import read_state
from stages.graft.tracking.server import check_alive, configure_mlflow, find_address, hide_password


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A version of a registered model."""

    name: str
    """Of the registered model."""
    version: str
    """Its number."""
    predictions: Predictions
    """On its test images."""

    @property
    def title(self) -> str:
        """For sentences."""
        return f"the champion, version {self.version} of {self.name}"


def read_champion(root: Path) -> Champion | None:
    """Read the version that the present model is held against; None without one, or without an answer of the store."""
    address = find_address(root)
    if address.database is not None and not address.database.exists():
        return None
    try:
        check_alive(address)
        configure_mlflow()
        from mlflow import MlflowClient

        from stages.graft.tracking.registry import open_registry

        registry = open_registry(MlflowClient(address.uri), "", read_state(root), root)
        found = registry.find_champion(root)
    except Exception as error:
        reason = shorten(hide_password(str(error)), 200, placeholder="…") or type(error).__name__
        print(f"tracking: warning: {reason}; the page shows no comparison with the champion", file=sys.stderr)
        return None
    return None if found is None else Champion(name=registry.name, version=found[0], predictions=found[1])
