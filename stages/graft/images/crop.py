"""The square of an image that a network sees: decoded no larger than needed, cropped and resized in one step.

JPEG files, on which most of the time goes, are decoded by OpenCV in half of Pillow's time; both use libjpeg-turbo, and
tests hold their pixels equal. Pillow reads all other formats, and refuses the damaged ones with a reason.
"""

import cv2
import numpy as np
import PIL
from PIL import Image

from stages.graft.images.decode import Batch, decode, open_header, turn_of

DECODER = f"pillow {PIL.__version__}, opencv {cv2.__version__}, squares 2"
"""Part of every feature's fingerprint: decoders differ in pixels. Increase the last number, the version of this file,
with any change that alters a pixel."""

REDUCING_GAP = 2
"""A JPEG may be decoded at a half, a quarter or an eighth while that is so many times larger than what is wanted: the
value Pillow's own thumbnails take for a result close to fair resampling."""

_JPEG_SCALES = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: cv2.IMREAD_GRAYSCALE,
}
"""OpenCV's flag for each; with IMREAD_COLOR_RGB added, it gives colours."""

cv2.setNumThreads(1)  # images are decoded side by side, each by one thread


def decode_square(data: bytes, resize_px: int, crop_px: int, interpolation: str = "bilinear") -> Batch:
    """Decode an image, scale its shorter side to `resize_px` and give the middle square of `crop_px`.

    Pixels outside the square are not resized; its edges lie on whole pixels of what was decoded. Antialiased, as in
    torchvision's own transforms.

    Args:
        data: the file's bytes, in one of `images.FORMATS`.
        resize_px: the shorter side after scaling, in pixels, at least `crop_px`.
        crop_px: side of the square, in pixels.
        interpolation: bilinear or bicubic.
    Returns:
        shape (crop_px, crop_px, 3), uint8, upright as the file's EXIF data say.
    Raises:
        DataError: as in `images.decode`.
    """
    pixels, turn = _decode_jpeg(data, REDUCING_GAP * resize_px) or (np.asarray(decode(data)), None)
    side = max(1, round(crop_px * min(pixels.shape[:2]) / resize_px))
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    resized = _resize(pixels[top : top + side, left : left + side], crop_px, interpolation)
    # Turned last: the middle square stays the middle one, and there are fewer pixels to move.
    return resized if turn is None else np.asarray(Image.fromarray(resized).transpose(turn))


def _decode_jpeg(data: bytes, least_px: int) -> tuple[Batch, Image.Transpose | None] | None:
    """Pixels and the turn they still need; None for a file that Pillow has to read, or to refuse with a reason."""
    try:
        image = open_header(data)
    except Exception:  # Pillow raises many kinds on damaged files; `decode` turns them into one
        return None
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    scale = next((scale for scale in _JPEG_SCALES if min(image.size) >= scale * least_px), 1)
    flags = _JPEG_SCALES[scale] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else (pixels.astype(np.uint8, copy=False), turn_of(image))


def _resize(pixels: Batch, size_px: int, interpolation: str) -> Batch:
    """Scale a square; where nothing shrinks, plain bilinear is the antialiased one, and OpenCV's is the quicker."""
    if len(pixels) == size_px:
        return np.ascontiguousarray(pixels)
    if len(pixels) < size_px and interpolation == "bilinear":
        return cv2.resize(pixels, (size_px, size_px), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    resampling = Image.Resampling[interpolation.upper()]
    return np.asarray(Image.fromarray(pixels).resize((size_px, size_px), resampling))
