"""Beside the pipeline, predict: classify image files with a model, a row for each.

Reads   a bundle: this repository's data/bundle, another folder, or a model of MLflow's registry; image files
Writes  a .csv, .jsonl or .parquet file, or CSV to the terminal
Run     graft predict FILES… | FOLDER | - --out answers.csv
"""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from stages.graft.compute.engine import open_engine
from stages.graft.compute.settings import LOCAL, ComputeParams, load_compute
from stages.graft.core.progress import Progress
from stages.graft.model.image_inputs import FolderCount, count_images, named_images, printable_name
from stages.graft.model.predictor import Answering, load_predictor
from stages.graft.model.row_files import Write, csv_rows, open_rows
from stages.graft.tracking.fetch_model import fetch_bundle

NAMES = "file, label, confidence, unsure, unknown, distance, p_<class> for each class, error"

SOME_FAILED = 3
"""Exit code when every image has its row, but some rows are errors."""


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    described = argparse.ArgumentParser(
        "graft predict",
        description="Classify images, a row for each.",
        epilog=f"Columns: {NAMES}. Exit code: 0; {SOME_FAILED} when some images cannot be read (their rows say why); "
        "1 when nothing could be done.",
    )
    described.add_argument(
        "images",
        nargs="+",
        help="files, folders (searched at any depth), s3://… of either, - for names on stdin (lines or find -print0)",
    )
    described.add_argument(
        "--out", type=Path, help="a .csv, .jsonl or .parquet file, replaced when all is done; without it, CSV on stdout"
    )
    described.add_argument("--model", default=".", help="a bundle, a repository (this one), or models:/NAME@ALIAS")
    described.add_argument(
        "--ray", action="store_true", help="on the Ray cluster that the section `compute` of params.yaml describes"
    )
    return described


def answering(folder: Path, ray: bool) -> AbstractContextManager[Answering]:
    """Give what classifies: this machine, for which params.yaml is not needed, or its cluster."""

    def here() -> Answering:
        return load_predictor(folder)

    def there(compute: ComputeParams) -> Answering:
        from stages.graft.compute.ray_prediction import ClusterPredictor

        return ClusterPredictor(folder, compute)

    return open_engine(load_compute().model_copy(update={"engine": "ray"}) if ray else LOCAL, here, there)


def say_passed_over(folders: Mapping[str, FolderCount]) -> None:
    """Say what of the folders is not looked at."""
    for folder, count in folders.items():
        if count.num_others or count.num_hidden:
            print(f"predict: {printable_name(folder)}: passed over {count.num_others} files that are no images by "
                  f"their names, {count.num_hidden} hidden ones", file=sys.stderr)  # fmt: skip


def rows_to(out: Path | None, columns: Sequence[str]) -> AbstractContextManager[Write]:
    """Open the file, or the terminal."""
    if out is None:
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may stop early
        return csv_rows(sys.stdout, columns)
    types = dict.fromkeys(columns, float) | {"file": str, "label": str, "error": str}
    return open_rows(out, types | {"unsure": bool, "unknown": bool})


def main(arguments: Sequence[str]) -> None:
    """Classify, write, count."""
    options = parser().parse_args(arguments)
    num_images, folders = count_images(options.images)
    say_passed_over(folders)
    counts = dict.fromkeys(("images", "errors", "unsure", "unknown"), 0)
    with fetch_bundle(options.model, Path()) as folder, answering(folder, options.ray) as engine:
        rows, columns = engine.predict(named_images(options.images, sys.stdin.buffer)), engine.columns
        with rows_to(options.out, columns) as write, Progress(num_images, desc="predict", unit="images") as progress:
            for row in rows:
                write(row)
                counts["images"] += 1
                counts["errors"] += row["error"] is not None
                counts["unsure"] += bool(row["unsure"])
                counts["unknown"] += bool(row["unknown"])
                progress.advance()
    said = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"predict: {said}" + (f"; {options.out}" if options.out else ""), file=sys.stderr)
    if counts["errors"]:
        sys.exit(SOME_FAILED)
