import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.commands import export
from stages.graft.backbone.openvino_runtime import openvino
from stages.graft.images.crop import decode_square, fill_colour
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model import classify
from stages.graft.model.predictor import ImageFile, load_predictor
from stages.graft.storage.hashing import sha256_of
from tests.graft.model.test_exported_graph import needs_onnx
from tests.support.bundles import CLASSES
from tests.support.commands import graft

NO_GRAFT = f"""
import runpy, sys
sys.path += {[path for path in sys.path if "site-packages" in path]}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not [name for name in sys.modules if name.startswith(("stages", "torch", "cv2"))]
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("stages.graft.model.export_check.SECONDS", 0.01)


def run(bundle_folder, format_, out, *more):
    images = bundle_folder.parent / "pictures"
    graft("export", "--format", format_, "--out", str(out), "--model", str(bundle_folder), *more,
              "--images", str(images))  # fmt: skip


@pytest.mark.parametrize("format_", ["openvino", pytest.param("onnx", marks=needs_onnx)])
def test_an_export_says_what_it_is_worth(bundle_folder, tmp_path, capsys, format_):
    run(bundle_folder, format_, tmp_path / "out")
    record = json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))
    said = capsys.readouterr().out
    for name, found in record["precisions"].items():
        assert found["against_pipeline"]["num_images"] == found["against_pipeline"]["same_label"] == 72
        assert found["against_torch_fp32"]["max_difference_probabilities"] < (1e-4 if name == "fp32" else 2e-2)
        assert found["speed"]["latency_ms"] > 0
        assert f"in {name}: the pipeline's class for 72 of 72 images, probabilities within" in said
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.*")} - {"export.json"}
    names = {"1/model.onnx"} if format_ == "onnx" else {"1/model.xml", "1/model.bin"}
    assert files == {"README.json", "classify.py"} | names
    assert set(record["sha256"]) == files
    assert all(sha256_of(tmp_path / "out" / name) == digest for name, digest in record["sha256"].items())
    told = json.loads((tmp_path / "out/README.json").read_text(encoding="utf-8"))
    assert told["classes"] == list(CLASSES)


def test_an_earlier_export_is_replaced_and_nothing_else(bundle_folder, tmp_path, monkeypatch, capsys):
    for name, file in (("out", "export.json"), ("mine", "thesis.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("x")
    monkeypatch.setattr(export, "same_labels", lambda found: False)
    run(bundle_folder, "openvino", tmp_path / "out")
    assert "fp32 it is not the same classifier; see export.json" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))["format"] == "openvino"
    with pytest.raises(SystemExit, match="mine exists and holds no earlier export; name a new folder"):
        run(bundle_folder, "openvino", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("format_", ["openvino", pytest.param("onnx", marks=needs_onnx)])
def test_maps_are_an_output_that_says_what_prediction_says(bundle_folder, tmp_path, format_):
    run(bundle_folder, format_, tmp_path / "out", "--maps")
    record = json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))
    compared = record["precisions"]["fp32"]
    assert compared["against_torch_fp32"]["max_difference_heat"] < 1e-3
    assert compared["against_pipeline"]["max_difference_heat"] < 0.1  # which computes in bf16 on some processors
    told = json.loads((tmp_path / "out/README.json").read_text(encoding="utf-8"))
    assert list(told["outputs"])[-1] == "heat"


def write_odd_pictures(folder):
    """Write wide, tall, turned, transparent, 16-bit and large pictures; give their paths."""
    rng, folder = np.random.default_rng(0), folder / "odd"
    folder.mkdir()
    photo = Image.fromarray(np.kron(rng.integers(0, 256, (20, 33, 3)), np.ones((40, 40, 1))).astype(np.uint8))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", quality=92, exif=exif)
    photo.resize((61, 100)).save(folder / "tall.jpg", quality=95)
    photo.resize((99, 50)).save(folder / "wide.png")
    Image.fromarray(rng.integers(0, 2**16, (70, 64), dtype=np.uint16)).save(folder / "deep.png")
    clear = photo.resize((80, 60)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((80, 60)))
    clear.save(folder / "clear.png")
    return sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_the_script_prepares_every_picture_as_the_pipeline_does(tmp_path, fit):
    p = Preprocessing(resize_px=72, crop_px=64, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(1,) * 3, fit=fit)
    about = {"crop_px": 64, "resize_px": 72, "interpolation": "bicubic", "white_level": None, "fit": fit}
    about["fill"] = list(fill_colour(p))
    for path in write_odd_pictures(tmp_path):
        with open(path, "rb") as file:
            expected = decode_square(file.read(), p)
        np.testing.assert_allclose(classify.prepare(path, about).astype(int), expected, atol=1, err_msg=path)


@pytest.mark.parametrize("format_", ["openvino", pytest.param("onnx", marks=needs_onnx)])
def test_the_script_gives_the_pipelines_answers_without_graft(bundle_folder, tmp_path, format_):
    run(bundle_folder, format_, tmp_path / "out")
    assert len((tmp_path / "out/classify.py").read_text(encoding="utf-8").splitlines()) <= 60
    files = [str(path) for path in sorted((bundle_folder.parent / "pictures").rglob("1*.png"))]
    expected = list(load_predictor(bundle_folder).predict(map(ImageFile.at, map(Path, files))))
    done = subprocess.run(
        [sys.executable, "-S", "-c", NO_GRAFT, str(tmp_path / "out/classify.py"), *files],
        cwd=tmp_path, capture_output=True, text=True, check=True, encoding="utf-8",
    )  # fmt: skip
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in found] == [[row["file"], row["label"]] for row in expected]
    for row, answer in zip(found, expected, strict=True):
        assert float(row[2]) == pytest.approx(answer["confidence"], abs=0.02)
        assert row[3:] == [str(answer["unsure"]), str(answer["unknown"])]


def test_the_file_alone_is_enough_to_classify(bundle_folder, tmp_path):
    run(bundle_folder, "openvino", tmp_path / "out")
    model = openvino.Core().compile_model(tmp_path / "out/1/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    told = json.loads((tmp_path / "out/README.json").read_text(encoding="utf-8"))
    px = told["input"]["shape"][1]
    for path in sorted((bundle_folder.parent / "pictures").rglob("1*.png")):
        image = Image.open(path).convert("RGB").resize((px, px), Image.Resampling.BILINEAR)
        found = model({told["input"]["name"]: np.asarray(image)[None]})
        assert told["classes"][found["probabilities"].argmax()] == path.parent.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "{bundle}"], "--images must name images to compare on, since --model is not this repository's"),
        (["--model", "nowhere"], "--model nowhere: no bundle.json there"),
        (["--model", "{bundle}", "--images", "nowhere"], "nowhere does not exist"),
        (["--model", "{bundle}", "--images", "{bundle}/model.json"], "no readable image to compare"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_nothing(bundle_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [one.format(bundle=bundle_folder) for one in arguments]
    with pytest.raises(SystemExit) as ended:
        graft("export", "--format", "openvino", "--out", "out", *given)
    assert str(ended.value).startswith("graft export: error: ")
    assert message in str(ended.value)
    assert not list(tmp_path.glob("*out*"))
