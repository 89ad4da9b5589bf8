"""Figures of the features' map: images that look alike to the network lie together, errors are marked."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.graft.drawing import COLOURS, INK, VERMILLION, class_labels, new_figure

MARKERS = ("o", "^", "s", "D")
"""Every class has another colour or shape than its neighbours, and no two classes share both."""

SUBTITLES = {
    "pca": "Principal components: distances far apart mean something",
    "tsne": "t-SNE: neighbours mean something, distances and sizes of clusters do not",
}
TITLES = {"pca": "Map of the features, PCA", "tsne": "Map of the features, t-SNE"}


def draw_map(table: pd.DataFrame, kind: str, classes: Sequence[str]) -> Figure:
    """Draw the images of the map, coloured by class, those that look like another class marked.

    Args:
        table: label, predicted, and <kind>_x, <kind>_y.
        kind: pca or tsne.
        classes: every class, in order; of more than can be told apart, all are grey.
    """
    told_apart = len(classes) <= len(COLOURS) * len(MARKERS)
    rows = -(-(1 + len(classes) * told_apart) // 3)
    figure = new_figure(4.0 + 0.17 * rows, TITLES[kind], SUBTITLES[kind])
    axis = figure.add_subplot()
    size = min(18.0, max(3.0, 12000 / max(len(table), 1)))
    x, y = table[f"{kind}_x"], table[f"{kind}_y"]
    if told_apart:
        _by_class(axis, table, kind, classes, size)
    else:
        axis.scatter(x, y, s=size, color="#9aa5b1", alpha=0.6, linewidths=0, label=f"image ({len(classes)} classes)")
    wrong = table["label"] != table["predicted"]
    colour = INK if told_apart else VERMILLION
    label = f"looks like another class ({int(wrong.sum())})"
    axis.scatter(x[wrong], y[wrong], s=34, marker="x", color=colour, linewidths=1.2, label=label)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.margins(0.03)
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)
    figure.legend(
        loc="outside lower center", ncols=3, fontsize=8, handletextpad=0.2, columnspacing=1.2, markerscale=1.2
    )
    return figure


def _by_class(axis: Axes, table: pd.DataFrame, kind: str, classes: Sequence[str], size: float) -> None:
    for k, (name, label) in enumerate(zip(classes, class_labels(classes, most=22), strict=True)):
        one = table[table["label"] == name]
        axis.scatter(
            one[f"{kind}_x"], one[f"{kind}_y"], s=size, color=COLOURS[k % len(COLOURS)],
            marker=MARKERS[(k + k // len(COLOURS)) % len(MARKERS)], alpha=0.75, linewidths=0, label=label,
        )  # fmt: skip
