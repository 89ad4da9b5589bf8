"""Stage 3 of 10, split: put every image in train, validation or test.

Reads   data/duplicates.csv
Writes  data/splits.csv, reports/split.json
Params  split, duplicates.method
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_groups import DUPLICATES, DuplicatesParams, format_leaks, join_duplicates, leaks_record
from stages.graft.data.manifest import read_manifest
from stages.graft.data.split_assignment import assign_splits
from stages.graft.data.split_checks import describe_given, splits_given
from stages.graft.data.splits import SPLIT_NAMES, UNUSED, count_splits, extend_table
from stages.graft.storage.files import write_json

COLUMNS = ("id", "label", "group", "split", DUPLICATES)
"""Of the images, what decides."""

IMAGES, SPLITS, REPORT = Path("data/duplicates.csv"), Path("data/splits.csv"), Path("reports/split.json")


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
    keep_duplicates_together: bool
    """Near-duplicates stay on one side of the split, like the images of one group."""

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction must leave something for train: together below 1")
        return self


def main() -> None:
    """Assign the splits, write the table and its counts."""
    params = load_params("split", SplitParams)
    images = read_manifest(IMAGES, COLUMNS)
    groups = join_duplicates(images) if params.keep_duplicates_together else images["group"]
    fractions = params.val_fraction, params.test_fraction
    splits = assign_splits(images.assign(group=groups), params.seed, *fractions, params.train_per_class)
    is_checked, given = load_params("duplicates", DuplicatesParams).method != "off", splits_given(images)
    report = count_splits(images["label"], splits) | {"given": given}
    report |= leaks_record(images.assign(split=splits), is_checked)
    extend_table(IMAGES, SPLITS, group=groups, split=splits)
    write_json(report, REPORT)
    sizes = {name: report[f"num_{name}"] for name in SPLIT_NAMES}
    counts = ", ".join(f"{size} {name}" for name, size in sizes.items() if size or name != UNUSED)
    print(f"split: {counts}{describe_given(given)}{format_leaks(report)}")


if __name__ == "__main__":
    run_stage("split", main)
