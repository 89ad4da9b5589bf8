"""From images to pairs of near-duplicates: what was described or compared before is read from the store.

Letters: n images.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import pack_ids
from stages.graft.core.memory import one_image
from stages.graft.core.progress import Progress
from stages.graft.core.threads import in_threads
from stages.graft.data.image_groups import RELATED, SAME, STRICT
from stages.graft.duplicates.candidates import Pairs, candidate_pairs
from stages.graft.duplicates.confirmation import Agreement, compare, has_structure
from stages.graft.duplicates.description import ROW, Rows, describe, description_record
from stages.graft.images.loading import LocateImage
from stages.graft.images.location import BRING_BACK, ImageLocation, num_readers, read_image_bytes
from stages.graft.storage.arrays import rows_header
from stages.graft.storage.feature_store import Features, FeatureStore
from stages.graft.storage.files import temporary_folder

PAIRS_KIND, COMPARISON = "near-duplicates, pairs", 2
"""Of the rows of pairs in the store; increase the number with any change to confirmation.py."""

CONDITIONS = {STRICT: (0.8, 0.5), RELATED: (0.6, 0.3)}
"""Least correlation and overlap of each kind, set on two sets of photographs (steel surfaces and clothes)."""

IMAGES_PER_FRAGMENT, PAIRS_PER_FRAGMENT = 256, 8192
"""Results written to the store at a time: the most work that a killed run loses."""

PAIRS_PER_TASK = 64
"""Compared by one thread in one go."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Near-duplicates of a set of images."""

    pairs: pd.DataFrame
    """Columns first and second (numbers of two images), kind, correlation, overlap, points, mirrored; sorted."""
    num_described: int
    """Images that the store did not have."""
    num_compared: int
    """Pairs that were compared, now or before."""
    num_plain: int
    """Images without contrast, or with too few local features: only the hash of their pixels was compared."""


COLUMNS = ("first", "second", "kind", "correlation", "overlap", "points", "mirrored")
"""Of the table of pairs."""

NOTHING = Found(pairs=pd.DataFrame(columns=list(COLUMNS)), num_described=0, num_compared=0, num_plain=0)
"""When nothing was looked for."""


def find_duplicates(
    ids: Sequence[str], locate: LocateImage, store: Path | str, scratch: Path, white_level: float | None = None
) -> Found:
    """Find the near-duplicates among images.

    Args:
        ids: of the images, n of them.
        locate: gives the location of each.
        store: the feature store, a folder or s3://….
        scratch: folder for the descriptions, about 30 kB an image, until the function ends.
        white_level: as in `images.decode`.
    Raises:
        DataError: an image cannot be decoded; names its path. The images before it are in the store.
    """
    record = description_record(white_level)
    descriptions = FeatureStore(store, record)
    comparisons = FeatureStore(store, {**record, "name": PAIRS_KIND, "comparison": COMPARISON})
    missing = list(descriptions.missing(ids))
    num_threads = num_readers([locate(id_) for id_ in missing[:1]])
    described = in_threads(
        lambda id_: _describe_image(locate(id_), white_level), missing, num_threads, IMAGES_PER_FRAGMENT
    )
    _add(descriptions, missing, described, IMAGES_PER_FRAGMENT, "images")
    with temporary_folder(scratch, "duplicates") as folder:
        rows = DescriptionFile.pack(descriptions, ids, folder / "images")
        same, others = _same_pixels(rows["pixels"])
        is_plain = ~has_structure(rows["contrast"], rows["num_points"])
        compared = others[~is_plain[others]]
        pairs = compared[candidate_pairs(rows["summary"][compared])]
        agreements = _compared(comparisons, ids, pairs, rows, folder / "pairs")
    return Found(
        pairs=_pairs_table(same, pairs, agreements),
        num_described=len(missing),
        num_compared=len(pairs),
        num_plain=int(is_plain.sum()),
    )


def _describe_image(location: ImageLocation, white_level: float | None) -> Features:
    with one_image():
        data = read_image_bytes(location)
        try:
            return describe(data, white_level).view(np.float32)
        except DataError as error:
            raise DataError(f"{location}: {error}; {BRING_BACK}") from None


def _add(store: FeatureStore, ids: Sequence[str], rows: Iterator[Features], num_at_a_time: int, unit: str) -> None:
    """Add the rows of the ids to the store as they come, a fragment at a time, and show the progress.

    Rows come from several threads, one image each: threads of the matrix products would only be in each other's way.
    """
    with threadpool_limits(1), Progress(len(ids), desc="duplicates", unit=unit) as progress:
        for start in range(0, len(ids), num_at_a_time):
            fragment = []
            for _ in ids[start : start + num_at_a_time]:
                fragment.append(next(rows))
                progress.advance()
            store.add(ids[start : start + num_at_a_time], np.stack(fragment))


@dataclass(frozen=True, kw_only=True)
class DescriptionFile:
    """Descriptions in a file, read row by row: there may be more than fit in memory."""

    path: Path
    """Of the file."""
    start: int
    """Where the rows begin, in bytes."""
    num_rows: int
    """n."""

    @classmethod
    def pack(cls, store: FeatureStore, ids: Sequence[str], path: Path) -> "DescriptionFile":
        """Copy the rows of the ids, in their order, from the store to a new file."""
        return cls(path=path, start=_pack(store, ids, path), num_rows=len(ids))

    def read(self, rows: Sequence[int]) -> Rows:
        """Read some descriptions."""
        with self.path.open("rb", buffering=0) as file:
            return np.frombuffer(b"".join(self._read_one(file, row) for row in rows), ROW)

    def _read_one(self, file: FileIO, row: int) -> bytes:
        file.seek(self.start + row * ROW.itemsize)
        return file.read(ROW.itemsize)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Read one field of all descriptions, shape (n, ...)."""
        starts = range(0, self.num_rows, IMAGES_PER_FRAGMENT)
        offsets = (self.start + first * ROW.itemsize for first in starts)
        return np.concatenate(
            [np.fromfile(self.path, ROW, IMAGES_PER_FRAGMENT, offset=offset)[name] for offset in offsets]
        )[: self.num_rows]


def _pack(store: FeatureStore, ids: Sequence[str], path: Path) -> int:
    """Copy the rows of the ids to a new file, and give where they begin in it, in bytes."""
    width = store.pack(ids, path, {})
    shapes: dict[str, Any] = {"features": (np.float32, (len(ids), width)), "ids": (np.uint8, (len(ids), 32))}
    header, offsets = rows_header(shapes, {})
    return len(header) + offsets["features"]


def _same_pixels(hashes: npt.NDArray[np.uint8]) -> tuple[Pairs, npt.NDArray[np.int64]]:
    """Pairs of an image and the next one with the same pixels, and the first image of each kind of pixels."""
    keys = np.ascontiguousarray(hashes).view("S32").reshape(-1)
    order = np.argsort(keys, kind="stable")
    is_same = keys[order[1:]] == keys[order[:-1]]
    pairs = np.column_stack([order[:-1][is_same], order[1:][is_same]])
    return pairs, np.sort(order[np.concatenate([[True], ~is_same])])


def _compared(
    store: FeatureStore, ids: Sequence[str], pairs: Pairs, rows: DescriptionFile, path: Path
) -> npt.NDArray[np.float32]:
    """Compare the pairs; columns are the fields of Agreement."""
    if not len(pairs):
        return np.empty((0, 4), np.float32)
    packed = pack_ids(ids)
    names = [hashlib.sha256(packed[pair].tobytes()).hexdigest() for pair in pairs]
    number_of = {name: number for number, name in enumerate(names)}

    def compare_some(some: Sequence[str]) -> list[Features]:
        found = list[Agreement]()
        for first, of_first in groupby((pairs[number_of[name]] for name in some), key=lambda pair: int(pair[0])):
            both = rows.read([first, *(int(second) for _, second in of_first)])
            found += compare(both[:1], both[1:])
        return [_agreement_row(agreement) for agreement in found]

    missing = list(store.missing(names))
    tasks = [missing[start : start + PAIRS_PER_TASK] for start in range(0, len(missing), PAIRS_PER_TASK)]
    results = chain.from_iterable(in_threads(compare_some, tasks))
    _add(store, missing, results, PAIRS_PER_FRAGMENT, "pairs")
    start = _pack(store, names, path)
    return np.fromfile(path, np.float32, 4 * len(names), offset=start).reshape(len(names), 4)


def _agreement_row(found: Agreement) -> Features:
    return np.array([found.num_points, found.correlation, found.overlap, found.is_mirrored], np.float32)


def _pairs_table(same: Pairs, pairs: Pairs, agreements: npt.NDArray[np.float32]) -> pd.DataFrame:
    kinds = np.full(len(pairs), "", dtype=object)
    for kind in (RELATED, STRICT):  # what is strict is related too
        least_correlation, least_overlap = CONDITIONS[kind]
        kinds[(agreements[:, 1] >= least_correlation) & (agreements[:, 2] >= least_overlap)] = kind
    chosen = kinds != ""
    exact = np.tile(np.array([0, 1, 1, 0], np.float32), (len(same), 1))
    numbers, values = np.concatenate([same, pairs[chosen]]), np.concatenate([exact, agreements[chosen]])
    table = pd.DataFrame({"first": numbers.min(axis=1), "second": numbers.max(axis=1)})
    table["kind"] = [SAME] * len(same) + kinds[chosen].tolist()
    table["correlation"], table["overlap"] = values[:, 1].astype(float).round(4), values[:, 2].astype(float).round(4)
    table["points"], table["mirrored"] = values[:, 0].astype(np.int64), values[:, 3] > 0
    return table.sort_values(["first", "second"], ignore_index=True)
