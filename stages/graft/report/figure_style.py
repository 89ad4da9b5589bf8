"""How figures look: palette, type, a light ground; saved as PNG files whose bytes depend on what is drawn alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from os.path import commonprefix
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine

from stages.graft.storage.files import atomic_path

INK, MUTED, GRID = "#1f2933", "#5f6b77", "#e3e7eb"
BLUE, ORANGE, GREEN, VERMILLION = "#005f9e", "#d18c00", "#007f5c", "#d55e00"
COLOURS = (BLUE, ORANGE, GREEN, "#d673ab", "#45a5e0", "#8a2f00")
"""After Okabe and Ito, Color Universal Design, 2008, in other lightnesses: for the colour-blind (deuteranopia,
protanopia) they lie as far apart as those, and they are seen on white and, inverted by a page in dark, on black."""

WIDTH, DPI = 5.2, 170
"""Of a figure, in inches; pixels an inch. On a page 540 pixels wide its letters are then as large as the text's."""

MAX_NAME = 24
"""Of a class's name in a figure, in characters."""

FONT = "DejaVu Sans"
"""Comes with matplotlib: the same letters everywhere."""

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "font.family": FONT,
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "axes.edgecolor": "#b4bcc4",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#b4bcc4",
    "ytick.color": "#b4bcc4",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "agg.path.chunksize": 10000,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style, whatever the user's own settings; they are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(height: float, title: str, subtitle: str = "") -> Figure:
    """Begin a figure of the common width under a title; axes added to it find their own room.

    Args:
        height: in inches.
        title: what is shown, above on the left.
        subtitle: how to read it, below the title.
    """
    room = 0.34 + (0.19 if subtitle else 0)  # in inches
    layout = ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 1 - room / height - 0.02))
    figure = Figure(figsize=(WIDTH, height), layout=layout)
    figure.text(0.02, 1 - 0.1 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.02, 1 - 0.33 / height, subtitle, fontsize=8.8, color=MUTED, va="top")
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without the date or the version of the library."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def shares(axis: Axes, *directions: str) -> None:
    """Write the numbers of an axis (`x`, `y`) as percentages."""
    for direction in directions:
        getattr(axis, f"{direction}axis").set_major_formatter(lambda value, _: percent(value))


def percent(share: float) -> str:
    """Write a share with one decimal, where it needs one: 0.5 is 50%, 0.125 is 12.5%."""
    return f"{round(100 * share, 1):g}%"


def class_labels(classes: Sequence[str], most: int = MAX_NAME) -> list[str]:
    """Make class names fit for a figure, each still its own.

    Long ones lose their middle, and what all begin with where they would look alike without that. One whose letters the
    figures' font lacks, or which still equals another, is shown by its number, counted from 1, as the page's table of
    classes numbers them.

    Args:
        classes: every class, in order.
        most: characters of a name.
    """
    names = ["".join(letter if letter.isprintable() else " " for letter in name) for name in classes]
    short = [_short(name, most) for name in names]
    start = len(commonprefix(names))  # noqa: RUF071 (of letters, as is meant)
    if start and len(set(short)) < len(short):
        short = [_short(f"…{name[start:]}", most) for name in names]
    times = Counter(short)
    lost = [times[name] > 1 or not _can_write(name) for name in short]
    return [f"no. {k + 1}" if lost[k] else name for k, name in enumerate(short)]


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-((most - 1) // 2) :]}"


def _can_write(name: str) -> bool:
    return bool(name.strip()) and all(ord(letter) in _letters() for letter in name)


@cache
def _letters() -> frozenset[int]:
    """The letters of the figures' font, by their code points."""
    return frozenset(get_font(findfont(FONT)).get_charmap())
