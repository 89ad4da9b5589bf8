"""The baselines' predictions as a file: written before any is scored, a row for each baseline and test image."""

from pathlib import Path

import pandas as pd

from stages.graft.core.errors import DataError

COLUMNS = ["id", "baseline", "predicted", "confidence"]
"""Of the baselines' predictions; the confidence is the predicted class's probability, not calibrated."""


def read_baselines(path: Path) -> pd.DataFrame:
    """Read the baselines' predictions.

    Returns:
        Columns id, baseline, predicted as text, confidence as a number; a row for each baseline and test image.
    Raises:
        DataError: the file is missing or is no such table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != COLUMNS:
            raise ValueError(f"expected columns {','.join(COLUMNS)}, found {','.join(table.columns)}")
        return table.astype({"confidence": "float64"})
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} cannot be read as baselines' predictions ({error}); run `dvc repro`") from None
