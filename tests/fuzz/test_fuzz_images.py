"""Damaged image files: refused in a line, or decoded; and by every stage alike."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages import ingest
from stages.graft.core.errors import DataError
from stages.graft.core.stage import run
from stages.graft.images.crop import decode_square, decode_whole
from stages.graft.images.decode import is_image
from stages.graft.images.inspection import inspect
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.predictor import ImageFile, load_predictor
from stages.graft.storage.files import read_json
from tests.support.fuzzing import NUM_CASES, generator, mutations
from tests.support.pictures import dicom, encoded, pixels, write

pytestmark = pytest.mark.fuzz

SMALL = Preprocessing(resize_px=16, crop_px=14, interpolation="bilinear", mean=(0.5,) * 3, std=(0.2,) * 3)


def photograph(seed: int, side_px: int = 192) -> Image.Image:
    """Smooth shapes and some grain."""
    smooth = pixels(seed, side_px // 8, side_px // 8).resize((side_px, side_px), Image.Resampling.BICUBIC)
    return Image.blend(smooth, pixels(seed, side_px, side_px).filter(ImageFilter.GaussianBlur(1)), 0.3)


def jpegs() -> list[bytes]:
    grey, exif = photograph(1).convert("L"), Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(photograph(0), "JPEG"),
        encoded(photograph(2), "JPEG", progressive=True),
        encoded(grey, "JPEG", quality=40, optimize=True),
        encoded(photograph(3), "JPEG", subsampling=0, restart_marker_blocks=8, exif=exif),
        encoded(photograph(4).convert("CMYK"), "JPEG"),
        encoded(photograph(5), "MPO", save_all=True, append_images=[photograph(6)]),
    ]


def others() -> list[bytes]:
    image, deep = pixels(1, 40, 30), np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    plain = {
        format_: encoded(image, format_) for format_ in ("PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
    }
    return [
        *plain.values(),
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True),
        encoded(image.convert("P"), "PNG", transparency=3),
        encoded(image, "GIF", save_all=True, append_images=[pixels(2, 40, 30)], comment=b"x" * 600),
        encoded(Image.fromarray(deep), "PNG"),
        encoded(Image.fromarray(deep), "TIFF"),
        *(encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
        encoded(Image.fromarray(deep.astype(np.float32)), "TIFF"),
        dicom(deep, WindowCenter=500, WindowWidth=900),
    ]


def decoded(data: bytes) -> None:
    """What every command does with a file; only the verdict of `inspect` counts."""
    is_image(data)
    inspect(data)


def verdict(data: bytes) -> str:
    """As ingest sees it, which predict, extract and duplicates must too."""
    found = {
        _word(lambda: inspect(data)),
        _word(lambda: decode_square(data, SMALL)),
        _word(lambda: decode_whole(data, 16)),
    }
    assert len(found) == 1, f"ingest, predict and duplicates differ: {sorted(found)}"
    if found != {"read"}:
        raise DataError(found.pop())
    return "read"


def _word(use) -> str:
    try:
        use()
    except DataError as error:
        return str(error)
    return "read"


def test_damaged_jpegs_are_the_same_to_every_stage(attack):
    attack("jpeg", mutations(jpegs(), "jpeg", 4 * NUM_CASES), verdict)
    assert attack.counts["refused"] > attack.counts["tried"] / 2


def test_ingest_and_predict_agree_on_every_damaged_jpeg(attack, project, bundle_folder, tmp_path):
    """The stage and the model of a bundle, on the same folder; not only what they call."""
    source, good = tmp_path / "source", jpegs()[0]
    for number, data in enumerate([*mutations(jpegs(), "ingest and predict"), good]):
        path = source / ("one", "other")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write(source / "other/good.jpg", good + b"another")
    folder = project(ingest={"source": str(source), "max_bad_fraction": 1.0, "on_conflict": "drop"})
    run("ingest", ingest.main)
    report = read_json(folder / "reports/ingest.json")
    refused = {bad["file"]: bad["reason"] for bad in report["quarantined"]}
    files = [path for path in sorted(source.rglob("*.jpg")) if path.is_file()]
    named = [ImageFile.at_address(str(path), path.relative_to(source).as_posix()) for path in files]
    rows = list(load_predictor(bundle_folder).predict(named))
    assert {row["file"]: row["error"] for row in rows if row["error"]} == refused
    assert NUM_CASES / 2 < len(refused) < NUM_CASES
    counts = f"{len(files)} tried, {len(files) - len(refused)} taken, {len(refused)} refused, 0 faults"
    attack.properties.append(("fuzz", f"ingest and predict: {counts}"))


def test_damaged_files_of_other_formats(attack):
    attack("other formats", mutations(others(), "other formats", 6 * NUM_CASES), verdict)


def test_beginnings_of_formats_with_random_bytes_behind(attack):
    attack("random bytes", _random_files(), decoded)


def _random_files() -> Iterator[bytes]:
    rng, starts = generator("random bytes"), [data[: int(n)] for data in [*jpegs(), *others()] for n in (4, 12, 32, 64)]
    for number in range(2 * NUM_CASES):
        yield starts[number % len(starts)] + rng.bytes(int(rng.integers(2000)))
