"""Measured numbers as a table that the next run compares itself with: reports/bench.csv, shown by reports/bench.md.

A ratio compares a number with the one that was committed before, which may come from another day or machine.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from stages.benchmarks.report_parts import Row, markdown_table
from stages.graft.core.git import committed_file
from stages.graft.storage.tables import write_csv

TABLE = Path("reports/bench.csv")

COSINE = "cosine"
"""Unit of a similarity."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured number."""

    part: str
    """Part of the page."""
    what: str
    """What was measured; with `part`, different for every number."""
    value: float
    """The number."""
    unit: str
    """Its unit, such as s, MB or images/s; empty for a ratio; COSINE."""

    @property
    def key(self) -> tuple[str, str]:
        """By which it is found among those of another run."""
        return self.part, self.what


def read_before() -> list[Measurement]:
    """Read the committed measurements; none when there are none."""
    text = committed_file(Path(), str(TABLE))
    return [] if text is None else _rows(pd.read_csv(io.BytesIO(text), keep_default_na=False))


def merge(new: Sequence[Measurement]) -> list[Measurement]:
    """Write measurements in place of those of the same parts, and give all."""
    known = _rows(pd.read_csv(TABLE, keep_default_na=False)) if TABLE.exists() else []
    parts = {one.part for one in new}
    kept = [one for one in known if one.part not in parts]
    rows = [asdict(one) | {"value": float(f"{one.value:.6g}")} for one in (*kept, *new)]
    write_csv(pd.DataFrame(rows, columns=[field.name for field in fields(Measurement)]), TABLE)
    return _rows(pd.DataFrame(rows))


def compared_table(rows: Iterable[Measurement], before: Iterable[Measurement]) -> str:
    """Format measurements beside those of before, ratios first."""
    earlier = {one.key: one for one in before}
    return markdown_table([_compared(one, earlier.get(one.key)) for one in rows])


def _compared(now: Measurement, before: Measurement | None) -> Row:
    is_known = before is not None and before.unit == now.unit and before.value
    return {
        "what": now.what,
        "now / before": f"**{now.value / before.value:.2f}**" if before is not None and is_known else "",
        "now": _shown(now),
        "before": "" if before is None else _shown(before),
    }


def _shown(one: Measurement) -> str:
    if one.unit == COSINE:
        return f"{one.value:.5f}"  # all are near 1
    digits = 0 if abs(one.value) >= 100 else 1 if abs(one.value) >= 10 else 2
    return f"{one.value:,.{digits}f} {one.unit}".strip()


def _rows(table: pd.DataFrame) -> list[Measurement]:
    return [Measurement(**{str(name): value for name, value in row.items()}) for row in table.to_dict("records")]
