"""Figures by class: confusions, recall and precision, and the map of the features."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from stages.graft.report.figure_style import (
    BLUE,
    COLOURS,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    class_labels,
    floor_to_tenth,
    new_figure,
    percent,
    show_percent,
)

MAX_MATRIX = 20
"""Classes that a matrix can show; with more, the commonest confusions are listed."""

MAX_WITH_RATES = 8
"""Classes with which a matrix has room for rates below the counts."""

MAX_ROWS, MAX_CONFUSIONS = 24, 15
"""Rows of a list of classes, and of confusions."""

Counts = npt.NDArray[np.int64]


def draw_confusion(table: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, or with many classes the commonest confusions.

    Args:
        table: actual and predicted, a row for each test image.
        classes: every class, in order.
    """
    if len(classes) > MAX_MATRIX:
        return _draw_commonest(table, classes)
    pairs = table.groupby(["actual", "predicted"]).size()
    counts = np.array([[pairs.get((a, b), 0) for b in classes] for a in classes], dtype=np.int64)
    return _draw_matrix(counts, class_labels(classes, max_length=18))


def draw_per_class(table: pd.DataFrame) -> Figure:
    """Draw recall and precision of each class with their intervals, the weakest first.

    Args:
        table: class, recall, precision, their intervals (recall_low, …), f1, num_test.
    """
    numbered = table.assign(label=class_labels(table["class"].to_list()))
    shown = numbered[numbered["num_test"] > 0].sort_values("f1", kind="stable").head(MAX_ROWS)
    many = f"the {len(shown)} weakest of {len(table)} classes" if len(shown) < len(table) else "the weakest first"
    figure = new_figure(
        1.45 + 0.3 * len(shown), "Recall and precision per class", f"On test, {many}; lines are intervals"
    )
    axis = figure.add_subplot()
    y = np.arange(len(shown))
    for name, colour, marker, shift in (("recall", BLUE, "o", -0.15), ("precision", ORANGE, "D", 0.15)):
        axis.hlines(y + shift, shown[f"{name}_low"], shown[f"{name}_high"], color=colour, alpha=0.45, linewidth=2.2)
        axis.plot(shown[name], y + shift, marker, color=colour, label=name, clip_on=False, zorder=3)
    axis.set_yticks(y, [f"{label}  ({n:.0f})" for label, n in zip(shown["label"], shown["num_test"], strict=True)])
    axis.tick_params(axis="y", labelcolor=INK)
    lowest = np.nanmin(shown[["recall_low", "precision_low"]].to_numpy(dtype=float), initial=1.0)
    axis.set(xlim=(min(0.9, floor_to_tenth(lowest)), 1.0), ylim=(len(shown) - 0.5, -0.5))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)
    show_percent(axis, "x")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_matrix(counts: Counts, labels: Sequence[str]) -> Figure:
    num_classes, totals = len(labels), counts.sum(axis=1, keepdims=True)
    rates = counts / np.maximum(totals, 1)
    with_rates = num_classes <= MAX_WITH_RATES
    cells = "images, and their share of the row" if with_rates else "numbers are images, colour their share of the row"
    figure = new_figure(3.1 + 0.13 * min(num_classes, 16), "Confusion on test", f"Rows are true classes; {cells}")
    axis = figure.add_subplot()
    axis.imshow(_colours(rates), aspect="auto")
    size = 9.0 if with_rates else 8.0 if num_classes <= 14 else 6.5
    for row, column in np.argwhere(counts):
        rate = rates[row, column]
        text = f"{counts[row, column]}" + (f"\n{rate:.0%}" if with_rates else "")
        axis.text(column, row, text, ha="center", va="center", color="white" if rate > 0.5 else INK, fontsize=size)
    long = max(map(len, labels)) > 60 / num_classes
    axis.set_xticks(range(num_classes), labels, rotation=40 if long else 0, ha="right" if long else "center")
    axis.set_yticks(range(num_classes), labels)
    axis.tick_params(labelcolor=INK, labelsize=8.5 if num_classes <= 14 else 7)
    axis.set_xlabel("predicted")
    _draw_cells(axis, num_classes)
    return figure


def _colours(rates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Colour right answers blue and wrong ones vermillion, stronger for a larger share; zero is white."""
    right, wrong = np.array(to_rgb(BLUE)), np.array(to_rgb(VERMILLION))
    full = np.where(np.eye(len(rates), dtype=np.bool_)[:, :, None], right, wrong)
    strength = np.where(rates > 0, 0.14 + 0.86 * rates, 0.0)[:, :, None]
    return np.asarray((1 - strength) * 1.0 + strength * full)


def _draw_cells(axis: Axes, num_classes: int) -> None:
    """Draw thin lines between the cells and no frame."""
    axis.grid(visible=False)
    axis.spines[["left", "bottom"]].set_visible(False)
    edges = np.arange(num_classes + 1) - 0.5
    for draw_lines in (axis.hlines, axis.vlines):
        draw_lines(edges, -0.5, num_classes - 0.5, color="#eef1f4", linewidth=0.8)


def _draw_commonest(table: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Draw the commonest confusions as bars."""
    wrong = table[table["actual"] != table["predicted"]]
    pairs = wrong.groupby(["actual", "predicted"]).size().sort_values(ascending=False, kind="stable")
    top, totals = pairs.head(MAX_CONFUSIONS), table["actual"].value_counts()
    label_of = dict(zip(classes, class_labels(classes, max_length=18), strict=True))
    figure = new_figure(
        1.3 + 0.22 * max(len(top), 3),
        "Commonest confusions on test",
        f"True class → predicted; {len(wrong)} of {len(table)} images are wrong, in {len(pairs)} pairs of classes",
    )
    axis = figure.add_subplot()
    axis.barh(range(len(top)), top, color=VERMILLION, height=0.62)
    names = [(str(a), str(b)) for a, b in top.index]
    for row, (count, (actual, _)) in enumerate(zip(top, names, strict=True)):
        axis.text(count, row, f"  {count} ({percent(count / totals[actual])})", va="center", fontsize=8, color=MUTED)
    axis.set_yticks(range(len(top)), [f"{label_of[a]} → {label_of[b]}" for a, b in names])
    axis.tick_params(axis="y", labelcolor=INK, labelsize=8)
    axis.set(xlim=(0, 1.25 * max(top.max() if len(top) else 1, 1)), ylim=(max(len(top), 3) - 0.5, -0.5))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("images (share of the true class)")
    return figure


MARKERS = ("o", "^", "s", "D", "v", "P")
"""Two classes of a legend never have the same marker in the same colour, nor in both blues or both browns."""

MAX_IN_LEGEND = 16
"""Classes that a legend can tell apart; of more, each one's number stands among its images."""

SUBTITLES = {
    "pca": "Principal components: distances far apart mean something",
    "tsne": "t-SNE: neighbours mean something, distances and sizes of clusters do not",
}
TITLES = {"pca": "Map of the features, PCA", "tsne": "Map of the features, t-SNE"}


def draw_map(table: pd.DataFrame, kind: str, classes: Sequence[str]) -> Figure:
    """Draw a map of the images, coloured by class; mark the images that look like another class.

    Args:
        table: label, predicted, and <kind>_x, <kind>_y.
        kind: pca or tsne.
        classes: every class, in order.
    """
    in_legend = len(classes) <= MAX_IN_LEGEND
    rows = -(-(1 + len(classes) * in_legend) // 3)
    figure = new_figure(4.0 + 0.17 * rows + 1.2 * (not in_legend), TITLES[kind], SUBTITLES[kind])
    axis = figure.add_subplot()
    places = table.rename(columns={f"{kind}_x": "x", f"{kind}_y": "y"})
    size = min(18.0, max(3.0, 12000 / max(len(table), 1)))
    _draw_classes(axis, places, classes, size)
    wrong = places[places["label"] != places["predicted"]]
    label = f"looks like another class ({len(wrong)})"
    axis.scatter(wrong["x"], wrong["y"], s=34, marker="x", color=INK, linewidths=1.2, label=label)
    if not in_legend:
        _label_classes(axis, places, classes)
    axis.set(xticks=[], yticks=[])
    axis.margins(0.03)
    axis.spines[["top", "right"]].set_visible(True)
    figure.legend(
        loc="outside lower center", ncols=3, fontsize=8, handletextpad=0.2, columnspacing=1.2, markerscale=1.2
    )
    return figure


def class_look(k: int) -> tuple[str, str]:
    """Give the colour and the marker of the class number k; the first 36 all differ."""
    return COLOURS[k % len(COLOURS)], MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]


def _draw_classes(axis: Axes, places: pd.DataFrame, classes: Sequence[str], size: float) -> None:
    labels = class_labels(classes, max_length=22) if len(classes) <= MAX_IN_LEGEND else [None] * len(classes)
    for k, (name, label) in enumerate(zip(classes, labels, strict=True)):
        images, (colour, marker) = places[places["label"] == name], class_look(k)
        axis.scatter(
            images["x"], images["y"], s=size, color=colour, marker=marker, alpha=0.75, linewidths=0, label=label
        )


def _label_classes(axis: Axes, places: pd.DataFrame, classes: Sequence[str]) -> None:
    """Write each class's number in the page's table of classes at the image in the middle of its images."""
    axis.set_xlabel("numbers: classes, as in the table of classes")
    halo = [withStroke(linewidth=2.2, foreground="white", alpha=0.9)]
    for number, name in enumerate(classes, start=1):
        images = places.loc[places["label"] == name, ["x", "y"]].to_numpy()
        if len(images):
            x, y = images[np.square(images - np.median(images, axis=0)).sum(axis=1).argmin()]
            axis.text(
                x, y, str(number), ha="center", va="center", fontsize=7.5, fontweight="bold",
                color=INK, path_effects=halo, clip_on=True,
            )  # fmt: skip
