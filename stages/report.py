"""Stage 8 of 8, report: draw the figures, write the page that people decide from, and publish the run.

The page tells of times and of the last commit: it is no out of the stage, and `graft report` writes it anew.

Reads   reports/, data/bundle/decision.json, params.yaml; for the page also data/images/ and git's last commit
Writes  reports/figures/; beside its outs reports/report.html
Params  report
Run     graft report writes the page alone, from the files: after a pull, a commit, or a result restored by DVC
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import Field

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.report.figures import draw_figures
from stages.graft.report.page import read_page, write_page
from stages.graft.storage.files import atomic_path
from stages.graft.tracking.publish import publish

ROOT, PLOTS, METRICS = Path(), Path("reports/plots"), Path("reports/metrics.json")
DECISION = Path("data/bundle/decision.json")
FIGURES, PAGE = Path("reports/figures"), Path("reports/report.html")


class ReportParams(Params):
    """The section `report`."""

    gallery_images: Annotated[int, Field(ge=0, le=60)]
    """Images in each gallery, at most; 60 keep the page below 3 MB."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the figures, write the page, publish; as a command (arguments given), write the page alone."""
    if arguments is not None:
        write_anew(arguments)
        return
    params = load_params("report", ReportParams)
    with atomic_path(FIGURES) as folder:
        captions = draw_figures(PLOTS, METRICS, DECISION, folder)
    write_page(read_page(ROOT, FIGURES, captions, params.gallery_images), PAGE)
    print(f"report: {len(captions)} figures, {PAGE}")
    publish()


def write_anew(arguments: Sequence[str]) -> None:
    """Write the page from the files; the stage's figures are DVC's and may be absent, so they are drawn again."""
    argparse.ArgumentParser(
        "graft report",
        description=f"Write {PAGE} anew from the files: after a pull, a commit, a result restored by DVC.",
    ).parse_args(arguments)
    params = load_params("report", ReportParams)
    with TemporaryDirectory(prefix="graft-") as folder:
        captions = draw_figures(PLOTS, METRICS, DECISION, Path(folder))
        write_page(read_page(ROOT, Path(folder), captions, params.gallery_images), PAGE)
    print(f"report: {PAGE}, {PAGE.stat().st_size / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    run_stage("report", main)
