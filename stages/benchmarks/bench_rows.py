"""Beside the pipeline, bench_rows: time and memory of a million and of ten million rows, without any image behind them.

Reads   params.yaml; generates its manifests and stores in a temporary folder (about 2 GB)
Writes  reports/bench_rows.md
Run     python -m stages.benchmarks.bench_rows (some minutes)
"""

import io
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages import split
from stages.graft.core.image_ids import Ids, Packed, pack_ids, unpack_ids
from stages.graft.core.params import PARAMS
from stages.graft.core.stage import run
from stages.graft.data.candidates import Member, class_folder
from stages.graft.data.ingestion import ingest
from stages.graft.data.manifest import LOCATION_COLUMNS, image_locations, read_manifest, write_manifest
from stages.graft.storage.feature_store import FeatureStore, write_fragment
from stages.graft.storage.files import write_text
from stages.graft.storage.tables import ROWS_PER_SHARD, texts, write_shards

SIZES = (1_000_000, 10_000_000)

SIZES_INGESTED = (50_000, 500_000)
"""Fewer: every image is decoded."""

MANIFEST, IMAGES, STORE, REPORT = split.MANIFEST, Path("data/images"), Path("store"), Path("reports/bench_rows.md")

ROWS_PER_FRAGMENT = 5_000
"""About as many as extraction writes to one, of the bundled network's features."""

NUM_CLASSES, GROUP_SIZE = 100, 10
"""Every other row is in a group of so many."""

PART_MISSING = 100
"""One row in so many is not in the store."""

RECORD = {"made": "by bench_rows"}

TEXT = """# Rows, measured by `python -m stages.benchmarks.bench_rows`

{machine}.
Manifests of images in place, generated: {classes} classes, every other image in a group of {group}, no image behind
them. Each step is a process of its own; its peak of memory includes Python and the libraries. Only the ratio, and
memory, carry over to another machine.

{table}

ingest: images of one pixel that stay in S3, their bytes from memory, decoded, merged and written to a manifest. It
holds all their names and rows: {bytes_more:.0f} bytes for each image more. split: the whole stage, from the manifest to
data/splits.csv. lookup: what `extract` does before it reads an image: the manifest's ids and addresses, the store
opened ({fragment} rows a fragment, one image in {missing} missing), the ids that it lacks.
"""


def write_rows(num_rows: int) -> None:
    """Generate a manifest, and a store that has most of its rows."""
    write_shards((_part(first) for first in range(0, num_rows, ROWS_PER_SHARD)), MANIFEST)
    store = FeatureStore(STORE, RECORD)
    there = np.arange(num_rows) % PART_MISSING != 0
    packed = pack_ids(texts(read_manifest(MANIFEST, ("id",))["id"]))[there]
    for first in range(0, len(packed), ROWS_PER_FRAGMENT):
        ids = Ids(packed[first : first + ROWS_PER_FRAGMENT])
        write_fragment(store.shelf, ids, np.zeros((len(ids), 1), np.float32))


@dataclass(frozen=True, slots=True)
class _Generated:
    """Gives a file of one pixel; bytes after its end make each another."""

    number: int
    image: bytes

    def __call__(self) -> bytes:
        return self.image + self.number.to_bytes(8, "big")


def ingest_rows(num_rows: int) -> None:
    """Ingest images that stay where they are."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    image = buffer.getvalue()
    names = (f"class {number % NUM_CLASSES:03}/image {number:09}.png" for number in range(num_rows))
    members = (
        Member(file=name, read=_Generated(number, image), address=f"s3://bucket/images/{name}")
        for number, name in enumerate(names)
    )
    ingestion = ingest(class_folder("images", members, ()), IMAGES, "error", 0.0, copy=False)
    write_manifest(ingestion.rows, MANIFEST)


def _part(first: int) -> pd.DataFrame:
    """Rows from `first` on, with ids in ascending order."""
    numbers = np.arange(first, first + ROWS_PER_SHARD)
    labels = [f"class {number % NUM_CLASSES:03}" for number in numbers]
    plates = [number // NUM_CLASSES for number in numbers]
    groups = [f"plate {n // GROUP_SIZE // 2} {label}" * int(n % 2) for n, label in zip(plates, labels, strict=True)]
    files = [f"{label}/image {number:09}.jpg" for label, number in zip(labels, numbers, strict=True)]
    columns = {
        "id": unpack_ids(_ids(numbers)),
        "file": files,
        "label": labels,
        "group": groups,
        "split": "",
        "width": 200,
        "height": 200,
        "format": "JPEG",
        "mode": "L",
        "address": [f"s3://bucket/images/{file}" for file in files],
    }  # fmt: skip
    return pd.DataFrame(columns)


def _ids(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Packed:
    """Ids that ascend with the numbers; what follows the first eight bytes is random."""
    packed = np.random.default_rng(int(numbers[0])).integers(0, 256, (len(numbers), 32), dtype=np.uint8)
    packed[:, :8] = (numbers.astype(">u8") * np.uint64(2**63 // max(SIZES))).astype(">u8").view(np.uint8).reshape(-1, 8)
    return packed


def look_up() -> None:
    """Plan an extraction."""
    manifest = read_manifest(MANIFEST, LOCATION_COLUMNS)
    path_of = image_locations(manifest, IMAGES)
    del manifest
    missing = FeatureStore(STORE, RECORD).missing(path_of.ids)
    print(f"{len(path_of.ids)} ids, {len(missing)} missing, the first at {path_of(missing[0])}", file=sys.stderr)


STEPS: dict[str, Callable[[int], None]] = {
    "ingest": ingest_rows,
    "split": lambda _: split.main(),
    "lookup": lambda _: look_up(),
}

Figures = tuple[float, float]
"""Seconds, and the peak of memory in MB."""


def measure(step: str, num_rows: int) -> None:
    """Run a step and print what it took, as JSON on the last line."""
    start = time.perf_counter()
    STEPS[step](num_rows)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "peak_mb": peak / 1e6}))


def measured(num_rows: int, before: Sequence[str], steps: Sequence[str]) -> dict[str, Figures]:
    """Run steps in a folder of their own, each a process, and those that make what they read before."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="graft-rows-") as folder:
        (Path(folder) / PARAMS).write_bytes(PARAMS.read_bytes())
        for step in before:
            _child(folder, step, str(num_rows))
        for step in steps:
            figures = json.loads(_child(folder, step, str(num_rows)).splitlines()[-1])
            found[step] = figures["seconds"], figures["peak_mb"]
            print(f"bench_rows: {num_rows:,} rows, {step}: {found[step][0]:.1f} s, {found[step][1]:.0f} MB", flush=True)
    return found


def _child(folder: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "stages.benchmarks.bench_rows", *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def table(found: dict[int, dict[str, Figures]]) -> str:
    """Lay the figures out as Markdown, with the growth from one size to the next."""
    lines = ["| step | rows | seconds | peak of memory, MB |", "|---|---|---|---|"]
    for step in STEPS:
        of_step = {size: steps[step] for size, steps in found.items() if step in steps}
        lines += [f"| {step} | {size:,} | {one[0]:.1f} | {one[1]:.0f} |" for size, one in of_step.items()]
        for few, many in pairwise(of_step):
            growth = [after / before for before, after in zip(of_step[few], of_step[many], strict=True)]
            lines.append(f"| {step} | {many / few:g} times | {growth[0]:.1f} times | {growth[1]:.1f} times |")
    return "\n".join(lines)


def main() -> None:
    """Measure every size and write the report; with arguments, do one step in this very process."""
    match sys.argv[1:]:
        case ["write", num_rows]:
            write_rows(int(num_rows))
        case [step, num_rows]:
            measure(step, int(num_rows))
        case _:
            text = report()
            write_text(text, REPORT)
            print(text)


def report() -> str:
    """Measure everything and put it in words."""
    found = {size: measured(size, (), ("ingest",)) for size in SIZES_INGESTED}
    found |= {size: measured(size, ("write",), ("split", "lookup")) for size in SIZES}
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pandas", "pyarrow", "numpy"))
    few, many = (found[size]["ingest"][1] for size in SIZES_INGESTED)
    return TEXT.format(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {libraries}",
        table=table(found),
        bytes_more=1e6 * (many - few) / (SIZES_INGESTED[1] - SIZES_INGESTED[0]),
        classes=NUM_CLASSES,
        group=GROUP_SIZE,
        fragment=f"{ROWS_PER_FRAGMENT:,}",
        missing=PART_MISSING,
    )


if __name__ == "__main__":
    run("bench_rows", main)
