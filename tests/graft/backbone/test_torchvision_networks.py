"""torchvision's networks lose their output layer; weights come from a real server and are checked by their hash."""

import io
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from stages.graft.backbone.network import NormalisedNetwork, load_network
from stages.graft.backbone.torchvision_networks import (
    build,
    checkpoints_folder,
    cut_output,
    output_layer,
    preprocessing,
)
from stages.graft.backbone.torchvision_networks import find_weights as find_published
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.errors import ParamsError, WeightsError
from stages.graft.images.decode import decode, resize_and_crop
from tests.conftest import REPOSITORY
from tests.support.pictures import encoded
from tests.support.servers import Site, serving

NAME, WEIGHTS = "shufflenet_v2_x0_5", "IMAGENET1K_V1"
DATA = np.random.default_rng(0).bytes(50_000)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A web server on this machine, from which torchvision fetches the network's weights into a cache of its own."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with serving(DATA) as server:
        offer(server, monkeypatch, DATA)
        yield server


def offer(site: Site, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Serve the bytes under the name torchvision would give them."""
    site.data = data
    url = site.address(f"models/{NAME}-{sha256(data).hexdigest()[:8]}.pth")
    member = torchvision.models.get_model_weights(NAME)[WEIGHTS]
    monkeypatch.setattr(member.value, "url", url)


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """Where torchvision itself would keep the file."""
    return tmp_path / "torch" / "hub" / "checkpoints" / f"{NAME}-{sha256(DATA).hexdigest()[:8]}.pth"


@pytest.mark.parametrize(
    ("name", "layer", "num_features", "size_px"),
    [
        ("regnet_x_400mf", "fc", 400, 32),
        ("resnet18", "fc", 512, 32),
        ("shufflenet_v2_x0_5", "fc", 1024, 32),
        ("mobilenet_v3_small", "classifier.3", 1024, 32),
        ("squeezenet1_1", "classifier.1", 512, 64),
        ("mnasnet0_5", "classifier.1", 1280, 32),
        ("efficientnet_b0", "classifier.1", 1280, 32),
        ("densenet121", "classifier", 1024, 32),
        ("googlenet", "fc", 1024, 64),
    ],
)
def test_the_output_layer_is_cut_off(name: str, layer: str, num_features: int, size_px: int):
    network = build(name, 10).eval()
    assert output_layer(network) == layer
    with torch.inference_mode():
        features = cut_output(network)(torch.zeros(2, 3, size_px, size_px))
    assert features.shape == (2, num_features)


def test_vgg19_gives_the_4096_features_before_its_output_layer():
    with torch.device("meta"):  # shapes alone: its weights would fill half a gigabyte
        network = cut_output(build("vgg19", 1000)).eval()
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 4096)


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(ParamsError, match="resnet18"):
        build("resnet_18", 10)


def params(**changes: object) -> BackboneParams:
    return BackboneParams(**{"name": NAME, "weights": WEIGHTS, "sha256": None, "input_px": None} | changes)


def refused() -> str:
    with pytest.raises(WeightsError) as caught:
        find_published(NAME, WEIGHTS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_fetched_once_into_torchs_own_folder(site: Site, cached: Path):
    assert find_published(NAME, WEIGHTS) == (cached, sha256(DATA).hexdigest())
    assert cached.read_bytes() == DATA
    assert find_published(NAME, "DEFAULT") == (cached, sha256(DATA).hexdigest())
    assert site.num_asked == 1


def test_a_file_already_in_the_folder_is_used_without_a_connection(site: Site, cached: Path):
    cached.parent.mkdir(parents=True)
    cached.write_bytes(DATA)
    assert find_published(NAME, WEIGHTS)[0] == cached
    assert site.num_asked == 0


@pytest.mark.parametrize("flaw", ["404", "chunked", "other", "silent", "garbage"])
def test_a_failed_download_says_what_to_put_where_and_leaves_nothing(site: Site, cached: Path, flaw: str):
    site.flaw = flaw
    message = refused()
    assert message.startswith(f"{cached.name} (5 MB) cannot be downloaded (")
    assert f"put it into {cached.parent}" in message
    assert "`backbone.weights`" in message
    assert {path.suffix for path in cached.parent.iterdir()} <= {".part"}  # no incomplete file has the final name
    assert site.address(f"models/{cached.name}") in message
    site.flaw = ""
    assert find_published(NAME, WEIGHTS)[0] == cached


def test_another_file_under_its_name_is_not_kept_and_the_message_says_so(site: Site, cached: Path):
    site.flaw = "other"
    found, prefix = sha256(DATA[::-1]).hexdigest(), cached.stem.rpartition("-")[2]
    assert f"has SHA-256 {found}, expected {prefix}…; it is not kept" in refused()
    assert list(cached.parent.iterdir()) == []


def test_a_file_cut_short_is_gone_on_with_at_once(site: Site, cached: Path):
    site.breaks_off_after = 20_000
    assert find_published(NAME, WEIGHTS) == (cached, sha256(DATA).hexdigest())
    assert site.ranges == [None, "bytes=20000-", "bytes=40000-"]


def test_a_file_that_is_always_cut_short_ends_in_the_message_and_is_kept_for_later(site: Site, cached: Path):
    site.breaks_off_after, site.takes_ranges = 1000, False
    assert "broke off after 1000 of 50000 bytes); 1000 bytes are kept, run again to go on" in refused()
    site.breaks_off_after = None
    assert find_published(NAME, WEIGHTS)[0] == cached


def test_the_folder_is_the_one_torch_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    for name, value in (("XDG_CACHE_HOME", str(tmp_path)), ("TORCH_HOME", "~/elsewhere")):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.setenv(name, value)
        assert checkpoints_folder() == Path(torch.hub.get_dir()) / "checkpoints"


def test_without_a_server_the_message_is_the_same(site: Site, cached: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    member = torchvision.models.get_model_weights(NAME)[WEIGHTS]
    monkeypatch.setattr(member.value, "url", f"http://127.0.0.1:{port}/{cached.name}")
    message = refused()
    assert "refused" in message
    assert f"put it into {cached.parent}" in message


def test_a_server_that_does_not_answer_ends_within_five_seconds(site: Site, cached: Path):
    site.flaw = "deaf"
    start = time.monotonic()
    assert "no answer within 4 seconds" in refused()
    assert time.monotonic() - start < 5
    site.released.set()


def test_a_download_that_broke_off_goes_on_where_it_stopped(site: Site, cached: Path):
    cached.parent.mkdir(parents=True)
    cached.with_name(f"{cached.name}.part").write_bytes(DATA[:20_000])
    assert find_published(NAME, WEIGHTS)[0] == cached
    assert site.ranges == ["bytes=20000-"]


def test_offline_no_connection_is_opened_and_the_message_says_why(site: Site, cached: Path):
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(`backbone.offline` is true; it is at http://127"):
        find_published(NAME, WEIGHTS, offline=True)
    assert site.num_asked == 0
    cached.parent.mkdir(parents=True)
    cached.write_bytes(DATA)
    assert find_published(NAME, WEIGHTS, offline=True)[0] == cached


SECOND_START = """
import sys
from pathlib import Path
from stages.graft.backbone.weights import BackboneParams, find_weights
for name, weights in (("shufflenet_v2_x0_5", "IMAGENET1K_V1"), ("shufflenet_v2_x0_5", "random")):
    found = find_weights(BackboneParams(name=name, weights=weights, sha256=None, input_px=None), Path("data/backbones"))
assert "torch" not in sys.modules and "torchvision" not in sys.modules
print(found.preprocessing.resize_px)
"""


def test_a_second_start_finds_weights_and_transforms_without_torch(site: Site, cached: Path):
    find_published(NAME, WEIGHTS)
    preprocessing(NAME)
    done = subprocess.run([sys.executable, "-c", SECOND_START], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "256\n", done.stderr
    assert site.num_asked == 1


@pytest.mark.parametrize("damage", ["{", "", "[]", '{"url": 5, "megabytes": "x", "preprocessing": {}}'])
def test_a_damaged_record_of_published_weights_is_written_again(tmp_path: Path, damage: str):
    expected = preprocessing("resnet50")
    (note,) = (tmp_path / "store" / "weights").iterdir()
    note.write_text(damage)
    assert preprocessing("resnet50") == expected
    assert len(note.read_text()) > 100


@pytest.mark.parametrize("content", [b"", DATA[:-1], DATA[::-1]], ids=["empty", "cut", "other"])
def test_a_damaged_file_in_the_cache_is_noticed(site: Site, cached: Path, content: bytes):
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    message = refused()
    assert message.startswith(f"{cached} is damaged")
    assert "delete it" in message
    assert site.num_asked == 0


def test_fetched_weights_end_in_a_network_that_computes_what_they_say(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    network = build(NAME, 7).eval()
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    offer(site, monkeypatch, buffer.getvalue())
    weights = find_weights(params(input_px=32), tmp_path)
    assert weights.sha256 == sha256(buffer.getvalue()).hexdigest()
    assert (weights.preprocessing.resize_px, weights.preprocessing.crop_px) == (37, 32)
    assert weights.to_record()["weights"] == WEIGHTS
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(load_network(weights)(x), network(x))


def test_fetched_bytes_that_are_no_checkpoint_are_refused(site: Site, tmp_path: Path):
    weights = find_weights(params(), tmp_path)
    with pytest.raises(WeightsError, match="cannot be read as tensors alone") as caught:
        load_network(weights)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ParamsError, match=r"no network 'shufflenet'; nearest: .*shufflenet_v2_x1_0"):
        find_published("shufflenet", WEIGHTS)
    with pytest.raises(ParamsError, match=r"one of DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2; got 'IMAGENET1K_V3'"):
        find_published("resnet50", "IMAGENET1K_V3")


ENUMS = {
    name: torchvision.models.get_model_weights(name)
    for name in torchvision.models.list_models(module=torchvision.models)
}


def test_every_published_file_is_named_after_its_hash():
    urls = [member.url for enum in ENUMS.values() for member in enum]
    assert len(urls) > 100
    assert [url for url in urls if not re.search(r"/[^/]+-[0-9a-f]{8,}\.pth$", url)] == []


def test_every_published_transform_is_read():
    for name, enum in ENUMS.items():
        for member in enum:
            found = preprocessing(name, member.name)
            assert 0 < found.crop_px <= found.resize_px, (name, member)
            assert found.interpolation in ("bilinear", "bicubic")


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("vgg19", "IMAGENET1K_V1", (256, 224, "bilinear")),
        ("resnet50", "IMAGENET1K_V2", (232, 224, "bilinear")),
        ("inception_v3", "DEFAULT", (342, 299, "bilinear")),
        ("swin_t", "DEFAULT", (232, 224, "bicubic")),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", (384, 384, "bicubic")),
    ],
)
def test_the_transforms_are_the_published_ones(name: str, weights: str, expected: tuple[int, int, str]):
    found = preprocessing(name, weights)
    assert (found.resize_px, found.crop_px, found.interpolation) == expected
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_random_weights_take_the_transforms_of_the_best_ones(tmp_path: Path):
    random = find_weights(params(name="resnet50", weights="random"), tmp_path)
    assert random.preprocessing == preprocessing("resnet50", "DEFAULT")
    assert preprocessing("resnet50", "IMAGENET1K_V1") != preprocessing("resnet50", "DEFAULT")


@pytest.mark.parametrize("name", ["vgg19", "resnet50", "inception_v3", "regnet_x_400mf", "swin_t", "vit_b_16"])
@pytest.mark.parametrize("size", [(300, 400), (640, 200), (150, 150)], ids=["tall", "wide", "small"])
def test_images_are_prepared_as_torchvision_prepares_them(name: str, size: tuple[int, int]):
    image = decode(encoded(scene(*size), "PNG"))
    p = preprocessing(name, "DEFAULT")
    ours = NormalisedNetwork(torch.nn.Identity(), p)(
        torch.from_numpy(resize_and_crop(image, p.resize_px, p.crop_px, p.interpolation).copy())[None]
    )
    theirs = ENUMS[name].DEFAULT.transforms()(image)
    assert ours[0].shape == theirs.shape
    # They cut at whole pixels after resizing, we at the exact position before: at most half a pixel apart.
    assert (ours[0] - theirs).abs().mean() < 0.025  # about one and a half of 255 grey levels


def scene(width: int, height: int) -> Image.Image:
    """Smooth colours with an edge and a little noise, as in a photo."""
    y, x = np.mgrid[:height, :width]
    smooth = 127 + 60 * np.stack([np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 31)], axis=2)
    edge = 60 * (x > width // 3)[..., None]
    noise = np.random.default_rng(0).normal(0, 2, smooth.shape)
    return Image.fromarray((smooth + edge + noise).clip(0, 255).astype(np.uint8))
