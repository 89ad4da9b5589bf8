"""Figures of training: loss and accuracy by epoch, and accuracy by the number of training images."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from stages.graft.report.figure_style import (
    BLUE,
    DASHED,
    MUTED,
    ORANGE,
    floor_to_tenth,
    new_figure,
    percent,
    show_percent,
)

LEAST_GAP = 0.1
"""Between the labels of an axis, as a share of it."""

MAX_MARKED = 40
"""With more epochs, they have no markers."""


def draw_curve(table: pd.DataFrame, title: str) -> Figure:
    """Draw loss and accuracy by epoch, for training and validation, and mark the epoch of the lowest loss.

    Args:
        table: epoch, split (train, val), loss, accuracy; cells may be empty.
        title: of the figure.
    """
    val = table[table["split"] == "val"]
    figure = new_figure(4.0, title, "Lower loss is better; the line marks the lowest on validation")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axis, column in ((top, "loss"), (bottom, "accuracy")):
        for split, colour, label in (("train", ORANGE, "training"), ("val", BLUE, "validation")):
            curve = table[(table["split"] == split) & table[column].notna()]
            marker = "o" if len(curve) <= MAX_MARKED else ""
            axis.plot(curve["epoch"], curve[column], color=colour, marker=marker, label=label if len(curve) else None)
        if val["loss"].notna().any():
            best = val["epoch"].to_numpy()[val["loss"].argmin()]
            axis.axvline(best, color=MUTED, linewidth=1, linestyle=DASHED, zorder=0)
    top.set_ylabel("loss, nats")
    bottom.set(xlabel="epoch", ylabel="accuracy")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    show_percent(bottom, "y")
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def tick_labels(x: npt.NDArray[np.float64]) -> list[str]:
    """Label places on a logarithmic axis, ascending: the last of all images, and those before it that have room."""
    labels, next_place = [f"{x[-1]:g}\n(all)"], np.log(x[-1])
    least = LEAST_GAP * np.log(x[-1] / x[0])
    for value in x[-2::-1]:
        has_room = next_place - np.log(value) >= least
        labels.append(f"{value:g}" if has_room else "")
        next_place = np.log(value) if has_room else next_place
    return labels[::-1]


def draw_shots(table: pd.DataFrame) -> Figure:
    """Draw accuracy on validation by the number of training images of a class, with the range of the draws.

    Args:
        table: train_per_class, accuracy, accuracy_low, accuracy_high, num_draws.
    """
    subtitle = f"Accuracy on validation; the band spans up to {int(table['num_draws'].max())} draws of the images"
    figure = new_figure(4.0, "Would more images help?", subtitle)
    axis = figure.add_subplot()
    x = table["train_per_class"].to_numpy(dtype=float)
    axis.fill_between(x, table["accuracy_low"], table["accuracy_high"], color=BLUE, alpha=0.16, linewidth=0)
    axis.plot(x, table["accuracy"], color=BLUE, marker="o")
    axis.set(xlabel="training images of a class", xscale="log", ylabel="accuracy on validation")
    axis.set_xticks(x, tick_labels(x))
    axis.xaxis.set_minor_locator(NullLocator())
    last = float(table["accuracy"].iloc[-1])
    axis.annotate(
        percent(round(last, 3)), (x[-1], last), xytext=(0, 7), textcoords="offset points", ha="right", color=BLUE
    )
    low = floor_to_tenth(table["accuracy_low"].min())
    axis.set_ylim(low, 1 + 0.06 * (1 - low) if low < 1 else 1.05)
    show_percent(axis, "y")
    return figure
