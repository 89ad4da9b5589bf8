"""Heat maps of the page: shown where they are trusted, and the reason where they are not."""

import base64
import io
import shutil

import pytest
from PIL import Image

from stages.graft.report.gallery import GalleryImage
from stages.graft.report.heat_layers import LONGER_PX, read_heat_layers
from stages.graft.storage.files import write_json
from stages.graft.storage.hashing import sha256_of
from tests.support.pipeline import write_split_table

FOUND = {"num_layers": 1, "num_images": 32, "num_better": 30, "is_trusted": True}


def shown(file):
    return GalleryImage(address="data:", file=file, label="x", other="x", share=0.5, notes=())


@pytest.fixture
def root(tmp_path, bundle_folder):
    """A project with the small bundle, of two images, 200 by 100 in its manifest."""
    files = sorted((bundle_folder.parent / "pictures").rglob("*.png"))[:2]
    (tmp_path / "data/images").mkdir(parents=True)
    ids = [sha256_of(path) for path in files]
    write_split_table(ids, ["a", "b"], ["", ""], tmp_path / "data/manifest.csv")
    for id_, path in zip(ids, files, strict=True):
        shutil.copyfile(path, tmp_path / f"data/images/{id_}.png")
    shutil.copytree(bundle_folder, tmp_path / "data/bundle")
    write_json(FOUND, tmp_path / "reports/explain.json")
    return tmp_path


def test_images_of_the_galleries_get_a_small_transparent_layer(root):
    layers = read_heat_layers(root, [shown("a/0 ü.png"), shown("a/0 ü.png")])
    assert list(layers.addresses) == ["a/0 ü.png"]
    kind, _, data = layers.addresses["a/0 ü.png"].partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, picture.mode, picture.size) == ("data:image/png;base64", "RGBA", (LONGER_PX, LONGER_PX // 2))
    assert "On 30 of 32 validation images" in layers.words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_trusted": False, "num_better": 17}, "on 32 validation images, 17 were better than"),
        ({"is_trusted": False, "num_images": 0}, "it was not measured whether they can be trusted"),
        ({"is_trusted": False, "num_layers": 0}, "the network gives no maps"),
    ],
)
def test_heat_maps_that_cannot_be_trusted_are_not_shown(root, changes, words):
    write_json(FOUND | changes, root / "reports/explain.json")
    layers = read_heat_layers(root, [shown("a/0 ü.png")])
    assert layers.addresses == {}
    assert layers.words.startswith("No heat maps: ")
    assert words in layers.words


def test_without_the_bundle_it_says_how_it_comes(root):
    shutil.rmtree(root / "data/bundle")
    assert read_heat_layers(root, [shown("a/0 ü.png")]).words == "Heat maps come with dvc pull; then run graft report."
