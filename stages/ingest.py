"""Stage 1 of 8, ingest: decode every labelled image of the source, keep the good ones under their SHA-256.

Reads   ingest.source: a class folder, here or in S3, an archive, here or at an http(s) address, a CSV list, a YAML spec
Writes  data/images/ (without any when they stay in place), data/manifest.csv, reports/ingest.json
Params  ingest
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.ingestion import OnConflict, ingest
from stages.graft.data.manifest import write_manifest
from stages.graft.data.open_source import open_source
from stages.graft.images.white_level import WhiteLevel
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, write_json

IMAGES, MANIFEST, REPORT = Path("data/images"), Path("data/manifest.csv"), Path("reports/ingest.json")


class IngestParams(Params):
    source: Annotated[str, Field(min_length=1)]
    """Path or http(s) address of the labelled images; a relative path counts from the repository's root."""
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None
    """SHA-256 of the source's file, hex; a must for an address, null for a folder."""
    copy_: Annotated[bool, Field(alias="copy")]
    """Copy the images, or leave them in place and read them there."""
    on_conflict: OnConflict
    """Identical images under two labels: stop with an error, or drop all of them."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]
    """Share of images that may be damaged before the stage fails."""
    white_level: WhiteLevel
    """Value that becomes white in images with more than 8 bits a colour; null: 65535."""


def main() -> None:
    params = load_params("ingest", IngestParams)
    with (
        open_source(params.source, store_folder(), params.sha256) as source,
        atomic_path(IMAGES) as folder,
    ):
        settings = params.on_conflict, params.max_bad_fraction, params.copy_, params.white_level
        ingestion = ingest(source, folder, *settings)
    write_manifest(ingestion.rows, MANIFEST)
    write_json(ingestion.report(), REPORT)
    print("\n".join(f"ingest: {line}" for line in (str(ingestion), *ingestion.pixels.lines())))


if __name__ == "__main__":
    run_stage("ingest", main)
