"""Beside the pipeline, publish: write the MLflow run of the present state from its files; twice changes nothing.

Reads   params.yaml, dvc.lock, data/, reports/
Run     graft publish (make repro does), after a pull, after a stage was restored from the cache or a server was away
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.maintenance.freshness import outdated
from stages.graft.tracking.publish import publish


def main(arguments: Sequence[str]) -> None:
    """Publish what is there, unless it is of other parameters than params.yaml's: a run must be what it says."""
    argparse.ArgumentParser(
        "graft publish", description="Write the MLflow run of the present results; a second time changes nothing."
    ).parse_args(arguments)
    if why := outdated(Path()):
        raise DataError(f"{why}; `dvc repro` brings them together, after a git pull `dvc pull`")
    publish()
