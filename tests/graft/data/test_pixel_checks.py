import numpy as np
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.data.ingestion import Ingestion, ingest
from tests.support.ingestion import ingest_params, read_class_folder
from tests.support.pictures import class_folder, dicom, encoded, pixels, write


@pytest.fixture
def ingested(tmp_path):
    """Ingest these values as images of two classes, and as many of 8 bits as wanted."""

    def run(values: list[np.ndarray], white_level=None, format_="TIFF", num_plain=0, max_bad_fraction=0.5) -> Ingestion:
        folder = class_folder(tmp_path / "set", per_class=num_plain)
        for number, some in enumerate(values):
            write(folder / "ab"[number % 2] / f"{number}.image", encoded(Image.fromarray(some), format_))
        source = read_class_folder(folder, "set")
        params = ingest_params(max_bad_fraction=max_bad_fraction, white_level=white_level)
        return ingest(source, tmp_path / "images", params)

    return run


def noise(number: int, high: int, dtype: type, size: int = 40) -> np.ndarray:
    return np.random.default_rng(number).integers(0, high + 1, (size, size)).astype(dtype)


@pytest.mark.parametrize(
    ("high", "dtype", "expected"),
    [
        (255, np.int32, 255),
        (1023, np.uint16, 1023),
        (2311, np.uint16, 4095),
        (4095, np.int32, 4095),
        (16383, np.uint16, 16383),
        (30000, np.uint16, None),
        (65535, np.uint16, None),
    ],
)
def test_dark_images_are_told_with_the_white_that_fits_them(high, dtype, expected, ingested):
    ingestion = ingested([noise(number, high, dtype) for number in range(6)])
    record = ingestion.report()
    assert record["over_8_bits"]["suggested_white_level"] == expected
    assert record["over_8_bits"]["largest_value"] == max(noise(number, high, dtype).max() for number in range(6))
    lines = list(ingestion.pixels.lines())
    assert ["set `ingest.white_level` to it" in line for line in lines][:1] == ([True] if expected else [])
    assert expected is None or f"if {expected} is their white" in lines[0]


def test_a_white_level_that_fits_says_nothing(ingested):
    assert list(ingested([noise(n, 4095, np.uint16) for n in range(4)], white_level=4095).pixels.lines()) == []


def test_a_few_hot_pixels_and_a_few_other_images_do_not_hide_the_dark_ones(ingested):
    dark = [noise(number, 4000, np.uint16, 100) for number in range(4)]
    for values in dark:
        values[0, 0] = 65535
    ingestion = ingested([*dark, noise(9, 65535, np.uint16)], num_plain=2)
    assert ingestion.report()["over_8_bits"] == {
        "num_images": 5,
        "largest_value": 65535,
        "num_dark": 4,
        "suggested_white_level": 4095,
        "num_clipped": 0,
        "clipped_share": 0.0,
    }


def test_clipped_values_are_counted(ingested):
    values = np.zeros((10, 10), np.uint16)
    values[0] = 5000
    ingestion = ingested([values, noise(1, 4095, np.uint16)], white_level=4095)
    deep = ingestion.report()["over_8_bits"]
    assert (deep["num_clipped"], deep["clipped_share"], deep["largest_value"]) == (1, 0.1, 5000)
    (line,) = ingestion.pixels.lines()
    assert line.startswith("1 images have values above the white level 4095 (up to 5000) or below 0; 10.00% of their")


def test_floats_need_a_white_level(ingested):
    values = [(noise(number, 1000, np.uint16) / 1000).astype(np.float32) for number in range(4)]
    with pytest.raises(DataError, match=r"floating-point pixels \(up to 1\) .* set `ingest.white_level`"):
        ingested(values)


def test_blank_images_are_listed_and_no_error(ingested):
    ingestion = ingested([np.full((9, 9), 2000 + number, np.uint16) for number in range(6)], num_plain=1)
    assert ingestion.report()["num_blank"] == 6
    assert ingestion.report()["blank"] == [f"{'ab'[number % 2]}/{number}.image" for number in (0, 2, 4, 1, 3, 5)]
    line = "6 of 8 images are one colour, or nearly, when decoded (see reports/ingest.json); a model of such a set"
    assert f"{line} can only guess" in list(ingestion.pixels.lines())


def test_only_the_images_that_are_kept_count(ingested):
    same = np.full((9, 9), 2000, np.uint16)
    assert ingested([same, noise(1, 9, np.uint16), same]).report()["num_blank"] == 2


def test_further_pages_and_missing_windows_are_counted(tmp_path):
    folder = class_folder(tmp_path / "set")
    write(folder / "hole/pages.tif", encoded(pixels(1), "TIFF", save_all=True, append_images=[pixels(2)]))
    for number in range(2):
        write(folder / f"hole/{number}.dcm", dicom(noise(number, 4095, np.uint16), PatientID="7"))
    ingestion = ingest(read_class_folder(folder, "set"), tmp_path / "images", ingest_params(max_bad_fraction=0.0))
    report = ingestion.report()
    assert (report["num_multipage"], report["multipage"], report["num_without_window"]) == (1, ["hole/pages.tif"], 2)
    assert [line.split(";")[0] for line in ingestion.pixels.lines()] == [
        "1 files have several pages or frames",
        "2 DICOM files have no window",
    ]


def test_a_patient_is_a_group_unless_one_is_given(tmp_path):
    from stages.graft.data.csv_list import read_list

    for number in range(4):
        write(tmp_path / f"{number}.dcm", dicom(noise(number, 255, np.uint8), PatientID=f"P{number // 2}"))
    rows = [f"{number}.dcm,{'ab'[number % 2]},{'given' if number == 3 else ''}" for number in range(4)]
    write(tmp_path / "list.csv", "\n".join(["path,label,group", *rows]).encode())
    ingestion = ingest(
        read_list(tmp_path / "list.csv", "list"), tmp_path / "images", ingest_params(max_bad_fraction=0.0)
    )
    assert {row.file: row.group for row in ingestion.rows} == {
        "0.dcm": "P0",
        "1.dcm": "P0",
        "2.dcm": "P1",
        "3.dcm": "given",
    }
