"""Description of one image for the comparison with others: its pixels' hash, local features and a small pattern.

Letters: p points of an image, at most NUM_POINTS.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.graft.duplicates.codebook import DESCRIPTOR_DIM, SUMMARY_DIM, summarise
from stages.graft.images.crop import DECODER, decode_whole
from stages.graft.images.decode import Batch

IMAGES_KIND = "near-duplicates, images"
"""Of the rows in the store."""

VERSION = 4
"""Increase it with any change that alters a description."""

SIDE_PX = 160
"""Longer side of the image in which points are found, in pixels."""

MAX_ENLARGEMENT = 4
"""A small image is made so many times larger at most: more pixels would show no more, and take time."""

PATTERN_PX = 96
"""Longer side of the pattern, in pixels."""

NUM_POINTS, PIXELS_PER_POINT = 150, 5
"""Most points of an image: the strongest; of a small image, one for so many pixels: more show the same again."""

DESCRIPTOR_SCALE, PATTERN_SCALE = 512, 32
"""Values are stored as whole numbers, multiplied by these."""

LEAST_CONTRAST = 2.0
"""Standard deviation of an image's grey values, 0 to 255, below which it is plain: noise is all that it shows."""

LEAST_SIDE_PX = 16
"""Shorter side of a scaled image, at least, in pixels: a strip keeps something to see."""

ROW = np.dtype(
    [
        ("pixels", "u1", 32),
        ("size", "u1", 2),
        ("num_points", "<u2"),
        ("contrast", "<f4"),
        ("points", "<f2", (NUM_POINTS, 2)),
        ("descriptors", "u1", (NUM_POINTS, DESCRIPTOR_DIM)),
        ("pattern", "i1", (PATTERN_PX, PATTERN_PX)),
        ("summary", "<f2", SUMMARY_DIM),
    ]
)
"""A description as stored: SHA-256 of the pixels, height and width of the pattern, and padded arrays."""

Float32 = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]
Rows = npt.NDArray[Any]
"""Descriptions, shape (n,), of type ROW."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What two images are compared by, once their points match."""

    points: Float32
    """Places (x, y) of local features in the pattern, in pixels, shape (p, 2)."""
    pattern: Float32
    """The image without light and contrast: band-passed, divided by the deviation around each pixel, shape (h, w)."""


def description_record(white_level: float | None) -> dict[str, Any]:
    """Give all that can change a bit of a description: their fingerprint in the store is made of it."""
    return {"name": IMAGES_KIND, "version": VERSION, "decoder": DECODER, "white_level": white_level}


def describe(data: bytes, white_level: float | None = None) -> Rows:
    """Describe an image file.

    Args:
        data: the file's bytes.
        white_level: as in `images.decode`.
    Returns:
        One row, shape (1,), of type ROW.
    Raises:
        DataError: as in `images.decode`.
    Source:
        Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004; Arandjelović and Zisserman, Three
        things everyone should know to improve object retrieval, CVPR 2012 (the square root).
    """
    pixels = decode_whole(data, SIDE_PX, white_level)
    grey = _grey(pixels)
    side_px = min(SIDE_PX, MAX_ENLARGEMENT * max(grey.shape))
    picture, small = _scaled(grey, side_px), _scaled(grey, min(side_px, PATTERN_PX))
    points, descriptors = _local_features(picture, min(NUM_POINTS, 1 + grey.size // PIXELS_PER_POINT))
    row = np.zeros(1, ROW)
    row["pixels"] = np.frombuffer(hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest(), np.uint8)
    row["size"], row["num_points"], row["contrast"] = small.shape, len(points), picture.std()
    scale = np.array(small.shape[::-1]) / picture.shape[::-1]
    row["points"][0, : len(points)] = (points + 0.5) * scale - 0.5  # a pixel's middle is a whole number
    row["descriptors"][0, : len(points)] = descriptors
    row["pattern"][0, : small.shape[0], : small.shape[1]] = _whole(band_pass(small, 0.7, 3.0), PATTERN_SCALE, 127)
    row["summary"] = summarise(unit_rows(descriptors))
    return row


def local_descriptors(data: bytes) -> Float32:
    """Give the descriptors of an image file, of length 1, shape (p, 128); errors are those of `describe`."""
    grey = _grey(decode_whole(data, SIDE_PX))
    return unit_rows(_local_features(_scaled(grey, SIDE_PX), NUM_POINTS)[1])


def description_of(row: Rows) -> Description:
    """Read a stored description, one element of `Rows`."""
    num, (height, width) = int(row["num_points"]), row["size"]
    return Description(
        points=row["points"][:num].astype(np.float32),
        pattern=row["pattern"][:height, :width] * np.float32(1 / PATTERN_SCALE),
    )


def band_pass(grey: Grey, fine: float, coarse: float) -> Float32:
    """Keep details between two sizes and give them the same contrast everywhere; plain places stay plain.

    Args:
        grey: shape (h, w).
        fine, coarse: standard deviations of two Gaussian filters, in pixels.
    """
    values = grey.astype(np.float32)
    details = cv2.GaussianBlur(values, (0, 0), fine) - cv2.GaussianBlur(values, (0, 0), coarse)
    variance = cv2.GaussianBlur(details * details, (0, 0), 1.5 * coarse)
    return np.asarray(details / np.sqrt(variance + NOISE), dtype=np.float32)


NOISE = 4.0
"""Variance that is not amplified, in grey values squared."""


def unit_rows(values: npt.NDArray[Any]) -> Float32:
    """Scale each row to length 1; a row of zeros stays."""
    rows = values.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(rows / np.maximum(lengths, 1e-9))


def _grey(pixels: Batch) -> Grey:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _scaled(grey: Grey, longer_px: int) -> Grey:
    height, width = grey.shape
    scale = longer_px / max(height, width)
    size = max(LEAST_SIDE_PX, round(width * scale)), max(LEAST_SIDE_PX, round(height * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).astype(np.uint8)


def _local_features(picture: Grey, most: int) -> tuple[Float32, npt.NDArray[np.uint8]]:
    """Places (p, 2) and stored descriptors (p, 128) of the strongest points, so many at most."""
    even = _whole(band_pass(picture, 0.7, 8.0) * 40 + 128, 1, 255).astype(np.uint8)  # faint textures have points too
    detector = cv2.SIFT.create(most, contrastThreshold=0.01, edgeThreshold=20, enable_precise_upscale=True)
    found, descriptors = detector.detectAndCompute(even, None)
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, DESCRIPTOR_DIM), np.uint8)
    points = np.array([point.pt for point in found[:most]], np.float32).reshape(-1, 2)
    shares = descriptors[:most] / (descriptors[:most].sum(axis=1, keepdims=True) + 1e-6)
    return points, _whole(np.sqrt(shares), DESCRIPTOR_SCALE, 255).astype(np.uint8)


def _whole(values: Float32, scale: float, largest: int) -> Float32:
    """Round scaled values to whole numbers, at most `largest` and at least 0 or, of signed ones, its negative."""
    return np.clip(np.round(values * scale), -largest if largest < 128 else 0, largest)
