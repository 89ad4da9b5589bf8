import io
import sys

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from stages.graft.core.errors import DataError
from stages.graft.images.decode import decode, is_image
from stages.graft.images.inspection import inspect
from tests.support.pictures import dicom, encoded, pixels

VALUES = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
STORED = (VALUES + 1024).astype(np.uint16)


def grey(data: bytes) -> np.ndarray:
    return np.asarray(decode(data))[..., 0]


def test_values_are_rescaled_and_windowed():
    data = dicom(STORED, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=401)
    # by the standard: 0 at 39.5 - 200 = -160.5, all at 39.5 + 200 = 239.5
    found = dict(zip(VALUES.ravel().tolist(), grey(data).ravel().tolist(), strict=True))
    assert [found[value] for value in (-1024, -161, -160, 39, 40, 239, 240, 3071)] == [0, 0, 0, 127, 127, 254, 255, 255]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function):
    data = dicom(STORED, WindowCenter=[900, 1], WindowWidth=[700, 1], VOILUTFunction=function)
    dataset = dcmread(io.BytesIO(data))
    expected = apply_windowing(STORED, dataset) / 65535 * 255
    np.testing.assert_allclose(grey(data), expected, atol=1)


def test_a_file_of_pydicom_reads_as_pydicom_reads_it():
    path = get_testdata_file("MR_small.dcm")
    dataset = dcmread(path)
    values = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(float)
    low, high = -(2.0**15), 2.0**15 - 1
    with open(path, "rb") as file:
        np.testing.assert_allclose(grey(file.read()), 255 * (values - low) / (high - low), atol=1)


def test_without_a_window_the_range_of_the_image_is_black_to_white():
    assert (grey(dicom(STORED + 100)).min(), grey(dicom(STORED + 100)).max()) == (0, 255)
    assert inspect(dicom(STORED)).lacks_window
    assert not inspect(dicom(STORED, WindowCenter=5, WindowWidth=9)).lacks_window


def test_padding_is_no_value():
    padded = VALUES.copy()
    padded[0] = -2000
    data = dicom(padded, PixelPaddingValue=-2000)
    np.testing.assert_array_equal(grey(data)[1:], ((VALUES.astype(int) + 960) * 255 // 4031)[1:])
    assert (grey(data)[0] == 0).all()


def test_monochrome1_is_inverted():
    plain, inverted = dicom(STORED), dicom(STORED, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(grey(inverted), 255 - grey(plain))


def test_an_even_image_is_blank_and_no_error():
    assert inspect(dicom(np.full((8, 8), 7, np.uint16))).is_blank


def test_its_properties():
    info = inspect(dicom(STORED[:32], PatientID=" case-7 "))
    assert (info.format, info.mode, info.width, info.height, info.patient) == ("DICOM", "L", 64, 32, "case-7")
    assert inspect(dicom(STORED)).patient == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom(np.zeros((2, 4, 4), np.uint8), NumberOfFrames=2), "a DICOM file with 2 frames; export"),
        (dicom(np.zeros((4, 12), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB"), "in colour \\(RGB\\)"),
        (dicom(np.zeros((4, 4), np.uint8), PhotometricInterpretation="PALETTE COLOR"), "in colour"),
        (dicom(np.zeros((4, 4), np.uint8), Rows=9), "damaged"),
        (dicom(np.zeros((4, 4), np.uint8), Rows=60000, Columns=60000), "over the limit"),
        (dicom(STORED, SOPInstanceUID="1.2.840.10008.1.2.1.99"), "deflated; decompress it"),
        (dicom(STORED)[:-5000], "damaged"),
        (dicom(STORED)[:200], "damaged|without an image"),
    ],
)
def test_what_is_not_one_grey_image_is_refused_in_one_line(data, reason):
    with pytest.raises(DataError, match=reason) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    assert is_image(data)


def packed(frame: bytes, syntax: str, **elements: object) -> bytes:
    dataset = dcmread(io.BytesIO(dicom(np.zeros((48, 64), np.uint8), **elements)))
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


GREY = pixels(3, 64, 48).convert("L")
FRAMES = {JPEGBaseline8Bit: encoded(GREY, "JPEG"), JPEG2000Lossless: encoded(GREY, "JPEG2000", no_jp2=True)}


@pytest.mark.parametrize("syntax", FRAMES)
def test_a_packed_frame_has_the_verdict_of_the_file_that_it_is(syntax):
    frame = FRAMES[syntax]
    expected = np.asarray(decode(frame))[..., 0].astype(float)
    np.testing.assert_allclose(grey(packed(frame, syntax, WindowCenter=128, WindowWidth=256)), expected, atol=1)
    zeroed = frame[: len(frame) // 2] + bytes(len(frame) - len(frame) // 2)
    cut = frame[: len(frame) // 2]
    for damaged in (zeroed, cut) if syntax == JPEGBaseline8Bit else (cut,):
        for data in (damaged, packed(damaged, syntax)):
            with pytest.raises(DataError, match="damaged"):
                decode(data)


@pytest.mark.parametrize("syntax", FRAMES)
def test_a_packed_frame_has_the_size_that_the_header_says(syntax):
    with pytest.raises(DataError, match="damaged: 64x48 pixels, its header says 64x40"):
        decode(packed(FRAMES[syntax], syntax, Rows=40))


@pytest.mark.parametrize(
    ("module", "data", "reason"),
    [
        ("pydicom", dicom(STORED), "a DICOM file; `pip install pydicom` makes it readable"),
        ("pillow_heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo; `pip install pillow-heif`"),
    ],
)
def test_a_format_whose_package_is_missing_says_what_to_install(module, data, reason, monkeypatch):
    from stages.graft.images.formats import register_heif

    register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=reason):
        decode(data)
    assert is_image(data)
