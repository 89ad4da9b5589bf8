"""Beside the pipeline, publish: write the MLflow run of the present state from its files; twice changes nothing.

Reads   params.yaml, dvc.lock, data/, reports/
Run     graft publish (make repro does), after a stage was restored from the cache or a server was away
"""

import argparse
from collections.abc import Sequence

from stages.graft.tracking import publish


def main(arguments: Sequence[str]) -> None:
    """Publish what is there."""
    argparse.ArgumentParser(
        "graft publish", description="Write the MLflow run of the present results; a second time changes nothing."
    ).parse_args(arguments)
    publish()
