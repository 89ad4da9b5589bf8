"""A large labelled set as two arrays on disk, decoded once, so that training reads pixels and nothing else."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads
from stages.graft.data.candidates import Candidate, Source
from stages.graft.data.open_source import open_source
from stages.graft.images.decode import Batch, decode, resize_and_crop
from stages.graft.storage.arrays import array_file
from stages.graft.storage.files import temporary_folder


@dataclass(frozen=True, kw_only=True)
class PackedImages:
    """Every image of a source at one size."""

    x: Batch
    """Shape (n, image_px, image_px, 3), uint8; a memory map."""
    y: npt.NDArray[np.int64]
    """Class indices, shape (n,), int64."""
    classes: tuple[str, ...]
    """Class names, sorted."""
    digest: str
    """SHA-256 of pixels and labels, hex."""


@contextmanager
def packed_images(source: str | Path, image_px: int, cache: Path) -> Iterator[PackedImages]:
    """Decode a source into arrays that last as long as the context.

    Args:
        source: a class folder, an archive of one, or a folder of such archives.
        image_px: the shorter side is scaled to this and the middle square kept, in pixels.
        cache: folder for the temporary file, n * image_px² * 3 bytes.
    Raises:
        DataError: the source is not there, or an image in it cannot be decoded; names the file.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with open_source(source, cache) as opened, temporary_folder(cache, "packed") as folder:
        candidates = [file for file in opened.candidates if file.label and file.claims_to_be_image]
        x = _decode_all(opened, candidates, image_px, folder / "images.npy")
        y = np.searchsorted(np.array(opened.classes), np.array([file.label for file in candidates])).astype(np.int64)
        digest = hashlib.sha256(x.data.cast("B"))
        digest.update(y.tobytes())
        yield PackedImages(x=x, y=y, classes=opened.classes, digest=digest.hexdigest())


def _decode_all(source: Source, candidates: Sequence[Candidate], image_px: int, path: Path) -> Batch:
    if not candidates:
        raise DataError(f"{source.name} holds no labelled image")
    x = array_file(path, np.uint8, (len(candidates), image_px, image_px, 3))

    def read(candidate: Candidate) -> Batch:
        try:
            return resize_and_crop(decode(candidate.read()), image_px, image_px)
        except DataError as error:
            raise DataError(f"{source.name}: {candidate.file}: {error}; repair or remove it") from None

    decoded = bar(in_threads(read, candidates), desc=f"decode {source.name}", unit="images", total=len(candidates))
    for row, image in enumerate(decoded):
        x[row] = image
    return x
