"""A row's bits depend on its image alone, not on earlier rows, on its neighbours or on interruptions."""

import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.graft.backbone import extraction
from stages.graft.backbone.extraction import extract_missing, format_extraction
from stages.graft.backbone.network import load_backbone, run_batch
from stages.graft.backbone.runtime import Compute
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.core.threads import num_cpus
from stages.graft.images.crop import decode_square
from stages.graft.images.loading import read_batch, read_image
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.feature_store import Features, FeatureStore
from tests.conftest import REPOSITORY
from tests.support.features import rows_in
from tests.support.pictures import encoded, pixels, write

CPU = torch.device("cpu")
BATCH_SIZE = 4
PREPROCESSING = Preprocessing(
    resize_px=36, crop_px=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)
WEIGHTS = Weights(name="shufflenet_v2_x0_5", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
RECORD = {"name": "test"}

Locate = Callable[[str], Path]


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    """A real network, small."""
    return load_backbone(WEIGHTS)


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Ten images, the last batch of them short."""
    return write_images(tmp_path / "images", 10)


@pytest.fixture
def locate(tmp_path: Path) -> Locate:
    return lambda id_: tmp_path / "images" / f"{id_}.png"


def write_images(folder: Path, number: int) -> list[str]:
    data = [encoded(pixels(seed, 40 + seed, 36), "PNG") for seed in range(number)]
    return [write(folder / f"{sha256(one).hexdigest()}.png", one).stem for one in data]


class NetworkRuntime:
    """A runtime around a torch network."""

    num_streams = 1
    record: ClassVar = {"batch_size": BATCH_SIZE}

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def load(self) -> Compute:
        torch.set_num_threads(1)  # as torch's own runtime does: bits depend on it
        return lambda images: run_batch(self.network, images, BATCH_SIZE, CPU)


def extract(ids: Sequence[str], locate: Locate, backbone: nn.Module, root: Path) -> tuple[int, Features]:
    """Extract into the store below `root`; give the number of rows computed, and all rows."""
    store = FeatureStore(root, RECORD)
    number = extract_missing(ids, locate, store, PREPROCESSING, NetworkRuntime(backbone))
    assert store.missing(ids) == []
    return number, rows_in(FeatureStore(root, RECORD), ids)


class Mean(nn.Module):
    """Mean colour as features, shape (n, 3, 1, 1); notes the batches' shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        return images.double().mean(dim=(1, 2))[:, :, None, None]


def test_features_are_those_of_the_network_on_the_decoded_image(ids, locate, backbone, tmp_path):
    _, rows = extract(ids, locate, backbone, tmp_path / "store")
    assert rows.dtype == np.float32
    for id_, row in zip(ids, rows, strict=True):
        image = decode_square(locate(id_).read_bytes(), PREPROCESSING)
        expected = backbone(torch.from_numpy(image.copy())[None])
        np.testing.assert_allclose(row, expected[0], rtol=1e-3, atol=1e-4)


def test_a_warm_store_gives_the_bytes_of_a_cold_one_without_building_the_network(ids, locate, backbone, tmp_path):
    number, cold = extract(ids, locate, backbone, tmp_path / "store")
    assert number == 10

    class Refusing(NetworkRuntime):
        def load(self) -> Compute:
            raise AssertionError("nothing is missing")

    store = FeatureStore(tmp_path / "store", RECORD)
    assert extract_missing(ids, locate, store, PREPROCESSING, Refusing(backbone)) == 0
    assert rows_in(store, ids).tobytes() == cold.tobytes()


def test_a_rows_bits_depend_neither_on_its_neighbours_nor_on_its_position(ids, locate, backbone, tmp_path, rng):
    _, rows = extract(ids, locate, backbone, tmp_path / "store")
    for number in range(3):
        order = rng.permutation(10)
        _, permuted = extract([ids[k] for k in order], locate, backbone, tmp_path / f"store{number}")
        assert permuted.tobytes() == rows[order].tobytes()
    _, alone = extract(ids[7:8], locate, backbone, tmp_path / "alone")
    assert alone.tobytes() == rows[7:8].tobytes()


def test_a_store_filled_in_parts_gives_the_same_bytes(ids, locate, backbone, tmp_path):
    _, rows = extract(ids, locate, backbone, tmp_path / "complete")
    numbers = [extract(part, locate, backbone, tmp_path / "parts")[0] for part in (ids[3:8], ids[:5], ids)]
    assert numbers == [5, 3, 2]
    assert rows_in(FeatureStore(tmp_path / "parts", RECORD), ids).tobytes() == rows.tobytes()


def test_only_missing_images_are_read(ids, locate, tmp_path):
    extract(ids[:6], locate, Mean(), tmp_path / "store")
    read: list[str] = []

    def noted(id_: str) -> Path:
        read.append(id_)
        return locate(id_)

    number, _ = extract(ids, noted, Mean(), tmp_path / "store")
    assert number == 4
    assert sorted(read) == sorted(ids[6:])


KILLED = """
import os, signal, sys, time
from pathlib import Path
from typing import ClassVar
from stages.graft.backbone import extraction
from tests.graft.backbone.test_extraction import *

folder, ids = Path(sys.argv[1]), sys.argv[2:]
store = FeatureStore(folder / "killed", RECORD)
extraction.MAX_BYTES_PER_FRAGMENT = 1

def locate(id_):
    if id_ == ids[-1]:
        while len(list((folder / "killed").rglob("*.safetensors"))) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return folder / "images" / f"{id_}.png"

extraction.extract_missing(ids, locate, store, PREPROCESSING, NetworkRuntime(load_backbone(WEIGHTS)))
"""


def test_a_killed_extraction_goes_on_and_ends_with_the_same_bytes(locate, backbone, tmp_path):
    ids = write_images(tmp_path / "images", 14)
    _, rows = extract(ids, locate, backbone, tmp_path / "complete")
    command = [sys.executable, "-c", KILLED, str(tmp_path), *ids]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    number, resumed = extract(ids, locate, backbone, tmp_path / "killed")
    assert number == 2  # three complete batches were stored
    assert resumed.tobytes() == rows.tobytes()


def test_a_damaged_image_loses_none_of_the_rows_before_it(ids, locate, backbone, tmp_path):
    _, rows = extract(ids, locate, backbone, tmp_path / "complete")
    content = locate(ids[-1]).read_bytes()
    locate(ids[-1]).write_bytes(content[:50])
    with pytest.raises(DataError, match=ids[-1]):
        extract(ids, locate, backbone, tmp_path / "store")
    locate(ids[-1]).write_bytes(content)
    number, repaired = extract(ids, locate, backbone, tmp_path / "store")
    assert number == 2  # the batch that held it
    assert repaired.tobytes() == rows.tobytes()


def test_fragments_are_no_larger_than_they_may_be(ids, locate, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "MAX_BYTES_PER_FRAGMENT", 8 * 3 * 4)  # two batches of three features
    extract(ids, locate, Mean(), tmp_path / "by size")
    assert len(list((tmp_path / "by size").rglob("*.safetensors"))) == 2
    monkeypatch.setattr(extraction, "MAX_SECONDS_PER_FRAGMENT", 0.0)
    extract(ids, locate, Mean(), tmp_path / "by time")
    assert len(list((tmp_path / "by time").rglob("*.safetensors"))) == 3


def test_pixels_in_memory_do_not_grow_with_the_number_of_images(locate, tmp_path, monkeypatch):
    held: list[int] = []
    alive = []

    def noted(*args):
        batch = read_batch(*args)
        alive.append(weakref.ref(batch))
        held.append(sum(ref() is not None for ref in alive))
        return batch

    monkeypatch.setattr(extraction, "read_batch", noted)
    extract(write_images(tmp_path / "images", 80), locate, Mean(), tmp_path / "store")
    assert len(held) == 20
    assert max(held) <= num_cpus() + 2


def test_every_batch_has_the_same_shape_the_last_one_too(ids, locate, tmp_path):
    mean = Mean()
    _, rows = extract(ids, locate, mean, tmp_path / "store")
    assert mean.shapes == [(4, 32, 32, 3)] * 3
    expected = [read_image(locate(id_), PREPROCESSING).mean(axis=(0, 1)) for id_ in ids]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 3, 4])
def test_a_short_batch_is_padded_and_only_its_own_rows_come_back(backbone, rng, n):
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert run_batch(backbone, images[:n], 4, CPU).tobytes() == run_batch(backbone, images, 4, CPU)[:n].tobytes()


def test_features_are_flattened_to_float32_rows(rng):
    rows = run_batch(Mean(), rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8), 4, CPU)
    assert rows.shape == (2, 3)
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "damaged or truncated"),
        (lambda path: path.write_bytes(b""), "the file has zero bytes"),
        (lambda path: path.write_bytes(b"text"), "not an image"),
    ],
    ids=["missing", "cut", "empty", "text"],
)
def test_an_image_that_cannot_be_read_is_named_by_its_path_in_one_line(ids, locate, tmp_path, damage, reason):
    damage(locate(ids[5]))
    with pytest.raises(DataError, match=reason) as caught:
        extract(ids, locate, Mean(), tmp_path / "store")
    assert str(locate(ids[5])) in str(caught.value)
    assert "dvc" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same_features(ids, locate, backbone):
    images = np.stack([read_image(locate(id_), PREPROCESSING) for id_ in ids[:4]])
    cuda = torch.device("cuda")
    expected = run_batch(backbone, images, 4, CPU)
    found = run_batch(load_backbone(WEIGHTS).to(cuda), images, 4, cuda)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


def test_large_batches_are_decoded_side_by_side_to_the_same_rows(ids, locate, backbone, tmp_path, monkeypatch):
    _, expected = extract(ids, locate, backbone, tmp_path / "small")
    monkeypatch.setattr(extraction, "MAX_IMAGES_PER_TASK", BATCH_SIZE - 1)
    number, rows = extract(ids, locate, backbone, tmp_path / "large")
    assert number == len(ids)
    assert rows.tobytes() == expected.tobytes()


def test_the_line_says_what_is_new_and_how_fast_it_was():
    assert format_extraction(900, 612, 5.1) == "900 images, 612 new, 5.1 s, 120 images/s"
    assert format_extraction(10, 10, 4.0) == "10 images, 10 new, 4.0 s, 2.5 images/s"
    assert format_extraction(900, 0, 0.1) == "900 images, none new"
