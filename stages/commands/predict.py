"""graft predict: classify image files with a model, one row for each.

Reads   a bundle: this repository's data/bundle, another folder, or a model of MLflow's registry; image files
Writes  a .csv, .jsonl or .parquet file, or CSV to the terminal; with --maps, a folder of pictures
"""

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from stages.graft.compute.engine import open_engine
from stages.graft.compute.settings import LOCAL, ComputeParams, load_compute
from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.progress import Progress
from stages.graft.model.heat_map_writer import MAP, HeatMapWriter
from stages.graft.model.image_inputs import FolderCount, count_images, named_images, printable_name
from stages.graft.model.predictor import Answering, Predictor, load_predictor
from stages.graft.model.row_files import Write, csv_rows, open_rows
from stages.graft.tracking.fetch_model import fetch_bundle


def predict_images(images: Sequence[str], out: Path | None, model: str, maps: Path | None, ray: bool) -> None:
    """Classify the images, write their rows and print how many there are; write heat maps to the folder `maps`.

    Raises:
        ParamsError: maps are asked for on a cluster, or the network has none.
        DataError: some images cannot be read; all rows are written.
    """
    if maps and ray:
        raise ParamsError("--maps draws on this machine alone; leave out --ray")
    num_images, folders = count_images(images)
    print_skipped(folders)
    counts = dict.fromkeys(("images", "errors", "unsure", "unknown"), 0)
    with fetch_bundle(model, Path()) as folder, open_predictor(folder, ray) as predictor:
        files = named_images(images, sys.stdin.buffer)
        drawing = HeatMapWriter(predictor, maps) if maps and isinstance(predictor, Predictor) else None
        rows, columns = (drawing or predictor).predict(files), (drawing or predictor).columns
        with open_output(out, columns) as write, Progress(num_images, desc="predict", unit="images") as progress:
            for row in rows:
                write(row)
                counts["images"] += 1
                counts["errors"] += row["error"] is not None
                counts["unsure"] += bool(row["unsure"])
                counts["unknown"] += bool(row["unknown"])
                progress.advance()
    summary = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"predict: {summary}" + (f"; {out}" if out else ""), file=sys.stderr)
    if counts["errors"]:
        raise DataError(f"{counts['errors']} images cannot be read; the column `error` of their rows says why")


def open_predictor(folder: Path, ray: bool) -> AbstractContextManager[Answering]:
    """Open a predictor on this machine, which needs no params.yaml, or on the cluster."""

    def on_cluster(compute: ComputeParams) -> Answering:
        from stages.graft.compute.ray_prediction import ClusterPredictor

        return ClusterPredictor(folder, compute)

    compute = load_compute().model_copy(update={"engine": "ray"}) if ray else LOCAL
    return open_engine(compute, lambda: load_predictor(folder), on_cluster)


def print_skipped(folders: Mapping[str, FolderCount]) -> None:
    """Print how many files of the folders are skipped."""
    for folder, count in folders.items():
        if count.num_others or count.num_hidden:
            print(f"predict: {printable_name(folder)}: passed over {count.num_others} files that are no images, "
                  f"{count.num_hidden} hidden ones", file=sys.stderr)  # fmt: skip


def open_output(out: Path | None, columns: Sequence[str]) -> AbstractContextManager[Write]:
    """Open the file for rows, or stdout."""
    if out is None:
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may stop early
        return csv_rows(sys.stdout, columns, shown=sys.stdout.isatty())
    types = dict.fromkeys(columns, float) | {"file": str, "label": str, "error": str}
    types |= {MAP: str} if MAP in columns else {}
    return open_rows(out, types | {"unsure": bool, "unknown": bool})
