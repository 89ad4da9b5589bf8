"""Runtimes: OpenVINO's features are torch's, the same at any position in a batch, and a second start needs no torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.graft.backbone import openvino_conversion, precision_check, runtime_choice
from stages.graft.backbone.network import load_averaged, load_backbone
from stages.graft.backbone.openvino_runtime import OpenVinoRuntime
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.torch_runtime import TorchRuntime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.core.threads import in_threads
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.files import read_json
from stages.graft.storage.sealed import FILES, SEAL, write_sealed
from tests.conftest import REPOSITORY

PREPROCESSING = Preprocessing(
    resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)
WEIGHTS = Weights(name="shufflenet_v2_x0_5", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
FOUR_VIEWS = replace(WEIGHTS, views=4)


def choice(**changes: object) -> RuntimeChoice:
    settings = {"runtime": "auto", "precision": "fp32", "device": "cpu", "compile": False, "batch_size": 4}
    return RuntimeChoice(**settings | changes)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the network has been converted."""
    folder = tmp_path_factory.mktemp("networks")
    choose_runtime(WEIGHTS, choice(), folder)
    return folder


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_features_are_those_of_the_network(networks, images, runtime):
    expected = load_backbone(WEIGHTS)(torch.from_numpy(images)).detach().numpy()
    found = choose_runtime(WEIGHTS, choice(runtime=runtime), networks).load()(images)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_every_runtime_averages_the_views(networks, images, runtime):
    expected = load_averaged(FOUR_VIEWS)(torch.from_numpy(images)).detach().numpy()
    one, four = (choose_runtime(w, choice(runtime=runtime), networks).load()(images) for w in (WEIGHTS, FOUR_VIEWS))
    scale = np.abs(expected).max()
    assert np.abs(one - expected).max() > 0.1 * scale
    np.testing.assert_allclose(four / scale, expected / scale, atol=1e-3)


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rows_bits_depend_neither_on_position_and_neighbours_nor_on_what_runs_beside_it(
    networks, images, runtime, precision
):
    compute = choose_runtime(WEIGHTS, choice(runtime=runtime, precision=precision), networks).load()
    rows = compute(images)
    for found in in_threads(compute, [images] * 12, num_threads=4):
        assert found.tobytes() == rows.tobytes()
    assert compute(images[::-1].copy())[::-1].tobytes() == rows.tobytes()
    padded = np.concatenate([images[:1], np.zeros_like(images[1:])])
    assert compute(padded)[0].tobytes() == rows[0].tobytes()


def test_bf16_features_stay_near_those_of_fp32(networks, images):
    exact = choose_runtime(WEIGHTS, choice(), networks).load()(images)
    near = choose_runtime(WEIGHTS, choice(precision="bf16"), networks).load()(images)
    cosine = (exact * near).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    assert cosine.min() >= precision_check.BF16_LIMITS.worst


def test_on_a_cpu_openvino_is_the_default_and_a_second_start_imports_no_torch(networks):
    assert isinstance(choose_runtime(WEIGHTS, choice(), networks), OpenVinoRuntime)
    script = f"""
import sys
import numpy as np
from dataclasses import replace
from pathlib import Path
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import Weights
runtime = choose_runtime({WEIGHTS!r}, {choice()!r}, Path({str(networks)!r}))
print(runtime.load()(np.zeros((4, 32, 32, 3), np.uint8)).shape)
assert "torch" not in sys.modules and "openvino_telemetry.main" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "(4, 1024)\n", done.stderr
    assert done.stderr == ""


def test_the_record_is_json_and_tells_apart_what_can_change_a_bit(networks):
    chosen = [
        choose_runtime(WEIGHTS, changed, networks).record
        for changed in (choice(), choice(batch_size=8), choice(precision="bf16"), choice(runtime="torch"))
    ]
    assert len({json.dumps(record, sort_keys=True) for record in chosen}) == 4
    assert choose_runtime(WEIGHTS, choice(), networks).record == chosen[0]
    assert choose_runtime(WEIGHTS, choice(batch_size=None), networks).record["batch_size"] == runtime_choice.CPU_BATCH


def test_a_network_that_openvino_cannot_convert_runs_on_torch_with_one_line(tmp_path, monkeypatch, capsys):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no rule for\naten::strange")

    monkeypatch.setattr(openvino_conversion.openvino, "convert_model", refuse)
    assert isinstance(choose_runtime(WEIGHTS, choice(), tmp_path), TorchRuntime)
    monkeypatch.undo()
    capsys.readouterr()
    assert isinstance(choose_runtime(WEIGHTS, choice(), tmp_path), TorchRuntime)  # remembered
    assert capsys.readouterr().err == (
        "extract: shufflenet_v2_x0_5 runs on torch, since OpenVINO falls short: no rule for aten::strange\n"
    )
    with pytest.raises(ParamsError, match=r"`extract.runtime: openvino` cannot run shufflenet_v2_x0_5: no rule"):
        choose_runtime(WEIGHTS, choice(runtime="openvino"), tmp_path)


def test_bf16_that_changes_the_features_is_left_for_fp32_and_fp32_for_torch(tmp_path, monkeypatch, capsys):
    network = converted(tmp_path)
    monkeypatch.setattr(openvino_conversion, "computes_in_bf16", lambda: True)
    set_cosine(network, bf16={"mean": 0.9995, "worst": 0.99}, fp32={"mean": 1.0, "worst": 1.0})
    assert choose_runtime(WEIGHTS, choice(precision="auto"), tmp_path).record["precision"] == "fp32"
    assert "runs in fp32: in bf16 its features differ (cosine 0.9900)" in capsys.readouterr().err
    set_cosine(network, bf16={"mean": 0.9995, "worst": 0.996}, fp32={"mean": 1.0, "worst": 1.0})
    assert choose_runtime(WEIGHTS, choice(precision="auto"), tmp_path).record["precision"] == "bf16"
    set_cosine(network, bf16={"mean": 0.9, "worst": 0.9}, fp32={"mean": 0.9, "worst": 0.9})
    assert isinstance(choose_runtime(WEIGHTS, choice(precision="auto"), tmp_path), TorchRuntime)


def converted(folder: Path) -> Path:
    choose_runtime(WEIGHTS, choice(), folder)
    (network,) = folder.glob("[!.]*")
    return network


def set_cosine(network: Path, **cosine: dict[str, float]) -> None:
    record = read_json(network / "network.json")
    del record[SEAL]
    write_sealed(record | {"cosine": cosine}, network / "network.json", record[FILES])


def test_a_damaged_converted_network_is_named_and_converted_again(tmp_path, capsys):
    network = converted(tmp_path)
    content = (network / "network.bin").read_bytes()
    (network / "network.bin").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    choose_runtime(WEIGHTS, choice(), tmp_path).load()
    assert "network.bin is missing or damaged; it is made or fetched again" in capsys.readouterr().err
    assert (network / "network.bin").read_bytes() == content


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_and_one_for_openvino_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"`extract.device` is cuda, but torch finds no GPU"):
        choose_runtime(WEIGHTS, choice(device="cuda"), tmp_path)
    with pytest.raises(ParamsError, match="runs on the CPU"):
        choose_runtime(WEIGHTS, choice(device="cuda", runtime="openvino"), tmp_path)
