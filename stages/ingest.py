"""Stage 1 of 10, ingest: decode every image, labelled or not, keep the good ones under their SHA-256.

Reads   ingest.source: a class folder, here or in S3, an archive, here or at an http(s) address, a CSV list, a YAML
        spec; ingest.unlabelled: images without labels; ingest.labels: labels given later
Writes  data/images/ (without any when they stay in place), data/manifest.csv, data/unlabelled.csv, reports/ingest.json
Params  ingest
"""

from pathlib import Path

from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.given_labels import read_decisions
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.ingestion import ingest
from stages.graft.data.manifest import write_manifest
from stages.graft.data.open_source import open_source
from stages.graft.data.unwatched import describe_unwatched, list_unwatched, write_unwatched
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, write_json

IMAGES, REPORT = Path("data/images"), Path("reports/ingest.json")
MANIFEST, UNLABELLED = Path("data/manifest.csv"), Path("data/unlabelled.csv")


def main() -> None:
    params = load_params("ingest", IngestParams)
    decisions = read_decisions(Path(params.labels))
    with (
        open_source(params.source, store_folder(), params.sha256, params.rules) as source,
        open_source(params.unlabelled, store_folder(), rules=params.rules_of_unlabelled) as unlabelled,
        atomic_path(IMAGES) as folder,
    ):
        unwatched = list_unwatched(source, unlabelled)  # before the files are read: a later change is noticed
        ingestion = ingest(source, folder, params, unlabelled, decisions)
    write_manifest(ingestion.rows, MANIFEST)
    write_manifest(ingestion.unlabelled, UNLABELLED)
    write_json(ingestion.report(), REPORT)
    write_unwatched(unwatched, REPORT)
    lines = (str(ingestion), *ingestion.given.lines(), *ingestion.pixels.lines(), *describe_unwatched(unwatched))
    print("\n".join(f"ingest: {line}" for line in lines))


if __name__ == "__main__":
    run_stage("ingest", main)
