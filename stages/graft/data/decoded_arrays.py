"""A large labelled set as two arrays on disk, decoded once, so that training reads pixels and nothing else."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.core.memory import one_image
from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads
from stages.graft.data.candidates import Candidate, Source
from stages.graft.data.open_source import open_source
from stages.graft.images.decode import Batch, decode, resize_and_crop
from stages.graft.storage.arrays import array_file
from stages.graft.storage.files import temporary_folder


@dataclass(frozen=True, kw_only=True)
class DecodedImages:
    """Labelled images at one size."""

    x: Batch
    """Images, shape (n, image_px, image_px, 3), uint8; a memory map when decoded from a source."""
    y: npt.NDArray[np.int64]
    """Class indices, shape (n,), int64."""
    classes: tuple[str, ...]
    """Class names, sorted."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pixels and labels, hex."""
        digest = hashlib.sha256(self.x.data.cast("B"))
        digest.update(self.y.tobytes())
        return digest.hexdigest()


@contextmanager
def decoded_images(source: str | Path, image_px: int, cache: Path) -> Iterator[DecodedImages]:
    """Decode a source into arrays that last as long as the context.

    Args:
        source: a class folder, an archive of one, or a folder of such archives.
        image_px: the shorter side is scaled to this and the middle square kept, in pixels.
        cache: folder for the temporary file, n * image_px² * 3 bytes.
    Raises:
        DataError: the source does not exist, or an image in it cannot be decoded; names the file.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with open_source(source, cache) as opened, temporary_folder(cache, "packed") as folder:
        candidates = labelled_candidates(opened)
        if not candidates:
            raise DataError(f"{opened.name} holds no labelled image")
        x = array_file(folder / "images.npy", np.uint8, (len(candidates), image_px, image_px, 3))

        def read_square(candidate: Candidate) -> Batch:
            with one_image():
                return resize_and_crop(read_candidate(opened, candidate)[1], image_px, image_px)

        squares = in_threads(read_square, candidates)
        for row, square in enumerate(bar(squares, desc=f"decode {opened.name}", unit="images", total=len(candidates))):
            x[row] = square
        y = np.searchsorted(np.array(opened.classes), [candidate.label for candidate in candidates]).astype(np.int64)
        yield DecodedImages(x=x, y=y, classes=opened.classes)


def labelled_candidates(source: Source) -> list[Candidate]:
    """List the images of a source that have a label."""
    return [candidate for candidate in source.candidates if candidate.label and candidate.claims_to_be_image]


def read_candidate(source: Source, candidate: Candidate) -> tuple[str, Image.Image]:
    """Read the SHA-256 of an image file, hex, and its image, upright RGB.

    Raises:
        DataError: the image cannot be decoded; names the source and the file.
    """
    try:
        data = candidate.read()
        return hashlib.sha256(data).hexdigest(), decode(data)
    except DataError as error:
        raise DataError(f"{source.name}: {candidate.file}: {error}; repair or remove it") from None
