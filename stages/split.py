"""Stage 2 of 8, split: put every image in train, validation or test.

Reads   data/manifest.csv
Writes  data/splits.csv, reports/split.json
Params  split
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.manifest import read_manifest
from stages.graft.data.split_assignment import assign_splits
from stages.graft.data.split_checks import describe_given, splits_given
from stages.graft.data.splits import count_splits, extend_table
from stages.graft.storage.files import write_json

COLUMNS = ("id", "label", "group", "split")
"""Of the manifest, what decides."""

MANIFEST, SPLITS, REPORT = Path("data/manifest.csv"), Path("data/splits.csv"), Path("reports/split.json")


class SplitParams(Params):
    """The section `split`."""

    seed: int
    """Another seed, another split."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of each class in validation; 0 leaves it to the splits that the source gives."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of each class in test; 0 as above."""
    train_per_class: PositiveInt | None
    """Train with at most this many images of each class; null takes all. Validation and test stay the same."""

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction must leave something for train: together below 1")
        return self


def main() -> None:
    """Assign the splits, write the table and its counts."""
    params = load_params("split", SplitParams)
    manifest = read_manifest(MANIFEST, COLUMNS)
    splits = assign_splits(manifest, **params.model_dump())
    given = splits_given(manifest)
    report = count_splits(manifest["label"], splits) | {"given": given}
    extend_table(MANIFEST, SPLITS, split=splits)
    write_json(report, REPORT)
    counts = ", ".join(f"{report[f'num_{name}']} {name}" for name in ("train", "val", "test", "unused"))
    print(f"split: {counts}{describe_given(given)}")


if __name__ == "__main__":
    run_stage("split", main)
