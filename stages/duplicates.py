"""Stage 2 of 10, duplicates: find the images that show the same thing, so that no split parts them.

Reads   data/images/, data/manifest.csv, data/unlabelled.csv
Writes  data/duplicates.csv (the manifest with each image's group of near-duplicates), reports/duplicates.csv (their
        pairs), data/unlabelled_duplicates.csv (which images without labels show what a labelled one shows),
        reports/duplicates.json
Params  duplicates, ingest.on_conflict, ingest.white_level
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ConfigDict

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_groups import KINDS, LIKE, DuplicatesParams
from stages.graft.data.image_locations import LOCATION_COLUMNS, ImageLocations
from stages.graft.data.manifest import read_manifest
from stages.graft.data.splits import extend_table
from stages.graft.duplicates.finding import NOTHING, find_duplicates
from stages.graft.duplicates.groups import (
    among_labelled,
    check_conflicts,
    conflicts,
    duplicates_record,
    format_record,
    group_names,
    labelled_likenesses,
    pairs_table,
)
from stages.graft.images.white_level import WhiteLevel
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.files import write_json
from stages.graft.storage.tables import write_report_csv

IMAGES, MANIFEST, UNLABELLED = Path("data/images"), Path("data/manifest.csv"), Path("data/unlabelled.csv")
TABLE, PAIRS, REPORT = Path("data/duplicates.csv"), Path("reports/duplicates.csv"), Path("reports/duplicates.json")
UNLABELLED_TABLE = Path("data/unlabelled_duplicates.csv")
COLUMNS = (*LOCATION_COLUMNS, "file", "label")
"""Of the images, what this stage reads."""


class IngestedParams(Params):
    """The values of the section `ingest` that this stage reads."""

    model_config = ConfigDict(extra="ignore")

    on_conflict: Literal["error", "drop"]
    """Near-duplicates under two labels: stop with an error, or list them."""
    white_level: WhiteLevel
    """Value that becomes white where pixels have more than 8 bits; null: 65535."""


def main() -> None:
    """Find the near-duplicates, write their groups and pairs."""
    method = load_params("duplicates", DuplicatesParams).method
    ingested = load_params("ingest", IngestedParams)
    manifest, others = (read_manifest(path, COLUMNS, may_be_empty=True) for path in (MANIFEST, UNLABELLED))
    everything = pd.concat([manifest, others]).sort_values("id", ignore_index=True)
    locate, found = ImageLocations(everything, IMAGES), NOTHING
    if method != "off":
        found = find_duplicates(locate.ids, locate, feature_store_location(), store_folder(), ingested.white_level)
    all_pairs = found.pairs[found.pairs["kind"].isin(KINDS[method])]
    # Images without labels join no labelled ones: what is split does not change with them.
    pairs, likenesses = among_labelled(all_pairs, everything), labelled_likenesses(all_pairs, everything)
    table, groups = pairs_table(pairs, manifest), group_names(pairs, manifest["id"].to_list())
    if ingested.on_conflict == "error":
        check_conflicts(conflicts(table))
    record = duplicates_record(method, found, table, manifest.assign(duplicates=groups))
    record["num_unlabelled_like_labelled"] = int((likenesses != "").sum())
    extend_table(MANIFEST, TABLE, duplicates=groups)
    extend_table(UNLABELLED, UNLABELLED_TABLE, **{LIKE: likenesses})
    write_report_csv(table, PAIRS)
    write_json(record, REPORT)
    print(f"duplicates: {format_record(record)}")


if __name__ == "__main__":
    run_stage("duplicates", main)
