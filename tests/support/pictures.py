"""Small image files and class folders for tests, made by hand."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def pixels(seed: int, width: int = 12, height: int = 10) -> Image.Image:
    """An RGB image of noise; every seed gives another."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """An image with soft structure, as photographs have; noise would show every filter's smallest difference."""
    return pixels(seed, width // 4, height // 4).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png(seed: int) -> bytes:
    """A small PNG file; every seed gives other bytes."""
    return encoded(pixels(seed), "PNG")


def write(path: Path, data: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def class_folder(folder: Path, per_class: int = 3, classes: tuple[str, ...] = ("hole", "scratch")) -> Path:
    """A class folder of different small PNG files, hole/0.png and so on."""
    for number, label in enumerate(classes):
        for image in range(per_class):
            write(folder / label / f"{image}.png", png(100 * number + image))
    return folder


def dicom(values: np.ndarray[Any, Any], **elements: Any) -> bytes:
    """A DICOM file of uint8, uint16 or int16 values, grey as MONOCHROME2, with these data elements besides."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["a"])
    bits = 8 * values.dtype.itemsize
    plain = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": values.shape[-2],
        "Columns": values.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": values.tobytes(),
    }
    buffer = io.BytesIO()
    dataset = FileDataset(buffer, {}, file_meta=meta, preamble=bytes(128))
    for name, value in (plain | elements).items():
        setattr(dataset, name, value)
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
