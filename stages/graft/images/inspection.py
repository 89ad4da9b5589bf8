"""What ingest wants to know of an image file: its size and format, and whether decoding leaves anything to see."""

from dataclasses import dataclass

from PIL import Image

from stages.graft.images.decode import MAX_PIXELS, decode_opened, open_whole
from stages.graft.images.dicom import NO_WINDOW, PATIENT
from stages.graft.images.white_level import DeepRange, deep_range, deep_values

BLANK_LEVELS = 2
"""An image is blank when its darkest and its brightest of 256 levels are at most this far apart, in every colour."""

IGNORED_SHARE = 0.001
"""Share of the pixels that may be darker, and as many brighter: a few hot pixels make no image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInfo:
    """Properties of an image file, as in the manifest and in the report of ingest."""

    width: int
    """Width of the upright image, in pixels."""
    height: int
    """Height of the upright image, in pixels."""
    format: str
    """One of ALL_FORMATS, whatever the file's suffix says."""
    mode: str
    """Pillow's mode of the file's own pixels."""
    patient: str = ""
    """The patient's id in a DICOM file."""
    lacks_window: bool = False
    """Whether it is a DICOM file that does not say which values are black and white."""
    is_multipage: bool = False
    """Whether the file has more pages or frames than the first."""
    is_blank: bool = False
    """Whether the decoded image is one colour, or nearly."""
    deep: DeepRange | None = None
    """The values of a file with more than 8 bits; None for any other."""


def inspect(data: bytes, white_level: float | None = None, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Decode an image file as `decode` does, with the same errors, and give its properties."""
    image = open_whole(data, max_pixels)
    rgb = decode_opened(image, data, white_level)
    values = deep_values(image, data)
    # A photo with a preview in the same file is Pillow's MPO; its first frame is a plain JPEG.
    is_photo = image.format == "MPO"
    return ImageInfo(
        width=rgb.width,
        height=rgb.height,
        format="JPEG" if is_photo else str(image.format),
        mode=image.mode,
        patient=image.info.get(PATIENT, ""),
        lacks_window=image.info.get(NO_WINDOW, False),
        is_multipage=not is_photo and _has_more_pages(image),
        is_blank=is_blank(rgb),
        deep=None if values is None else deep_range(values, white_level),
    )


def _has_more_pages(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow looks for the next frame, which may be damaged and is not used
        return True


def is_blank(rgb: Image.Image) -> bool:
    """Say whether an RGB image is one colour, or nearly."""
    counts, ignored = rgb.histogram(), IGNORED_SHARE * rgb.width * rgb.height
    channels = (counts[start : start + 256] for start in (0, 256, 512))
    return all(_brightest(c, ignored) + _brightest(c[::-1], ignored) - 255 <= BLANK_LEVELS for c in channels)


def _brightest(counts: list[int], ignored: float) -> int:
    """The highest level above which there are no more than the ignored pixels."""
    level, above = 255, counts[255]
    while above <= ignored:
        level -= 1
        above += counts[level]
    return level
