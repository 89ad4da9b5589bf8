"""Stage 1 of 10, ingest: decode every labelled image of the source, keep the good ones under their SHA-256.

Reads   ingest.source: a class folder, here or in S3, an archive, here or at an http(s) address, a CSV list, a YAML spec
Writes  data/images/ (without any when they stay in place), data/manifest.csv, reports/ingest.json
Params  ingest
"""

from pathlib import Path

from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.ingestion import ingest
from stages.graft.data.manifest import write_manifest
from stages.graft.data.open_source import open_source
from stages.graft.data.unwatched import describe_unwatched, list_unwatched, write_unwatched
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, write_json

IMAGES, MANIFEST, REPORT = Path("data/images"), Path("data/manifest.csv"), Path("reports/ingest.json")


def main() -> None:
    params = load_params("ingest", IngestParams)
    with (
        open_source(params.source, store_folder(), params.sha256, params.rules) as source,
        atomic_path(IMAGES) as folder,
    ):
        unwatched = list_unwatched(source)  # before the files are read: a later change is noticed
        ingestion = ingest(source, folder, params)
    write_manifest(ingestion.rows, MANIFEST)
    write_json(ingestion.report(), REPORT)
    write_unwatched(unwatched, REPORT)
    lines = (str(ingestion), *ingestion.pixels.lines(), *describe_unwatched(unwatched))
    print("\n".join(f"ingest: {line}" for line in lines))


if __name__ == "__main__":
    run_stage("ingest", main)
