"""Networks in int8: calibrated once on a sample, the same bytes every time, and run without NNCF."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.graft.backbone import int8
from stages.graft.backbone.openvino_runtime import OpenVinoRuntime, open_saved
from stages.graft.backbone.precision_check import ImageSample, cosines
from stages.graft.backbone.runtime_choice import RuntimeChoice, as_extracted, choose_runtime, int8_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.files import read_json

needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="the extra `int8` is not installed")

PREPROCESSING = Preprocessing(resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)
WEIGHTS = Weights(name="shufflenet_v2_x0_5", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)


def choice(**changes: object) -> RuntimeChoice:
    settings = {"runtime": "auto", "precision": "int8", "device": "cpu", "compile": False, "batch_size": 4}
    return RuntimeChoice(**settings | changes)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> ImageSample:
    """Six pictures of coloured noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = [folder / f"{number}.png" for number in range(6)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    ids = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return ImageSample(ids=ids, locations=files)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, sample: ImageSample) -> Path:
    """A folder in which the network has been calibrated."""
    folder = tmp_path_factory.mktemp("networks")
    choose_runtime(WEIGHTS, choice(), folder, sample)
    return folder


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def calibrated_files(networks: Path) -> dict[str, bytes]:
    (network,) = (record.parent for record in networks.glob("*/network.json") if "int8" in read_json(record))
    return {path.name: path.read_bytes() for path in network.iterdir()}


@needs_nncf
def test_features_are_near_those_of_fp32_and_the_record_says_what_they_are_made_with(networks, sample, images):
    runtime = choose_runtime(WEIGHTS, choice(), networks, sample)
    near = runtime.load()(images)
    exact = choose_runtime(WEIGHTS, choice(precision="fp32"), networks).load()(images)
    assert cosines(near, exact)["worst"] > 0.95
    assert not np.array_equal(near, exact)
    assert runtime.record["precision"] == "int8"
    made = runtime.record["int8"]
    assert (made["num_images"], len(made["sample"])) == (6, 32)
    assert made["sha256"] == hashlib.sha256(calibrated_files(networks)["network.bin"]).hexdigest()
    assert b'element_type="i8"' in calibrated_files(networks)["network.xml"]


@needs_nncf
def test_a_kept_network_needs_no_nncf_and_gives_the_same_bytes_at_any_number_of_streams(
    networks, sample, images, monkeypatch, capsys
):
    first = choose_runtime(WEIGHTS, choice(), networks, sample)
    monkeypatch.setattr(int8, "find_spec", lambda _: None)
    again = choose_runtime(WEIGHTS, choice(), networks, sample)
    again.num_streams = first.num_streams + 1
    assert again.record == first.record
    assert again.load()(images).tobytes() == first.load()(images).tobytes()
    assert capsys.readouterr().err == ""
    with pytest.raises(ParamsError, match=r"^`extract.precision` is int8, but NNCF, .* `pip install nncf`, or set it"):
        choose_runtime(WEIGHTS, choice(), networks, ImageSample(ids=sample.ids[:4], locations=sample.locations[:4]))


@needs_nncf
def test_calibrated_anew_it_has_the_same_bytes_and_nothing_of_nncf_is_shown(networks, sample, tmp_path, capfd):
    choose_runtime(WEIGHTS, choice(), tmp_path, sample)
    assert calibrated_files(tmp_path) == calibrated_files(networks)
    assert capfd.readouterr() == (
        "",
        "extract: converting shufflenet_v2_x0_5 for OpenVINO, once\n"
        "extract: calibrating shufflenet_v2_x0_5 for int8 on 6 of the images, once\n",
    )


@needs_nncf
def test_another_sample_is_another_network(networks, sample, tmp_path):
    fewer = ImageSample(ids=sample.ids[:4], locations=sample.locations[:4])
    before = choose_runtime(WEIGHTS, choice(), networks, sample).record["int8"]
    after = choose_runtime(WEIGHTS, choice(), networks, fewer).record["int8"]
    assert before["sample"] != after["sample"]
    assert before["sha256"] != after["sha256"]


@needs_nncf
def test_a_saved_network_is_opened_in_int8(networks, sample, images, tmp_path):
    runtime = choose_runtime(WEIGHTS, choice(), networks, sample)
    runtime.save(tmp_path / "saved")
    opened = open_saved(tmp_path / "saved", "int8", 4, 32)
    assert isinstance(opened, OpenVinoRuntime)
    assert opened.record == runtime.record
    assert opened.load()(images).tobytes() == runtime.load()(images).tobytes()


@needs_nncf
def test_its_maps_come_with_the_same_features(networks, sample, images):
    runtime = choose_runtime(WEIGHTS, choice(), networks, sample)
    features, maps = runtime.load_maps()(images)
    np.testing.assert_allclose(features, runtime.load()(images), atol=0.05)
    _, exact = choose_runtime(WEIGHTS, choice(precision="fp32"), networks).load_maps()(images)
    assert maps[0].shape == exact[0].shape
    assert cosines(maps[0].reshape(4, -1), exact[0].reshape(4, -1))["worst"] > 0.95


@needs_nncf
def test_what_nncf_cannot_do_is_a_reason_and_is_remembered(sample, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(int8, "_quantise", refuse)
    assert int8_runtime(WEIGHTS, choice(), tmp_path, sample) == "no such operation"
    monkeypatch.undo()
    assert int8_runtime(WEIGHTS, choice(), tmp_path, sample) == "no such operation"
    with pytest.raises(
        ParamsError, match="int8` cannot be had of shufflenet_v2_x0_5: no such operation; set it to auto"
    ):
        choose_runtime(WEIGHTS, choice(), tmp_path, sample)


def test_it_is_refused_where_it_cannot_run(sample, tmp_path, monkeypatch):
    with pytest.raises(ParamsError, match=r"int8` is for OpenVINO on a CPU; set `extract.runtime: auto`"):
        choose_runtime(WEIGHTS, choice(runtime="torch"), tmp_path, sample)
    with pytest.raises(
        ParamsError, match=r"int8` is for OpenVINO on a CPU, and this is a GPU; set `extract.device: cpu`"
    ):
        choose_runtime(WEIGHTS, choice(device="cuda"), tmp_path, sample)
    monkeypatch.setattr("stages.graft.backbone.runtime_choice.gpu_present", lambda: True)
    with pytest.raises(ParamsError, match="and this is a GPU"):
        choose_runtime(WEIGHTS, choice(device="auto"), tmp_path, sample)


@pytest.mark.parametrize(
    ("asked", "extracted", "used"),
    [
        ("int8", "int8", "auto"), ("int8", "bf16", "auto"), ("int8", "fp32", "fp32"), ("int8", None, "auto"),
        ("auto", "fp32", "fp32"), ("auto", "bf16", "auto"), ("bf16", "fp32", "bf16"),
    ],
)  # fmt: skip
def test_later_stages_run_a_network_without_int8_as_extraction_did(asked, extracted, used):
    assert as_extracted(choice(precision=asked), extracted).precision == used
