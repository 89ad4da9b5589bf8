"""graft publish: write the MLflow run of the present state from its files.

It is for after a pull, after a stage was restored from the cache, or after the server was unreachable.

Reads   params.yaml, dvc.lock, data/, reports/
"""

from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.maintenance.freshness import outdated
from stages.graft.tracking.publish import publish


def publish_results() -> None:
    """Publish the results, if they belong to the parameters in params.yaml.

    Raises:
        DataError: they were made with other parameters.
    """
    if reason := outdated(Path()):
        raise DataError(f"{reason}; `dvc repro` brings them together, after a git pull `dvc pull`")
    publish()
