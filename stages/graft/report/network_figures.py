"""A figure of several networks: accuracy with its interval, and what each costs."""

import pandas as pd
from matplotlib.figure import Figure

from stages.graft.report.figure_style import BLUE, MUTED, floor_to_tenth, new_figure, show_percent


def draw_networks(table: pd.DataFrame) -> Figure:
    """Draw the accuracy of every network, the best on top; grey ones are worse than it beyond chance.

    Args:
        table: network, accuracy, accuracy_low, accuracy_high, seconds_per_1000, could_be_best; the best first.
    """
    subtitle = "Cross-validated on training and validation images, with 95% intervals; grey: proven worse"
    figure = new_figure(1.3 + 0.34 * len(table), "Which network suits these images?", subtitle)
    axis = figure.add_subplot()
    rows = range(len(table))[::-1]
    for row, (_, network) in zip(rows, table.iterrows(), strict=True):
        colour = BLUE if network["could_be_best"] else MUTED
        axis.plot([network["accuracy_low"], network["accuracy_high"]], [row, row], color=colour, alpha=0.5)
        axis.plot([network["accuracy"]], [row], color=colour, marker="o")
    names = [
        f"{name}\n{seconds:.1f} s" for name, seconds in zip(table["network"], table["seconds_per_1000"], strict=True)
    ]
    axis.set_yticks(list(rows), names)
    axis.set(
        xlabel="accuracy; below each name, seconds for 1,000 images",
        xlim=(floor_to_tenth(min(table["accuracy_low"])), 1.01),
    )
    axis.set_ylim(-0.6, len(table) - 0.4)
    show_percent(axis, "x")
    return figure
