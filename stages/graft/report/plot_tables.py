"""The tables of the figures, as earlier stages wrote them; class names stay text, also 007 and NA."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.storage.spreadsheets import from_spreadsheet

CURVE = "_curve"
"""End of a learning curve's name, after the stage's name."""

_TEXTS = frozenset(("actual", "predicted", "class", "label", "split", "calibration", "id", "file", "suggested", "name"))


@dataclass(frozen=True, kw_only=True)
class PlotTables:
    """The tables of reports/plots."""

    confusion: pd.DataFrame
    """actual, predicted: a row for each test image."""
    per_class: pd.DataFrame
    """class, precision, recall and their intervals, f1, num_test."""
    reliability: pd.DataFrame
    """confidence, accuracy and its interval, num_images, calibration (before, after)."""
    risk_coverage: pd.DataFrame
    """coverage, risk, confidence."""
    shots: pd.DataFrame
    """train_per_class, accuracy, accuracy_low, accuracy_high, num_draws, …"""
    map: pd.DataFrame
    """label, predicted, tsne_x, tsne_y, pca_x, pca_y, …"""
    curves: dict[str, pd.DataFrame]
    """By stage: epoch, split, loss, accuracy; never empty."""


def read_plot_tables(folder: Path) -> PlotTables:
    """Read the tables that the earlier stages wrote for figures.

    Raises:
        DataError: a table is missing or cannot be read.
    """
    curves = {path.stem.removesuffix(CURVE): read_table(path) for path in sorted(folder.glob(f"*{CURVE}.csv"))}
    names = ("confusion", "per_class", "reliability", "risk_coverage", "shots", "map")
    return PlotTables(
        curves={stage: curve for stage, curve in curves.items() if "epoch" in curve and len(curve)},
        **{name: read_table(folder / f"{name}.csv") for name in names},
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a table: names as text, other columns as numbers (an empty cell is NaN) or as booleans.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, lineterminator="\n")
        for name in table.columns:
            is_text = name in _TEXTS
            table[name] = table[name].map(from_spreadsheet) if is_text else _values(table[name])
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())}); run `dvc repro`") from None
    return table


def _values(texts: "pd.Series[str]") -> "pd.Series[float] | pd.Series[bool]":
    if len(texts) and texts.isin(("True", "False")).all():
        return texts == "True"
    return pd.to_numeric(texts.where(texts != ""))
