"""Beside the pipeline, bench_hostile: the most memory and the processor time that hostile files cost.

Writes  reports/hostile_files.csv: file, kilobytes, num_files, num_threads, verdict, peak_mb (beyond an empty process),
        seconds (of the processor)
Run     python -m stages.benchmarks.bench_hostile (ten minutes, 2 GB of memory)
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stages.benchmarks.hostile_files import OVER_PX, SIDE_PX, gif, jpeg_of_many_scans, png, saved
from stages.graft.core.errors import DataError
from stages.graft.core.memory import one_image
from stages.graft.core.stage import run
from stages.graft.core.threads import in_threads
from stages.graft.images.crop import decode_square
from stages.graft.images.inspection import inspect
from stages.graft.images.pixel_limit import DEFAULT_MEGAPIXELS, in_pixels
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.regular_files import read_regular
from stages.graft.storage.tables import write_csv

REPORT = Path("reports/hostile_files.csv")

MAX_BYTES = 16 * 2**30
"""Of a child process's addresses: a bomb ends the child, not the machine."""

NUM_COPIES = ((1, 1), (10, 8))
"""Numbers of equal files and of threads."""

FILES: Mapping[str, Callable[[], bytes]] = {
    "GIF of 179 Mpx": lambda: gif(OVER_PX),
    "PNG, RGBA, 179 Mpx": lambda: png(OVER_PX, 8, 6, 4),
    "GIF": lambda: gif(SIDE_PX),
    "PNG, RGBA": lambda: png(SIDE_PX, 8, 6, 4),
    "PNG, RGB, interlaced": lambda: png(SIDE_PX, 8, 2, 3, interlaced=True),
    "PNG, grey of 16 bits": lambda: png(SIDE_PX, 16, 0, 1),
    "PNG, RGBA of 16 bits": lambda: png(SIDE_PX, 16, 6, 4),
    "TIFF, RGBA": lambda: saved("RGBA", SIDE_PX, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, grey of 32 bits": lambda: saved("I", SIDE_PX, "TIFF", compression="tiff_adobe_deflate"),
    "WebP, RGBA": lambda: saved("RGBA", SIDE_PX, "WEBP", lossless=True, quality=0, method=0),
    "JPEG 2000, RGB": lambda: saved("RGB", SIDE_PX, "JPEG2000"),
    "JPEG": lambda: saved("RGB", SIDE_PX, "JPEG"),
    "JPEG, progressive": lambda: saved("RGB", SIDE_PX, "JPEG", progressive=True),
    "JPEG of 882 scans": lambda: jpeg_of_many_scans(4096),
}
"""Of 49 megapixels where nothing else is said."""

SQUARE = Preprocessing(resize_px=256, crop_px=224, interpolation="bilinear", mean=(0.5,) * 3, std=(0.2,) * 3)


CHILD = "import sys; from stages.benchmarks.bench_hostile import child; child(sys.argv[1], *map(int, sys.argv[2:]))"


def main() -> None:
    """Make each file, decode it in child processes, and write the table."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "file"
        path.touch()
        empty = measured(path, 0, 1)["peak_mb"]
        rows = list[dict[str, Any]]()
        for name, make in FILES.items():
            path.write_bytes(make())
            for num_files, num_threads in NUM_COPIES:
                found = measured(path, num_files, num_threads)
                size = {"file": name, "kilobytes": round(path.stat().st_size / 1e3, 1)}
                counts = {"num_files": num_files, "num_threads": num_threads}
                rows.append(size | counts | found | {"peak_mb": round(found["peak_mb"] - empty)})
                print(rows[-1])
    write_csv(pd.DataFrame(rows), REPORT)


def measured(path: Path, num_files: int, num_threads: int) -> dict[str, Any]:
    """Decode so many copies of a file in a child process; give its verdict, peak_mb and seconds."""
    command = [sys.executable, "-c", CHILD, str(path), str(num_files), str(num_threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"verdict": f"ended: {done.stderr.strip()[-100:]}", "peak_mb": float("nan"), "seconds": float("nan")}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(path: str, num_files: int, num_threads: int) -> None:
    """Decode copies of a file as ingest and then predict do, and print what it takes."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    start = time.process_time()
    verdicts = set(in_threads(verdict, [path] * num_files, num_threads))
    seconds = round(time.process_time() - start, 2)
    # Not getrusage: a process inherits its maximum from the process that starts it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    print(json.dumps({"verdict": "; ".join(verdicts), "peak_mb": peak_mb, "seconds": seconds}))


def verdict(path: str) -> str:
    """Decode a file for ingest and for the network."""
    max_pixels = in_pixels(DEFAULT_MEGAPIXELS)
    with one_image():
        try:
            data = read_regular(path)
            inspect(data, None, max_pixels)
            decode_square(data, SQUARE, max_pixels)
        except DataError as error:
            return str(error)
    return "decoded"


if __name__ == "__main__":
    run("bench_hostile", main)
