"""All figures of a run: each is drawn from the run's tables and has a caption for the page.

`drawing` runs this module in a process of its own, beside what else the page needs.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from stages.graft.core.errors import GraftError
from stages.graft.core.progress import bar
from stages.graft.report.class_figures import draw_confusion, draw_map, draw_per_class
from stages.graft.report.confidence_figures import Choice, draw_reliability, draw_risk_coverage
from stages.graft.report.figure_style import save_png, style
from stages.graft.report.plot_tables import PlotTables, read_plot_tables
from stages.graft.report.training_figures import draw_curve, draw_shots
from stages.graft.storage.files import read_json

CURVE_TITLES = {"train_head": "Learning curve of the head", "finetune": "Learning curve of fine-tuning"}

CAPTIONS = {
    "confusion": "Which classes are taken for each other. Blue is right, orange is wrong.",
    "per_class": "Recall: the share of the class's images that is found. Precision: the share of the images put in the "
    "class that belongs there. In brackets, the number of test images: with few of them the intervals are wide.",
    "reliability": "Whether a confidence can be read as a probability. Below: how many images each point stands for.",
    "risk_coverage": "What leaving the least sure images to a person saves. The threshold was chosen on validation; "
    "the curve shows what any other would have given on test, and is not for choosing one.",
    "map": "Each point is an image. Marked: a head that was fitted without the image puts it in another class.",
    "shots": "A logistic head fitted to fewer images. Where the curve still rises at its right end, more labelled "
    "images are likely to help; where it is flat, look at the errors instead.",
    "curve": "Training loss that falls while validation loss rises means that images are being learnt by heart.",
}
"""What to see in a figure and what not, by the figure's name or its first word."""


def draw_figures(plots: Path, metrics: Path, decision: Path, folder: Path) -> dict[str, str]:
    """Draw every figure that the tables have values for; give the captions by file name, in the order of reading.

    Args:
        plots: the folder of the tables.
        metrics: the numbers of the test split.
        decision: the record of the decision rule; without it no threshold is marked.
        folder: for the PNG files.
    Raises:
        DataError: a table is missing or cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    with style():
        figures = _draw_all(read_plot_tables(plots), read_choice(metrics, decision))
        for name, figure in bar(figures, desc="report", unit="figures"):
            save_png(figure, folder / f"{name}.png")
            captions[f"{name}.png"] = CAPTIONS.get(name) or CAPTIONS[name.partition("_")[0]]
    return captions


def read_choice(metrics: Path, decision: Path) -> Choice | None:
    """Read the threshold chosen on validation and its result on test; None if there is no decision rule."""
    if not decision.exists():
        return None
    rule, record = read_json(decision), read_json(metrics)
    accuracy = record["selective_accuracy"]
    return Choice(
        confidence=rule["threshold"]["confidence"],
        target_accuracy=rule["target_accuracy"],
        coverage=record["coverage"],
        risk=None if accuracy is None else 1 - accuracy,
    )


def _draw_all(tables: PlotTables, choice: Choice | None) -> Iterator[tuple[str, Figure]]:
    """Draw the figures, each with its name, in the order of reading."""
    classes = tables.per_class["class"].to_list()
    yield "confusion", draw_confusion(tables.confusion, classes)
    yield "per_class", draw_per_class(tables.per_class)
    yield "reliability", draw_reliability(tables.reliability)
    yield "risk_coverage", draw_risk_coverage(tables.risk_coverage, choice)
    for kind in ("pca", "tsne"):
        yield f"map_{kind}", draw_map(tables.map, kind, classes)
    yield "shots", draw_shots(tables.shots)
    for stage, curve in tables.curves.items():
        yield f"curve_{stage}", draw_curve(curve, CURVE_TITLES.get(stage, f"Learning curve of {stage}"))


def main() -> None:
    """Draw, and print the captions or the user's error as JSON."""
    result: dict[str, object]
    try:
        result = {"captions": draw_figures(*map(Path, sys.argv[1:]))}
    except GraftError as error:
        result = {"error": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
