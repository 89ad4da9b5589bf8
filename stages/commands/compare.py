"""graft compare: the present result, earlier commits and experiments, in one block for each set of test images.

Reads   params.yaml, reports/metrics.json, reports/predictions.csv, and git's copies of them
"""

from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.report.past_results import METRICS
from stages.graft.report.results_table import format_results, list_results

ROOT = Path()


def print_results(num: int) -> None:
    """Print the table; `num` commits and as many experiments are looked at.

    Raises:
        DataError: there are no results.
    """
    if not (ROOT / METRICS).exists():
        raise DataError(f"{METRICS} does not exist: `dvc repro` makes it")
    print(format_results(list_results(ROOT, num)))
