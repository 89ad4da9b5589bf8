"""Beside the pipeline, predict: classify image files with a model, a row for each.

Reads   a bundle: this repository's data/bundle, another folder, or a model of MLflow's registry; image files
Writes  a .csv, .jsonl or .parquet file, or CSV to the terminal
Run     graft predict FILES… | FOLDER | - --out answers.csv
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from stages.graft.bundle import load_bundle
from stages.graft.errors import DataError
from stages.graft.folders import read_class_folder, read_file
from stages.graft.model_places import found_bundle
from stages.graft.prediction import ImageFile, Predictor
from stages.graft.progress import Progress
from stages.graft.row_files import Write, csv_rows, open_rows

NAMES, STDIN = "file, label, confidence, unsure, unknown, distance, p_<class> for each class, error", "-"

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
    described.add_argument("images", nargs="+", help="files, folders (searched for images), or - for names on stdin")
    described.add_argument("--out", type=Path, help="a .csv, .jsonl or .parquet file; CSV to the terminal without it")
    described.add_argument("--model", default=".", help="a bundle, a repository (this one), or models:/NAME@ALIAS")
    return described


def image_files(places: Sequence[str]) -> list[ImageFile]:
    """List the files that are meant, and say what is passed over.

    Raises:
        DataError: a file or folder that was named does not exist, or there is none.
    """
    found: list[ImageFile] = []
    for place in places:
        if place == STDIN:
            names = [line.rstrip("\r\n") for line in sys.stdin]
            found += [_file(name) for name in names if name]
        elif Path(place).is_dir():
            found += _files_in(Path(place))
        elif Path(place).exists():
            found.append(_file(place))
        else:
            raise DataError(f"{place} does not exist")
    if not found:
        raise DataError(f"no image in {', '.join(places)}")
    return found


def _file(name: str) -> ImageFile:
    return ImageFile(name=name, read=partial(read_file, Path(name)))


def _files_in(folder: Path) -> Iterator[ImageFile]:
    source = read_class_folder(folder, str(folder))
    images = [candidate for candidate in source.candidates if candidate.claims_to_be_image]
    others = len(source.candidates) - len(images)
    if others or source.num_hidden:
        print(f"predict: {folder}: passed over {others} files that are no images by their names, "
              f"{source.num_hidden} hidden ones", file=sys.stderr)  # fmt: skip
    for candidate in images:
        yield ImageFile(name=f"{folder.as_posix()}/{candidate.file}", read=candidate.read)


def rows_to(out: Path | None, predictor: Predictor) -> AbstractContextManager[Write]:
    """Open the file, or the terminal."""
    if out is None:
        return csv_rows(sys.stdout, predictor.columns)
    types = dict.fromkeys(predictor.columns, float) | {"file": str, "label": str, "error": str}
    return open_rows(out, types | {"unsure": bool, "unknown": bool})


def main(arguments: Sequence[str]) -> None:
    """Classify, write, count."""
    options = parser().parse_args(arguments)
    files = image_files(options.images)
    counts = {"errors": 0, "unsure": 0, "unknown": 0}
    with found_bundle(options.model, Path()) as folder:
        predictor = Predictor(load_bundle(folder))
        with rows_to(options.out, predictor) as write, Progress(len(files), desc="predict", unit="images") as progress:
            for row in predictor.predict(files):
                write(row)
                counts["errors"] += row["error"] is not None
                counts["unsure"] += bool(row["unsure"])
                counts["unknown"] += bool(row["unknown"])
                progress.advance()
    said = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"predict: {len(files)} images, {said}" + (f"; {options.out}" if options.out else ""), file=sys.stderr)
    if counts["errors"]:
        sys.exit(SOME_FAILED)
