"""bf16 is used only where a sample of the user's own images has the features of fp32."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.graft.backbone import runtime_choice
from stages.graft.backbone.precision_check import SAMPLE_SIZE, ImageSample, bf16_problem, cosines, sample_images
from stages.graft.backbone.runtime import Compute
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.images.preprocessing import Preprocessing
from tests.support.pictures import encoded

PREPROCESSING = Preprocessing(resize_px=8, crop_px=8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
WEIGHTS = Weights(name="any", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)


@dataclass
class Rounding:
    """A runtime whose features in bf16 are those of fp32, turned by an angle for dark images."""

    precision: str
    angle: float
    loads: list[str] = field(default_factory=list)
    num_streams = 1

    @property
    def record(self) -> dict[str, object]:
        return {"runtime": "rounding", "precision": self.precision, "batch_size": 4, "angle": self.angle}

    def load(self) -> Compute:
        self.loads.append(self.precision)

        def compute(images: np.ndarray) -> np.ndarray:
            dark = images.mean(axis=(1, 2, 3)) < 50
            angles = np.where(dark & (self.precision == "bf16"), self.angle, 0.0)
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

        return compute

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., ImageSample]:
    """Makes files of one grey each, and the sample of them."""

    def make(*greys: int) -> ImageSample:
        files = {}
        for number, grey in enumerate(greys):
            path = tmp_path / f"{number}-{grey}.png"
            path.write_bytes(encoded(Image.new("L", (8, 8), grey), "PNG"))
            files[sha256(path.name.encode()).hexdigest()] = path
        return sample_images(files, files.__getitem__)

    return make


def test_the_sample_has_the_smallest_ids_whatever_their_order():
    ids = [sha256(bytes([number])).hexdigest() for number in range(100)]
    sample = sample_images(reversed(ids), Path)
    assert sample.ids == sorted(ids)[:SAMPLE_SIZE]
    assert sample.locations == [Path(id_).absolute() for id_ in sample.ids]  # workers have other folders


def test_cosines_are_of_rows():
    found = cosines(np.array([[1.0, 0], [1, 1], [0, 0]]), np.array([[2.0, 0], [1, 0], [1, 0]]))
    assert found == {"mean": round((1 + 0.5**0.5 + 0) / 3, 6), "worst": 0.0}
    with pytest.raises(DataError, match="shape"):
        cosines(np.zeros((1, 2)), np.zeros((1, 3)))


def test_one_image_that_differs_is_enough_and_the_result_is_kept(sample, tmp_path: Path):
    runtimes = {name: Rounding(name, angle=0.2) for name in ("bf16", "fp32")}
    images = sample(*[200] * 8, 10)
    found = bf16_problem(runtimes.__getitem__, {}, PREPROCESSING, images, tmp_path / "notes")
    assert found == "in bf16 its features of a sample of the images differ (cosine 0.9978 on average, 0.9801 at worst)"
    assert bf16_problem(runtimes.__getitem__, {}, PREPROCESSING, images, tmp_path / "notes") == found
    assert runtimes["bf16"].loads == ["bf16"]
    for note in (tmp_path / "notes").glob("*.json"):
        note.write_text("{")
    assert bf16_problem(runtimes.__getitem__, {}, PREPROCESSING, images, tmp_path / "notes") == found
    assert runtimes["bf16"].loads == ["bf16"] * 2
    bright = sample(*[200] * 9)
    assert bf16_problem(runtimes.__getitem__, {}, PREPROCESSING, bright, tmp_path / "notes") is None


def test_precision_auto_falls_back_with_a_line_and_an_explicit_one_stays(sample, tmp_path, monkeypatch, capsys):
    made: list[str] = []

    def runtime(weights: object, choice: object, on_gpu: bool, folder: Path) -> Rounding:
        made.append(choice.precision)
        return Rounding("fp32" if choice.precision == "fp32" else "bf16", angle=0.2)

    monkeypatch.setattr(runtime_choice, "_runtime", runtime)
    dark, networks = sample(10, 200), tmp_path / "store" / "networks"
    assert choose_runtime(WEIGHTS, AUTOMATIC, networks, dark).record["precision"] == "fp32"
    assert capsys.readouterr().err.startswith("extract: any runs in fp32: in bf16 its features of a sample")
    assert list((tmp_path / "store/precision").iterdir())
    assert choose_runtime(WEIGHTS, AUTOMATIC, networks).record["precision"] == "bf16"
    explicit = AUTOMATIC.model_copy(update={"precision": "bf16"})
    assert choose_runtime(WEIGHTS, explicit, networks, dark).record["precision"] == "bf16"
    assert capsys.readouterr().err == ""
