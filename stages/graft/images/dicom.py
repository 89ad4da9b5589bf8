"""DICOM: single-frame grey images, rescaled and windowed as the file says, to 8 bits.

Source: DICOM PS3.3, section C.11.1 (modality LUT) and C.11.2.1.2 (window centre and width).
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.core.memory import PIXELS, take
from stages.graft.images.formats import DICOM, check_pixels, import_optional
from stages.graft.images.jpeg import load_jpeg
from stages.graft.images.white_level import BAND_VALUES

PATIENT, NO_WINDOW = "patient", "no_window"
"""Keys of an image's `info`: the patient's id, and whether the file lacks a window."""

DEFLATED = b"1.2.840.10008.1.2.1.99"
"""The transfer syntax of files that are packed."""

JPEG, JPEG_2000 = "1.2.840.10008.1.2.4.50", ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
"""The transfer syntaxes of 8-bit JPEG, and of JPEG 2000."""

BYTES_PER_PIXEL = 24
"""The most that decoding needs at once for each pixel."""

Values = npt.NDArray[np.float64]


def open_dicom(data: bytes, max_pixels: int) -> Image.Image:
    """Read a DICOM file as an image of mode L; its info has the patient's id.

    Rescaled by slope and intercept (or the modality's table); then the first window becomes black to white. Without a
    window, the smallest value is black and the largest white, as viewers show it. MONOCHROME1 is inverted.

    Raises:
        DataError: pydicom is not installed; the file has no image, several frames or colours, or is damaged.
    """
    pydicom = import_optional("pydicom", "pydicom", "a DICOM file")
    if DEFLATED in data:  # unpacked whole when it is opened, to any size
        raise DataError("a DICOM file that is deflated; decompress it (`dcmconv +te`)")
    dataset = pydicom.dcmread(io.BytesIO(data))
    _check(dataset, max_pixels)
    stored = _stored_values(dataset)
    values = np.asarray(
        import_optional("pydicom.pixels", "pydicom", "a DICOM file").apply_modality_lut(stored, dataset)
    )
    window = _window(dataset)
    limits = _limits(values, stored, dataset) if window is None else (0.0, 0.0)
    grey = np.empty(values.shape, np.uint8)
    rows = max(1, BAND_VALUES // max(1, values.shape[1]))
    for top in range(0, len(values), rows):  # whole, the numbers between would take 24 bytes each
        band = values[top : top + rows]
        shares = _linear(band, *limits) if window is None else _windowed(band, *window)
        grey[top : top + rows] = (255 * shares.clip(0, 1)).astype(np.uint8)
    image = Image.fromarray(255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey)
    image.format = DICOM
    image.info |= {PATIENT: str(dataset.get("PatientID", "") or "").strip(), NO_WINDOW: window is None}
    return image


def _check(dataset: Any, max_pixels: int) -> None:
    """Refuse what is not one grey image."""
    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise DataError("a DICOM file without an image, such as a report; leave it out")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise DataError(f"a DICOM file with {frames} frames; export the frames that you need as files of their own")
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"a DICOM file in colour ({kind or 'of no known kind'}); export it as PNG")
    width, height = int(dataset.Columns), int(dataset.Rows)
    check_pixels(width, height, max_pixels)
    take(PIXELS, BYTES_PER_PIXEL * width * height)


def _stored_values(dataset: Any) -> npt.NDArray[Any]:
    try:
        _check_frame(dataset)
        return np.asarray(dataset.pixel_array)
    except (RuntimeError, NotImplementedError, ImportError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_compressed or syntax in (JPEG, *JPEG_2000):  # what Pillow decodes
            raise DataError(f"damaged: {' '.join(str(error).split())[:200]}") from None
        raise DataError(
            f"a DICOM file whose pixels cannot be decoded ({syntax.name}); decompress it (`gdcmconv --raw`), or "
            "`pip install pylibjpeg[all]`"
        ) from None


def _check_frame(dataset: Any) -> None:
    """Refuse a packed frame of another size, and a damaged JPEG: the decoders fill what is missing with grey."""
    if dataset.file_meta.TransferSyntaxUID not in (JPEG, *JPEG_2000):
        return
    encaps = import_optional("pydicom.encaps", "pydicom", "a DICOM file")
    frame = encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        if image.size != (dataset.Columns, dataset.Rows):
            width, height = image.size
            raise DataError(f"damaged: {width}x{height} pixels, its header says {dataset.Columns}x{dataset.Rows}")
        if dataset.file_meta.TransferSyntaxUID == JPEG:
            load_jpeg(image, frame)


def _window(dataset: Any) -> tuple[float, float, str] | None:
    """The first window: its centre, width and function; None when there is none, or its width has no meaning."""
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction", "") or "LINEAR")
    if (
        centre is None
        or width is None
        or not np.isfinite([centre, width]).all()
        or width < (1 if function == "LINEAR" else 1e-12)
    ):
        return None
    return centre, width, function


def _first(value: Any) -> float | None:
    """The number, or the first of several; None for nothing."""
    if value is None or value == "":
        return None
    several = not isinstance(value, int | float) and hasattr(value, "__len__")
    return _first(value[0] if len(value) else None) if several else float(value)


def _windowed(values: Values, centre: float, width: float, function: str) -> Values:
    """Shares of white, by the formulas of the standard."""
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - centre) / width, -50, 50)
        return np.asarray(1 / (1 + np.exp(exponent)))
    if function == "LINEAR_EXACT":
        return _linear(values, centre - width / 2, centre + width / 2)
    half = (width - 1) / 2
    return _linear(values, centre - 0.5 - half, centre - 0.5 + half)


def _linear(values: Values, low: float, high: float) -> Values:
    """Shares of white: 0 at low, 1 at high."""
    if high <= low:
        return np.asarray(values > low, np.float64)
    return np.asarray((values - low) / (high - low), np.float64)


def _limits(values: Values, stored: npt.NDArray[Any], dataset: Any) -> tuple[float, float]:
    """Smallest and largest value, without those that only fill the frame."""
    padding = dataset.get("PixelPaddingValue")
    shown = values if padding is None else values[stored != padding]
    shown = shown if shown.size else values
    return float(shown.min()), float(shown.max())
