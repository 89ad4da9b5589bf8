from dataclasses import replace

import pytest

from stages.graft.backbone import efficientnet_lite_networks, torchvision_networks
from stages.graft.backbone.available import NetworkName, find_available, parse_network
from stages.graft.backbone.efficientnet_lite_networks import NETWORKS
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import write_json, write_text


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A folder with one bundled network, on a machine without packages and downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    gone = {name: replace(published, file=f"not_there/{name}") for name, published in NETWORKS.items()}
    monkeypatch.setattr(efficientnet_lite_networks, "NETWORKS", gone)
    folder = tmp_path / "backbones"
    write_json({}, folder / "efficientnet_lite0.json")
    write_text("", folder / "efficientnet_lite0.safetensors")
    write_json({}, folder / "without_weights.json")
    return folder


def names(bundled):
    return [(network.name, network.weights) for network in find_available(bundled)]


def test_bundled_networks_alone(bundled):
    assert names(bundled) == [("efficientnet_lite0", "bundled")]


def test_installed_packages_but_not_the_same_weights_twice(bundled, tmp_path, monkeypatch):
    write_text("", tmp_path / "packages/lite_package/__init__.py")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    changed = dict(efficientnet_lite_networks.NETWORKS)
    for name in ("efficientnet_lite0", "efficientnet_lite2"):
        changed[name] = replace(changed[name], file="lite_package/x.pth")
    monkeypatch.setattr(efficientnet_lite_networks, "NETWORKS", changed)
    assert names(bundled) == [("efficientnet_lite0", "bundled"), ("efficientnet_lite2", "DEFAULT")]


def test_downloaded_files_once_and_only_while_they_are_there(bundled):
    for weights in ("DEFAULT", "IMAGENET1K_V1"):
        torchvision_networks.published_weights("resnet18", weights)
    write_text(
        "no JSON", store_folder() / f"weights/resnet50-DEFAULT-{torchvision_networks.version('torchvision')}.json"
    )
    assert names(bundled) == [("efficientnet_lite0", "bundled")]
    url = torchvision_networks.published_weights("resnet18", "DEFAULT").url
    write_text("", torchvision_networks.checkpoints_folder() / url.rpartition("/")[2])
    assert names(bundled)[1:] == [("resnet18", "DEFAULT")]


def test_downloaded_networks_of_timm(bundled):
    folder = store_folder() / "weights/timm--resnet10t.c3_in1k"
    write_text("", folder / "model.safetensors")
    assert names(bundled)[1:] == []  # the download was interrupted
    write_json({}, folder / "file.json")
    assert names(bundled)[1:] == [("timm:resnet10t.c3_in1k", "DEFAULT")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("efficientnet_lite0", NetworkName(name="efficientnet_lite0", weights="bundled")),
        ("efficientnet_lite0=DEFAULT", NetworkName(name="efficientnet_lite0", weights="DEFAULT")),
        ("resnet18", NetworkName(name="resnet18", weights="DEFAULT")),
        ("resnet18=IMAGENET1K_V1", NetworkName(name="resnet18", weights="IMAGENET1K_V1")),
    ],
)
def test_a_network_by_its_name(bundled, text, expected):
    network = parse_network(text, bundled)
    assert network == expected
    assert parse_network(str(network), bundled).name == network.name
