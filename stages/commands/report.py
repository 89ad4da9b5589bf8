"""graft report: write the page of results again from the files.

It is for after a pull, a commit, or a result restored by DVC: the page shows times and the last commit, so it is no
output of the stage.

Reads   reports/, data/bundle/decision.json, data/images/, params.yaml, git's last commit
Writes  reports/report.html
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from stages.graft.core.params import load_params
from stages.graft.report.page import PAGE, write_report_page
from stages.graft.report.report_params import ReportParams


def rewrite_page() -> None:
    """Write the page; its figures are drawn in a temporary folder, as reports/figures may not be pulled."""
    params = load_params("report", ReportParams)
    with TemporaryDirectory(prefix="graft-") as folder:
        write_report_page(Path(), Path(folder), params)
    print(f"report: {PAGE}, {Path(PAGE).stat().st_size / 1e6:.1f} MB; open it in a browser")
