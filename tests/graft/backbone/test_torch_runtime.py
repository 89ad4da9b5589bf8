"""The torch runtime on a GPU, without OpenVINO, which such a machine need not have."""

from pathlib import Path

import numpy as np
import pytest

from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.torch_runtime import TorchRuntime
from stages.graft.backbone.weights import Weights
from stages.graft.images.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)
WEIGHTS = Weights(name="shufflenet_v2_x0_5", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_gives_nearly_the_features_of_the_cpu_and_the_same_bytes_again(
    precision: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    on_cpu = TorchRuntime(WEIGHTS, "cpu", "fp32", 4, False).load()(images)
    choice = RuntimeChoice(runtime="auto", precision=precision, device="cuda", compile=False, batch_size=4)
    runtime = choose_runtime(WEIGHTS, choice, tmp_path)
    first, again = (runtime.load()(images) for _ in range(2))
    assert isinstance(runtime, TorchRuntime)
    assert runtime.record["precision"] == precision
    assert first.tobytes() == again.tobytes()
    distance = np.linalg.norm(first - on_cpu, axis=1) / np.linalg.norm(on_cpu, axis=1)
    assert distance.max() < (1e-2 if precision == "fp32" else 5e-2)
