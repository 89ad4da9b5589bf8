"""Every class of file in the store, with one flipped byte: found before its use, named by verify, and made again."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stages.graft.backbone import (
    efficientnet_lite_networks,
    openvino_conversion,
    timm_networks,
    torchvision_networks,
)
from stages.graft.backbone.precision_check import bf16_problem, sample_images
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.maintenance.store_checks import damaged_files
from stages.graft.metrics.training_curve import Epoch
from stages.graft.model.bundle import _copy_weights
from stages.graft.storage import downloads
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.sealed import write_named
from stages.graft.training.activation_cache import ComputedInputs, cached
from stages.graft.training.checkpoint import TrainingState
from tests.graft.backbone.test_precision_check import Rounding
from tests.support.fuzzing import generator
from tests.support.pictures import encoded

PREPROCESSING = Preprocessing(resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
WEIGHTS = Weights(name="shufflenet_v2_x0_5", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
IDS = [f"{number:064x}" for number in range(4)]
DATA = bytes(range(256)) * 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The store's folder, as the environment has it."""
    return tmp_path / "store"


@dataclass(frozen=True)
class Use:
    """One use of the store by a process that has just started; gives what it computes, which must never change."""

    store: Path
    patch: pytest.MonkeyPatch
    scratch: Path
    made: list[str]
    """What was made or fetched, for the store lacked it."""


def features(use: Use) -> bytes:
    opened = FeatureStore(use.store, {"name": "any"})
    missing = opened.missing(IDS)
    if len(missing):
        use.made.extend(missing)
        opened.add(missing, np.array([[int(id_, 16), 1] for id_ in missing], np.float32))
    opened.pack(IDS, use.scratch / "packed", {})
    return (use.scratch / "packed").read_bytes()


def converted_network(use: Use) -> bytes:
    convert, kept = openvino_conversion._convert, use.scratch / "converted"

    def convert_or_copy(weights: Weights, made_from: object, target: Path) -> None:
        use.made.append(target.name)
        shutil.rmtree(target, ignore_errors=True)
        if kept.exists():  # a conversion takes seconds
            shutil.copytree(kept, target)
        else:
            convert(weights, made_from, target)
            shutil.copytree(target, kept)

    use.patch.setattr(openvino_conversion, "_convert", convert_or_copy)
    choice = AUTOMATIC.model_copy(update={"runtime": "openvino", "precision": "fp32", "batch_size": 1})
    runtime = choose_runtime(WEIGHTS, choice, use.store / "networks")
    use.patch.setattr(openvino_conversion, "_convert", convert)
    return runtime.load()(np.full((1, 32, 32, 3), 100, np.uint8)).tobytes()


def precision_note(use: Use) -> bytes:
    path = use.scratch / "0.png"
    path.write_bytes(encoded(Image.new("L", (8, 8), 10), "PNG"))
    runtimes = {name: Rounding(name, angle=0.2) for name in ("bf16", "fp32")}
    sample = sample_images(IDS[:1], lambda _: path)
    found = bf16_problem(runtimes.__getitem__, {}, PREPROCESSING, sample, use.store / "precision")
    use.made.extend(runtimes["bf16"].loads)
    return str(found).encode()


class Frozen(nn.Module):
    """Counts how often it is used."""

    def __init__(self, made: list[str]) -> None:
        super().__init__()
        self.made = made

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.made.append("images")
        return (images.float().mean(dim=(1, 2)),)


def activations(use: Use) -> bytes:
    picture = use.scratch / "0.png"
    picture.write_bytes(encoded(Image.new("L", (8, 8), 10), "PNG"))
    made: list[str] = []
    computed = ComputedInputs(
        locate=lambda _: picture, preprocessing=PREPROCESSING, preset="grain", seed=0, batch_size=2,
        frozen=Frozen(made), device=torch.device("cpu"), in_bf16=False,
    )  # fmt: skip
    inputs = cached(computed, {None: IDS, 0: IDS[:2], 1: IDS[:2]}, {}, use.store / "activations", 1.0)
    use.made.extend(made[1:])  # the first are of the example, for the shapes
    return torch.cat([batch[0] for batch in inputs.batches(IDS, None)]).numpy().tobytes()


def training_state(use: Use) -> bytes:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    average = torch.optim.swa_utils.AveragedModel(network)
    start = Epoch(epoch=0, train_loss=0.0, val_loss=1.0, val_accuracy=0.5)
    state = TrainingState(network, average, torch.optim.AdamW(network.parameters()), start)
    path = use.store / "finetuning" / "key.safetensors"
    state.resume(path)
    if len(state.epochs) == 1:
        use.made.append("epoch 1")
        network.bias.data += 1
        average.update_parameters(network)
        state.epochs.append(replace(start, epoch=1))
        state.save(path)
    return network.bias.detach().numpy().tobytes() + str(state.epochs).encode()


def note_on_weights(use: Use) -> bytes:
    ask = torchvision_networks._ask_torchvision
    use.patch.setattr(torchvision_networks, "_ask_torchvision", lambda *names: use.made.append("asked") or ask(*names))
    found = torchvision_networks.published_weights("resnet18", "DEFAULT")
    use.patch.setattr(torchvision_networks, "_ask_torchvision", ask)
    return str(found).encode()


def weights_from_a_hub(use: Use) -> bytes:
    def download(repository: str, path: Path) -> tuple[str, str]:
        use.made.append(repository)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
        return "https://example.com/model", sha256(DATA).hexdigest()

    use.patch.setattr(timm_networks, "_config", lambda *_: SimpleNamespace(hf_hub_id="timm/any"))
    use.patch.setattr(timm_networks, "_download", download)
    path, _ = timm_networks.find_weights("timm:any", "DEFAULT", offline=False)
    return path.read_bytes()


def weights_of_a_package(use: Use) -> bytes:
    def convert(name: str, checkpoint: Path, path: Path) -> None:
        use.made.append(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)

    checkpoint = use.scratch / "package.pth"
    checkpoint.write_bytes(DATA)
    published = efficientnet_lite_networks.Published(file="a/b", sha256=sha256(DATA).hexdigest(), input_px=32)
    use.patch.setitem(efficientnet_lite_networks.NETWORKS, "any", published)
    use.patch.setattr(efficientnet_lite_networks, "_in_package", lambda *_: checkpoint)
    use.patch.setattr(efficientnet_lite_networks, "convert", convert)
    return efficientnet_lite_networks.find_weights("any", "DEFAULT")[0].read_bytes()


def weights_for_bundles(use: Use) -> bytes:
    def write(path: Path, call: Callable[[Path], None]) -> Path:
        use.made.append(path.name)
        return write_named(path, call)

    use.patch.setattr("stages.graft.model.bundle.write_named", write)
    torch.manual_seed(0)
    _copy_weights(WEIGHTS, use.scratch / "copy")
    return (use.scratch / "copy").read_bytes()


def download(use: Use) -> bytes:
    def receive(address: str, part: Path, *_: object) -> None:
        use.made.append(address)
        part.write_bytes(DATA)

    use.patch.setattr(downloads, "_download", receive)
    return downloads.fetch("https://example.com/a.zip", sha256(DATA).hexdigest(), use.store / "downloads").read_bytes()


KINDS = (
    features,
    converted_network,
    precision_note,
    activations,
    training_state,
    note_on_weights,
    weights_from_a_hub,
    weights_of_a_package,
    weights_for_bundles,
    download,
)


def contents(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file() and not path.name.startswith("."))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_flipped_byte_is_found_before_use_named_and_made_again(
    kind: Callable[[Use], bytes], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    use = Use(store, monkeypatch, tmp_path, [])
    expected = kind(use)
    assert use.made
    rng = generator(kind.__name__)  # `FUZZ_SEED=1` flips others
    for path in contents(store):
        data = path.read_bytes()
        for position in (0, int(rng.integers(len(data))), len(data) - 1):
            use.made.clear()
            assert kind(use) == expected
            assert use.made == []
            assert list(damaged_files(store, tmp_path / "none")) == []
            flipped = bytearray(data)
            flipped[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            assert [str(path) in what for _, what in damaged_files(store, tmp_path / "none")] == [True], position
            capsys.readouterr()
            assert kind(use) == expected
            if path.name != "fingerprint.json":  # for readers: nothing is computed with it
                assert use.made
                assert str(path) in capsys.readouterr().err
            for aside in store.rglob("*.damaged"):
                aside.unlink()


def test_weights_that_an_older_version_fetched_are_kept(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They may be hard to get again; their file has the hash in the note."""
    use = Use(store, monkeypatch, tmp_path, [])
    weights_from_a_hub(use)
    note = store / "weights/timm--any/file.json"
    note.write_text(f'{{"address": "https://example.com/model", "sha256": "{sha256(DATA).hexdigest()}"}}')
    use.made.clear()
    assert weights_from_a_hub(use) == DATA
    assert use.made == []
    assert list(damaged_files(store, tmp_path / "none")) == []
