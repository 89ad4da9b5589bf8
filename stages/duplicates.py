"""Stage 2 of 10, duplicates: find the images that show the same thing, so that no split parts them.

Reads   data/images/, data/manifest.csv
Writes  data/duplicates.csv (the manifest with each image's group of near-duplicates), reports/duplicates.csv (their
        pairs), reports/duplicates.json
Params  duplicates, ingest.on_conflict, ingest.white_level
"""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_groups import KINDS, DuplicatesParams
from stages.graft.data.image_locations import image_locations
from stages.graft.data.manifest import read_manifest
from stages.graft.data.splits import extend_table
from stages.graft.duplicates.finding import NOTHING, find_duplicates
from stages.graft.duplicates.groups import (
    check_conflicts,
    conflicts,
    duplicates_record,
    format_record,
    group_names,
    pairs_table,
)
from stages.graft.images.white_level import WhiteLevel
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.files import write_json
from stages.graft.storage.tables import write_report_csv

IMAGES, MANIFEST = Path("data/images"), Path("data/manifest.csv")
TABLE, PAIRS, REPORT = Path("data/duplicates.csv"), Path("reports/duplicates.csv"), Path("reports/duplicates.json")


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
    locate, manifest = image_locations(MANIFEST, IMAGES), read_manifest(MANIFEST, ("id", "file", "label"))
    found = NOTHING
    if method != "off":
        found = find_duplicates(locate.ids, locate, feature_store_location(), store_folder(), ingested.white_level)
    pairs = found.pairs[found.pairs["kind"].isin(KINDS[method])]
    table, groups = pairs_table(pairs, manifest), group_names(pairs, locate.ids)
    if ingested.on_conflict == "error":
        check_conflicts(conflicts(table))
    record = duplicates_record(method, found, table, manifest.assign(duplicates=groups))
    extend_table(MANIFEST, TABLE, duplicates=groups)
    write_report_csv(table, PAIRS)
    write_json(record, REPORT)
    print(f"duplicates: {format_record(record)}")


if __name__ == "__main__":
    run_stage("duplicates", main)
