"""Image files to the network's input: decoded by several threads, given in order, a few batches ahead."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from stages.graft.core.errors import DataError
from stages.graft.core.memory import one_image
from stages.graft.core.threads import in_threads
from stages.graft.images.crop import decode_square
from stages.graft.images.decode import Batch
from stages.graft.images.location import BRING_BACK, ImageLocation, num_readers, read_image_bytes
from stages.graft.images.preprocessing import Preprocessing

BATCHES_AHEAD = 4
"""Batches decoded before the network asks for them: bounds the memory."""

LocateImage = Callable[[str], ImageLocation]
"""Gives the location of the image with an id."""


def read_image(path: ImageLocation, preprocessing: Preprocessing) -> Batch:
    """Decode one file to the network's input size, shape (crop_px, crop_px, 3), uint8.

    Raises:
        DataError: the file is missing or cannot be decoded.
        ChangedError, UnreachableError: as in `location.read_image_bytes`.
    """
    with one_image():
        data = read_image_bytes(path)
        try:
            return decode_square(data, preprocessing)
        except DataError as error:
            raise DataError(f"{path}: {error}; {BRING_BACK}") from None


def read_batch(ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing, batch_size: int) -> Batch:
    """Decode at most `batch_size` files into a batch of exactly that size: one after the other or, from S3, at once.

    The other rows are black: the bits of a row depend on the batch's shape, not on its other rows. Errors are those of
    `read_image`.
    """
    batch = np.zeros((batch_size, preprocessing.crop_px, preprocessing.crop_px, 3), np.uint8)
    locations = [locate(id_) for id_ in ids]
    num_threads, read = num_readers(locations), partial(read_image, preprocessing=preprocessing)
    squares = in_threads(read, locations, num_threads) if num_threads else map(read, locations)
    for row, square in enumerate(squares):
        batch[row] = square
    return batch


def decoded_batches(
    ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[list[str], Batch]]:
    """Read images in the order given, a few batches ahead of the consumer; the last batch may be short."""
    num_threads, num_ahead = num_readers([locate(id_) for id_ in ids[:1]]), BATCHES_AHEAD * batch_size
    images = in_threads(lambda id_: read_image(locate(id_), preprocessing), ids, num_threads, num_ahead)
    for start in range(0, len(ids), batch_size):
        chunk = list(ids[start : start + batch_size])
        yield chunk, np.stack([next(images) for _ in chunk])
