"""Which figures there are: each drawn from the tables of a run, with the words that stand below it on a page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from stages.graft.report.class_figures import draw_confusion, draw_map, draw_per_class
from stages.graft.report.confidence_figures import Choice, draw_reliability, draw_risk_coverage
from stages.graft.report.figure_style import save_png, style
from stages.graft.report.plot_tables import PlotTables, read_plot_tables
from stages.graft.report.training_figures import draw_curve, draw_shots
from stages.graft.storage.files import read_json

CURVE_TITLES = {"train_head": "Learning curve of the head", "finetune": "Learning curve of fine-tuning"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure to be drawn."""

    name: str
    """Of its file, without the suffix."""
    caption: str
    """What to see in it and what not, in a sentence or two."""
    draw: Callable[[], Figure]
    """Draws it."""


def draw_figures(plots: Path, metrics: Path, decision: Path, folder: Path) -> dict[str, str]:
    """Draw every figure there is something for.

    Args:
        plots: the folder of the tables.
        metrics: the numbers of the test split.
        decision: the record of the decision rule; without it no threshold is marked.
        folder: where the PNG files go.
    Returns:
        By file name, the caption, in the order of reading.
    Raises:
        DataError: a table is missing or cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    with style():
        for picture in pictures(read_plot_tables(plots), read_choice(metrics, decision)):
            save_png(picture.draw(), folder / f"{picture.name}.png")
            captions[f"{picture.name}.png"] = picture.caption
    return captions


def read_choice(metrics: Path, decision: Path) -> Choice | None:
    """Read which threshold was chosen on validation and what it gives on test; None when the rule is not there."""
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


def pictures(tables: PlotTables, choice: Choice | None) -> Iterator[Picture]:
    """List the figures, in the order of reading."""
    classes = tables.classes
    yield Picture(
        name="confusion",
        caption="Which classes are taken for each other. Blue is right, orange is wrong.",
        draw=lambda: draw_confusion(tables.confusion, classes),
    )
    yield Picture(
        name="per_class",
        caption="Recall: the share of the class's images that is found. Precision: the share of the images put in the "
        "class that belongs there. In brackets, the number of test images: with few of them the intervals are wide.",
        draw=lambda: draw_per_class(tables.per_class),
    )
    yield Picture(
        name="reliability",
        caption="Whether a confidence can be read as a probability. Below: how many images each point stands for.",
        draw=lambda: draw_reliability(tables.reliability),
    )
    yield Picture(
        name="risk_coverage",
        caption="What leaving the least sure images to a person saves. The threshold was chosen on validation; the "
        "curve shows what any other would have given on test, and is not for choosing one.",
        draw=lambda: draw_risk_coverage(tables.risk_coverage, choice),
    )
    for kind in ("pca", "tsne"):
        yield _map(kind, tables)
    yield Picture(
        name="shots",
        caption="The default head fitted to fewer images. Where the curve still rises at its right end, more labelled "
        "images are likely to help; where it is flat, look at the errors instead.",
        draw=lambda: draw_shots(tables.shots),
    )
    yield from (_curve(stage, tables) for stage in tables.curves)


def _curve(stage: str, tables: PlotTables) -> Picture:
    return Picture(
        name=f"curve_{stage}",
        caption="Training loss that falls while validation loss rises means that images are being learnt by heart.",
        draw=lambda: draw_curve(tables.curves[stage], CURVE_TITLES.get(stage, f"Learning curve of {stage}")),
    )


def _map(kind: str, tables: PlotTables) -> Picture:
    return Picture(
        name=f"map_{kind}",
        caption="Each point is an image. Marked: a head that was fitted without the image puts it in another class.",
        draw=lambda: draw_map(tables.map, kind, tables.classes),
    )
