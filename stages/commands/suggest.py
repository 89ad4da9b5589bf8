"""graft suggest: which images to label next, and why each.

Reads   data/features.safetensors, data/splits.csv, data/unlabelled*; or images anywhere, features through the store
Writes  a CSV to fill in, a page, and the files for Label Studio
Params  ingest, backbone, extract, compute
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.core.params import load_params
from stages.graft.data.given_labels import read_decisions
from stages.graft.data.image_groups import LIKE
from stages.graft.data.image_locations import LOCATION_COLUMNS, ImageLocations
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.manifest import read_unlabelled
from stages.graft.data.splits import read_splits
from stages.graft.heads.features import read_backbone_record, read_features
from stages.graft.heads.head import Float32
from stages.graft.images.crop import decode_whole
from stages.graft.images.loading import LocateImage
from stages.graft.images.location import read_image_bytes
from stages.graft.images.preprocessing import Preprocessing, preprocessing_from
from stages.graft.labelling.suggestion_files import COLUMNS, SuggestionFiles, check_imported, write_files
from stages.graft.labelling.suggestions import Pool, Suggested, suggest
from stages.graft.report.gallery import FindThumbnail, data_address, encode_jpeg, thumbnail_maker
from stages.graft.report.suggestion_page import show_clusters, write_suggestion_page

IMAGES, SPLITS, FEATURES = Path("data/images"), Path("data/splits.csv"), Path("data/features.safetensors")
UNLABELLED, UNLABELLED_FEATURES = Path("data/unlabelled_duplicates.csv"), Path("data/unlabelled.safetensors")

OUT = Path("reports/suggestions.csv")

SIDE_PX, MAX_BYTES = 640, 100_000
"""Size of the pictures for Label Studio."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """All images, labelled or not, in order of id."""

    table: pd.DataFrame
    """Columns id, path, label (empty for none) and is_candidate."""
    x: Float32
    """Features, shape (n, d)."""
    locate: LocateImage
    """Gives the location of an image."""
    preprocessing: Preprocessing
    """The network's."""


def suggest_images(number: int, images: str | None, out: Path) -> None:
    """Write suggestions, and say what to do with them.

    Raises:
        DataError: there are no images without a label, or the file holds labels that were not imported.
    """
    labels = load_params("ingest", IngestParams).labels
    files = SuggestionFiles.beside(out)
    check_imported(files.table, read_decisions(Path(labels)) if Path(labels).exists() else [])
    with open_images(images) as found:
        table = found.table
        pool = Pool(x=found.x, labels=table["label"].to_list(), is_candidate=table["is_candidate"].to_numpy(dtype=bool))
        suggested = suggest(pool, number)
        suggestions = suggestion_table(suggested, table)
        classes = sorted({*table["label"]} - {""})
        write_files(suggestions, classes, partial(picture, found), files)
        thumbnail = thumbnail_maker(found.locate, found.preprocessing)
        write_page(suggested, suggestions, table, thumbnail, files)
    print("\n".join(f"suggest: {line}" for line in format_lines(suggested, table, files)))


@contextmanager
def open_images(images: str | None) -> Iterator[Images]:
    """Give the pipeline's images or those of a source, with their features."""
    if images is None:
        yield read_pipeline_images()
        return
    from stages.graft.compute.unlabelled_features import unlabelled_features

    with TemporaryDirectory(prefix="graft-") as folder, unlabelled_features(images, Path(folder)) as found:
        table = found.table.assign(is_candidate=True, label="")
        known = read_labelled(found.backbone)
        if known is None:
            yield Images(table=table, x=found.x, locate=found.locate, preprocessing=found.preprocessing)
        else:
            yield joined(Images(table=table, x=found.x, locate=found.locate, preprocessing=found.preprocessing), known)


def read_pipeline_images() -> Images:
    """Read what the pipeline knows of images with and without labels; test images stay out."""
    if not (SPLITS.exists() and UNLABELLED.exists() and UNLABELLED_FEATURES.exists()):
        raise DataError("the pipeline has not run here: `graft repro` does, or name images with --images")
    table = read_unlabelled(UNLABELLED, (*LOCATION_COLUMNS, "file", LIKE))
    if table.empty:
        unlabelled = load_params("ingest", IngestParams).unlabelled
        raise DataError(
            f"no image without a label: put some in {unlabelled} (`ingest.unlabelled`) and run `graft repro`, "
            "or name a folder with --images"
        )
    record = read_backbone_record(FEATURES)
    others = Images(
        table=table.assign(path=table["file"], label="", is_candidate=table[LIKE] == ""),
        x=read_features(UNLABELLED_FEATURES)[1],
        locate=ImageLocations(table, IMAGES),
        preprocessing=preprocessing_from(record["preprocessing"]),
    )
    known = read_labelled(record)
    return others if known is None else joined(others, known)


def read_labelled(backbone: object) -> Images | None:
    """Read the labelled images that are not for the test; None when there are none with features of this network."""
    if not (SPLITS.exists() and FEATURES.exists()) or read_backbone_record(FEATURES) != backbone:
        return None
    table = read_splits(SPLITS, (*LOCATION_COLUMNS, "file", "label", "split"))
    ids, x = read_features(FEATURES)
    row_of = {id_: row for row, id_ in enumerate(ids)}
    table = table[(table["split"] != "test") & table["id"].isin(row_of)]
    return Images(
        table=table.assign(path=table["file"], is_candidate=False),
        x=x[[row_of[id_] for id_ in table["id"]]],
        locate=ImageLocations(table, IMAGES),
        preprocessing=preprocessing_from(read_backbone_record(FEATURES)["preprocessing"]),
    )


def joined(others: Images, known: Images) -> Images:
    """Put both together, in order of id; an image that is labelled is no candidate."""
    columns = ["id", "path", "label", "is_candidate"]
    is_new = ~others.table["id"].isin(known.table["id"])
    table = pd.concat([known.table[columns], others.table.loc[is_new, columns]], ignore_index=True)
    x = np.concatenate([known.x, others.x[is_new.to_numpy()]])
    order, labelled = np.argsort(table["id"].to_numpy(dtype=str)), {*known.table["id"]}
    return replace(
        others,
        table=table.iloc[order].reset_index(drop=True),
        x=x[order],
        locate=lambda id_: known.locate(id_) if id_ in labelled else others.locate(id_),
    )


def suggestion_table(suggested: Suggested, table: pd.DataFrame) -> pd.DataFrame:
    """Make the table that a person fills in; clusters are numbered from 1, as on the page."""
    rows = [
        {
            "id": table["id"].iloc[one.row],
            "path": table["path"].iloc[one.row],
            "label": "",
            "guess": one.guess,
            "second": one.second,
            "cluster": one.cluster + 1,
            "reason": one.reason,
        }
        for one in suggested.suggestions
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def picture(images: Images, id_: str) -> str | None:
    """Give the picture of an image for Label Studio; None when it cannot be read."""
    try:
        data, white_level = read_image_bytes(images.locate(id_)), images.preprocessing.white_level
        shown = Image.fromarray(decode_whole(data, SIDE_PX, white_level))
        shown.thumbnail((SIDE_PX, SIDE_PX))
        return data_address(encode_jpeg(shown, MAX_BYTES), "image/jpeg")
    except (DataError, OSError):
        return None


def write_page(
    suggested: Suggested,
    suggestions: pd.DataFrame,
    table: pd.DataFrame,
    thumbnail: FindThumbnail,
    files: SuggestionFiles,
) -> None:
    """Write the page."""
    counts = {
        "num_images": len(table),
        "num_labelled": int((table["label"] != "").sum()),
        "num_suggested": len(suggestions),
    }
    shown = show_clusters(suggested.clusters, table, suggestions, thumbnail)
    write_suggestion_page(shown, counts, files.table, files.page)


def format_lines(suggested: Suggested, table: pd.DataFrame, files: SuggestionFiles) -> list[str]:
    """Say what was found and what comes next."""
    num_labelled = int((table["label"] != "").sum())
    lines = [
        f"{len(suggested.suggestions)} of {len(table) - num_labelled} images without a label, beside {num_labelled} "
        f"with one, in {len(suggested.clusters)} clusters; look at {files.page}"
    ]
    if suggested.suggestions:
        lines.append(
            f"fill in the column label of {files.table} and run `graft labels import {files.table}`, or import "
            f"{files.tasks} into Label Studio with the configuration {files.config}"
        )
    return lines
