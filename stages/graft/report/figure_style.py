"""The style of the figures: colours, fonts, a light background; PNG files whose bytes depend only on the content."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from os.path import commonprefix
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from stages.graft.storage.files import atomic_path

INK, MUTED, GRID = "#1f2933", "#5f6b77", "#e3e7eb"
BLUE, ORANGE, GREEN, VERMILLION = "#005f9e", "#d18c00", "#007f5c", "#d55e00"
COLOURS = (BLUE, ORANGE, GREEN, "#d673ab", "#45a5e0", "#8a2f00")
"""After Okabe and Ito, Color Universal Design, 2008, with other lightness: they are as different for the colour-blind
(deuteranopia, protanopia), and visible on white and, inverted by a dark page, on black."""

DASHED = (0, (4, 3))
"""Style of reference lines."""

WIDTH, DPI = 5.2, 170
"""Width of a figure in inches; pixels an inch. Shown 540 pixels wide, its letters are as large as the page's text."""

MAX_NAME = 24
"""Length of a class's name in a figure, in characters."""

FONT = "DejaVu Sans"
"""It comes with matplotlib, so letters are the same everywhere."""

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
    """Draw in the project's style instead of the user's settings, which come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(height: float, title: str, subtitle: str) -> Figure:
    """Create a figure of the common width and a height in inches; the subtitle says how to read it."""
    layout = ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 1 - 0.53 / height - 0.02))  # leaves room for the titles
    figure = Figure(figsize=(WIDTH, height), layout=layout)
    figure.text(0.02, 1 - 0.1 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.02, 1 - 0.33 / height, subtitle, fontsize=8.8, color=MUTED, va="top")
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG of at most 256 colours, which is a third as large, without date and version."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with atomic_path(path) as temporary:
        image.save(temporary, "PNG", optimize=True)


def show_percent(axis: Axes, *directions: str) -> None:
    """Format the numbers of an axis (`x`, `y`) as percentages."""
    for direction in directions:
        getattr(axis, f"{direction}axis").set_major_formatter(lambda value, _: percent(value))


def percent(share: float) -> str:
    """Format a share with one decimal if needed: 0.5 is 50%, 0.125 is 12.5%."""
    return f"{round(100 * share, 1):g}%"


def floor_to_tenth(value: float) -> float:
    """Round down to one decimal, for the lower end of an axis."""
    return float(np.floor(10 * value) / 10)


def class_labels(classes: Sequence[str], max_length: int = MAX_NAME) -> list[str]:
    """Shorten class names for a figure; they stay different.

    A long name loses its middle. If two names then look alike, all names lose their common beginning. A name that still
    equals another, or has letters that the font lacks, becomes its number in the page's table of classes.
    """
    names = ["".join(letter if letter.isprintable() else " " for letter in name) for name in classes]
    short = [_shorten(name, max_length) for name in names]
    start = len(commonprefix(names))  # noqa: RUF071 (letters, not folders, are meant)
    if start and len(set(short)) < len(short):
        short = [_shorten(f"…{name[start:]}", max_length) for name in names]
    counts = Counter(short)
    is_usable = [counts[name] == 1 and _can_write(name) for name in short]
    return [name if is_usable[k] else f"no. {k + 1}" for k, name in enumerate(short)]


def _shorten(name: str, max_length: int) -> str:
    if len(name) <= max_length:
        return name
    return f"{name[: max_length // 2]}…{name[-((max_length - 1) // 2) :]}"


def _can_write(name: str) -> bool:
    return bool(name.strip()) and all(ord(letter) in _letters() for letter in name)


@cache
def _letters() -> frozenset[int]:
    """Code points of the font's letters."""
    return frozenset(get_font(findfont(FONT)).get_charmap())
