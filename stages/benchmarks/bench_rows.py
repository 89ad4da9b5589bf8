"""Beside the pipeline, bench_rows: time and memory of a million and of ten million rows, without any image behind them.

Reads   params.yaml; generates its manifests and stores in a temporary folder (about 2 GB)
Writes  reports/bench_rows.md
Run     python -m stages.benchmarks.bench_rows (some minutes)
"""

import io
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.benchmarks.report_parts import library_versions, markdown_table, write_report
from stages.benchmarks.sandbox import Measured, Sandbox
from stages.graft.core.image_ids import Ids, Packed, pack_ids, unpack_ids
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.candidates import Candidate, make_source
from stages.graft.data.image_locations import image_locations
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.ingestion import ingest
from stages.graft.data.manifest import read_manifest, write_manifest
from stages.graft.storage.feature_store import FeatureStore, write_fragment
from stages.graft.storage.tables import ROWS_PER_SHARD, texts, write_shards

SIZES = (1_000_000, 10_000_000)

SIZES_INGESTED = (50_000, 500_000)
"""Fewer rows: ingest decodes every image."""

MODULE, REPORT = "stages.benchmarks.bench_rows", Path("reports/bench_rows.md")
MANIFEST, IMAGES, STORE = Path("data/manifest.csv"), Path("data/images"), Path("store")
DUPLICATES = Path("data/duplicates.csv")

ROWS_PER_FRAGMENT = 5_000
"""About as many rows as extraction writes to a fragment, of the bundled network's features."""

NUM_CLASSES, GROUP_SIZE = 100, 10
"""Every other row is in a group of GROUP_SIZE."""

MISSING_EVERY = 100
"""One row in so many is not in the store."""

RECORD = {"made": "by bench_rows"}


@dataclass(frozen=True, slots=True)
class _GeneratedFile:
    """Reads an image file; bytes behind the end of the image make each number a different file."""

    image: bytes
    number: int

    def __call__(self) -> bytes:
        return self.image + self.number.to_bytes(8, "big")


def ingest_rows(num_rows: int) -> None:
    """Ingest images of one pixel that stay in S3."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    image = buffer.getvalue()
    names = (f"class {number % NUM_CLASSES:03}/image {number:09}.png" for number in range(num_rows))
    candidates = (
        Candidate(
            file=name,
            label=name.partition("/")[0],
            read=_GeneratedFile(image, number),
            address=f"s3://bucket/images/{name}",
        )
        for number, name in enumerate(names)
    )
    params = load_params("ingest", IngestParams).model_copy(update={"copy_": False, "max_bad_fraction": 0.0})
    ingestion = ingest(make_source("images", candidates), IMAGES, params)
    write_manifest(ingestion.rows, MANIFEST)


def write_rows(num_rows: int) -> None:
    """Generate a manifest without near-duplicates, and a store that has most of its rows."""
    for path in (MANIFEST, DUPLICATES):
        write_shards((_shard(first) for first in range(0, num_rows, ROWS_PER_SHARD)), path)
    store = FeatureStore(STORE, RECORD)
    is_stored = np.arange(num_rows) % MISSING_EVERY != 0
    packed = pack_ids(texts(read_manifest(MANIFEST, ("id",))["id"]))[is_stored]
    for first in range(0, len(packed), ROWS_PER_FRAGMENT):
        ids = Ids(packed[first : first + ROWS_PER_FRAGMENT])
        write_fragment(store.backend, ids, np.zeros((len(ids), 1), np.float32))


def look_up_rows() -> None:
    """Find the images that extraction would compute."""
    locations = image_locations(MANIFEST, IMAGES)
    missing = FeatureStore(STORE, RECORD).missing(locations.ids)
    print(f"{len(locations.ids)} ids, {len(missing)} missing, first {locations(missing[0])}", file=sys.stderr)


def _shard(first: int) -> pd.DataFrame:
    """Generate the rows from `first` on, with ids in ascending order."""
    numbers = np.arange(first, first + ROWS_PER_SHARD)
    labels = [f"class {number % NUM_CLASSES:03}" for number in numbers]
    plates = zip(numbers // NUM_CLASSES, labels, strict=True)
    groups = [f"plate {plate // GROUP_SIZE // 2} {label}" * int(plate % 2) for plate, label in plates]
    files = [f"{label}/image {number:09}.jpg" for label, number in zip(labels, numbers, strict=True)]
    addresses = [f"s3://bucket/images/{file}" for file in files]
    table = pd.DataFrame({"id": unpack_ids(_packed_ids(numbers)), "file": files, "label": labels, "group": groups})
    return table.assign(split="", width=200, height=200, format="JPEG", mode="L", address=addresses, duplicates="")


def _packed_ids(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Packed:
    """Generate ids whose first eight bytes ascend with the numbers; the other bytes are random."""
    packed = np.random.default_rng(int(numbers[0])).integers(0, 256, (len(numbers), 32), dtype=np.uint8)
    packed[:, :8] = (numbers.astype(">u8") * np.uint64(2**63 // max(SIZES))).astype(">u8").view(np.uint8).reshape(-1, 8)
    return packed


def measure_steps() -> Iterator[tuple[str, int, Measured]]:
    """Measure every step with every number of rows; give step, number of rows and measurement."""
    for num_rows in SIZES_INGESTED:
        with tempfile.TemporaryDirectory(prefix="graft-rows-") as folder:
            yield "ingest", num_rows, Sandbox.project(Path(folder)).measure(MODULE, "ingest_rows", num_rows)
    for num_rows in SIZES:
        with tempfile.TemporaryDirectory(prefix="graft-rows-") as folder:
            sandbox = Sandbox.project(Path(folder))
            sandbox.measure(MODULE, "write_rows", num_rows)
            yield "split", num_rows, sandbox.measure("stages.split", "main")
            yield "lookup", num_rows, sandbox.measure(MODULE, "look_up_rows")


def table(steps: Mapping[str, Mapping[int, Measured]]) -> str:
    """Format the measurements, and their growth from one number of rows to the next."""
    rows: list[tuple[str, ...]] = []
    for step, by_size in steps.items():
        rows += [(step, f"{size:,}", f"{m.seconds:.1f}", f"{m.peak_mb:.0f}") for size, m in by_size.items()]
        for (few, before), (many, after) in pairwise(by_size.items()):
            growth = many / few, after.seconds / before.seconds, after.peak_mb / before.peak_mb
            rows.append((step, f"{growth[0]:g} times", *(f"{ratio:.1f} times" for ratio in growth[1:])))
    columns = ("step", "rows", "seconds", "peak of memory, MB")
    return markdown_table([dict(zip(columns, row, strict=True)) for row in rows])


def report(steps: Mapping[str, Mapping[int, Measured]]) -> str:
    """Format the table and how it was measured."""
    few, many = SIZES_INGESTED
    bytes_more = 1e6 * (steps["ingest"][many].peak_mb - steps["ingest"][few].peak_mb) / (many - few)
    libraries = library_versions("pandas", "pyarrow", "numpy")
    return f"""# Rows, measured by `python -m stages.benchmarks.bench_rows`

{platform.machine()}, Python {platform.python_version()}, {libraries}.
Manifests of images in place, generated: {NUM_CLASSES} classes, every other image in a group of {GROUP_SIZE}, no image
behind them. Each step is a process of its own; its peak of memory includes Python and the libraries. Only the ratio,
and memory, carry over to another machine.

{table(steps)}

ingest: images of one pixel that stay in S3, their bytes from memory, decoded, merged and written to a manifest. It
holds all their names and rows: {bytes_more:.0f} bytes for each image more. split: the whole stage, without
near-duplicates. lookup: what `extract` does before it reads an image: the manifest's ids and addresses, the store
opened ({ROWS_PER_FRAGMENT:,} rows a fragment, one image in {MISSING_EVERY} missing), the ids that it lacks.
"""


def main() -> None:
    """Measure everything and write the report."""
    steps: dict[str, dict[int, Measured]] = {"ingest": {}, "split": {}, "lookup": {}}
    for step, num_rows, measured in measure_steps():
        steps[step][num_rows] = measured
        print(f"bench_rows: {num_rows:,} rows, {step}: {measured.seconds:.1f} s, {measured.peak_mb:.0f} MB", flush=True)
    write_report(report(steps), REPORT)


if __name__ == "__main__":
    run("bench_rows", main)
