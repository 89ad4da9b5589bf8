"""Figures of confidence: how reliable it is, and what a threshold on it gives."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.graft.report.figure_style import (
    BLUE,
    DASHED,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    floor_to_tenth,
    new_figure,
    percent,
    show_percent,
)

NOTE_WIDTH = 0.64
"""Width of the note, at most, as a share of the axis."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The decision rule's threshold and its result on test."""

    confidence: float
    """Below it, the model is unsure; 0: it is never unsure."""
    target_accuracy: float
    """Wanted accuracy of the answers, in (0, 1)."""
    coverage: float
    """Share of the test images that are answered."""
    risk: float | None
    """Share of wrong answers on test; None without an answer."""


def draw_reliability(table: pd.DataFrame) -> Figure:
    """Draw the share of right answers by confidence, before and after calibration.

    Args:
        table: confidence, accuracy, accuracy_low, accuracy_high, num_images, calibration (before, after).
    """
    plain = table.drop(columns="calibration")
    before, after = (plain[table["calibration"] == name].reset_index(drop=True) for name in ("before", "after"))
    same = before.equals(after)
    figure = new_figure(4.0, "Reliability on test", "On the diagonal, a confidence of 90% is right nine times in ten")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    low = floor_to_tenth(table["confidence"].min())
    top.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle=DASHED)
    if not same:
        _points(top, before, ORANGE, "D", "before calibration")
    label = "before and after calibration (no change needed)" if same else "after calibration"
    _points(top, after, BLUE, "o", label)
    top.set(ylabel="share that is right", ylim=(min(low, floor_to_tenth(table["accuracy_low"].min())), 1.0))
    bottom.bar(after["confidence"], after["num_images"], width=(1 - low) / 40, color=BLUE, alpha=0.75)
    bottom.set(xlabel="confidence", xlim=(low, 1 + (1 - low) / 50))
    bottom.set(ylabel="images", yscale="log", ylim=(0.7, 2 * max(1.0, float(after["num_images"].max()))))
    bottom.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    show_percent(top, "x", "y")
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_risk_coverage(table: pd.DataFrame, choice: Choice | None) -> Figure:
    """Draw the share of wrong answers by the share of images answered, and mark the threshold chosen on validation.

    Args:
        table: coverage, risk.
        choice: the mark; None for no mark.
    """
    figure = new_figure(4.0, "Wrong answers against answers given", "On test, the surest images first")
    axis = figure.add_subplot()
    axis.step(table["coverage"], table["risk"], where="post", color=BLUE, clip_on=False)
    highest = max(0.01, float(table["risk"].max()))
    if choice is not None:
        target = 1 - choice.target_accuracy
        axis.axhline(target, color=MUTED, linewidth=1, linestyle=DASHED)
        axis.text(0.005, target, f"target: {percent(target)} wrong\n", fontsize=8.5, color=MUTED, va="center")
        highest = max(highest, target)
    if choice is not None and choice.risk is not None:
        axis.plot(choice.coverage, choice.risk, "o", color=VERMILLION, markersize=8, clip_on=False, zorder=4)
        _note(axis, choice, choice.risk)
    axis.set(xlim=(0, 1), ylim=(0, 1.4 * highest))  # room for the note
    axis.set_yticks([tick for tick in axis.get_yticks() if tick <= 1])
    axis.set(xlabel="share of the images that is answered", ylabel="share of the answers that is wrong")
    show_percent(axis, "x", "y")
    return figure


def _points(axis: Axes, table: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    axis.vlines(
        table["confidence"], table["accuracy_low"], table["accuracy_high"], color=colour, alpha=0.35, linewidth=2.2
    )
    axis.plot(
        table["confidence"], table["accuracy"], marker=marker, color=colour, label=label, linewidth=1, clip_on=False
    )


def _note(axis: Axes, choice: Choice, risk: float) -> None:
    """Explain the mark above the curve, where there is room from one side of the axis to the other."""
    where = f"confidence ≥ {choice.confidence:.3f}" if choice.confidence else "never unsure"
    text = f"chosen on validation ({where}):\nanswers {percent(choice.coverage)}, {percent(risk)} of them wrong"
    middle = min(max(choice.coverage, NOTE_WIDTH / 2), 1 - NOTE_WIDTH / 2)
    axis.annotate(
        text, (choice.coverage, risk), xytext=(middle, 0.98), textcoords="axes fraction",
        ha="center", va="top", fontsize=8.5, color=INK,
        arrowprops={"arrowstyle": "-", "color": VERMILLION, "linewidth": 1},
    )  # fmt: skip
