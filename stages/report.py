"""Stage 10 of 10, report: say whether the model is usable, draw the figures, write the page, and publish the run.

The page shows times and the last commit: it is no output of the stage, and `graft report` writes it again.

Reads   reports/, data/bundle/decision.json, params.yaml; for the page also data/images/, git's earlier results and the
        champion in MLflow
Writes  reports/decision.json, reports/figures/; beside its outputs reports/report.html
Params  report, ingest.source, evaluate.confidence_level
"""

from pathlib import Path

from stages.graft.advice.advice import give_advice, print_advice, write_advice
from stages.graft.advice.read_facts import LevelParams, SourceParams, read_facts
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.report.page import PAGE, write_report_page
from stages.graft.report.report_params import ReportParams
from stages.graft.storage.files import atomic_path
from stages.graft.tracking.publish import publish

ROOT, FIGURES = Path(), Path("reports/figures")


def main() -> None:
    """Give the advice, draw the figures, write the page, publish the run."""
    params, source = load_params("report", ReportParams), load_params("ingest", SourceParams).source
    level = load_params("evaluate", LevelParams).confidence_level
    write_advice(give_advice(read_facts(ROOT, source, level)), ROOT)
    with atomic_path(FIGURES) as folder:
        num_figures = write_report_page(ROOT, folder, params)
    print(f"report: {PAGE} with {num_figures} figures; open it in a browser")
    publish()
    print_advice(ROOT)


if __name__ == "__main__":
    run_stage("report", main)
