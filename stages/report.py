"""Stage 9 of 9, report: draw the figures, write the page of results, and publish the run.

The page shows times and the last commit: it is no output of the stage, and `graft report` writes it again.

Reads   reports/, data/bundle/decision.json, params.yaml; for the page also data/images/ and git's last commit
Writes  reports/figures/; beside its outputs reports/report.html
Params  report
"""

from pathlib import Path

from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.report.page import PAGE, write_report_page
from stages.graft.report.report_params import ReportParams
from stages.graft.storage.files import atomic_path
from stages.graft.tracking.publish import publish

ROOT, FIGURES = Path(), Path("reports/figures")


def main() -> None:
    """Draw the figures, write the page, publish the run."""
    params = load_params("report", ReportParams)
    with atomic_path(FIGURES) as folder:
        num_figures = write_report_page(ROOT, folder, params)
    print(f"report: {PAGE} with {num_figures} figures; open it in a browser")
    publish()


if __name__ == "__main__":
    run_stage("report", main)
