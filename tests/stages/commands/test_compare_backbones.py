"""graft compare-backbones: networks by cross-validation on training and validation images; test is never looked at."""

from hashlib import sha256

import numpy as np
import pandas as pd
import pytest

from stages.commands import compare_backbones
from stages.graft.data.manifest import ManifestRow, write_manifest
from stages.graft.heads.features import FeatureSet
from tests.support.bundles import CLASSES, SHADES, SMALL_NETWORK, picture, write_small_network
from tests.support.commands import graft
from tests.support.pictures import encoded, write

RANDOM = f"{SMALL_NETWORK}=random"


@pytest.fixture
def published(monkeypatch):
    """Tables that tracking was given; it has tests of its own."""
    tables = []
    monkeypatch.setattr(compare_backbones, "publish_comparison", lambda table, files: tables.append(table))
    return tables


@pytest.fixture
def images(project, published):
    """A project with pictures of three greys, of which the test images cannot be read."""
    folder = project(backbone={"name": SMALL_NETWORK, "weights": "bundled"}, extract={"runtime": "torch"})
    rows = []
    for label, shade in zip(CLASSES, SHADES, strict=True):
        for number in range(8):
            split = ("train", "train", "train", "val", "test")[number % 5]
            data = encoded(picture(shade, number), "PNG") if split != "test" else f"no image {label} {number}".encode()
            id_ = sha256(data).hexdigest()
            write(folder / f"data/images/{id_}.png", data)
            group = f"{label} pair" if number in (0, 1) else ""
            plain = {"width": 48, "height": 48, "format": "PNG", "mode": "L"}
            rows.append(
                ManifestRow(id=id_, file=f"{label}/{number}.png", label=label, group=group, split=split, **plain)
            )
    write_manifest(rows, folder / "data/splits.csv")
    write_small_network(folder / "data/backbones")
    return folder


def test_the_table_the_figure_and_what_to_set(images, published, capsys, monkeypatch):
    seconds = iter([2.0, 1.0])
    monkeypatch.setattr(compare_backbones, "measure_seconds", lambda *_: next(seconds))
    graft("compare-backbones", SMALL_NETWORK, RANDOM)
    table = pd.read_csv(images / "reports/compare_backbones.csv")
    assert set(table["weights"]) == {"bundled", "random"}
    assert set(table["num_images"]) == {21}  # all but the test images, which are no images at all
    assert table["accuracy"].is_monotonic_decreasing
    assert table["could_be_best"].to_list()[0]
    assert (images / "reports/compare_backbones.png").stat().st_size > 5000
    pd.testing.assert_frame_equal(published[0], table, check_dtype=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "compare-backbones: 21 training and validation images, 5-fold; test is not used"
    assert len(said) == 4
    chosen = compare_backbones.choose_network(table)
    assert f"set `backbone.name: {SMALL_NETWORK}` and `backbone.weights: {chosen['weights']}` in params" in said[-1]


def test_the_same_images_give_the_same_table_from_the_store(images, monkeypatch):
    monkeypatch.setattr(compare_backbones, "measure_seconds", lambda *_: 1.0)
    graft("compare-backbones", SMALL_NETWORK, RANDOM)
    first = (images / "reports/compare_backbones.csv").read_bytes()
    for path in (images / "data/images").iterdir():
        path.unlink()
    graft("compare-backbones", SMALL_NETWORK, RANDOM)
    assert (images / "reports/compare_backbones.csv").read_bytes() == first


def test_time_is_measured_on_this_machine(images):
    pictures = compare_backbones.read_images()
    assert isinstance(pictures, FeatureSet)
    weights = compare_backbones.weights_of(compare_backbones.parse_network(SMALL_NETWORK, images / "data/backbones"))
    locate = compare_backbones.image_locations(images / "data/splits.csv", images / "data/images")
    choice = compare_backbones.load_params("extract", compare_backbones.ExtractParams)
    extraction = compare_backbones.Extraction(ids=pictures.ids, locate=locate, choice=choice)
    assert 0 < compare_backbones.measure_seconds(weights, extraction) < 1000


def test_without_splits_one_line_says_what_to_run(project):
    project()
    with pytest.raises(SystemExit, match=r"data/splits.csv does not exist: run `dvc repro split` first$"):
        graft("compare-backbones")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((SMALL_NETWORK,), "two networks are needed for a comparison, got shufflenet_v2_x0_5"),
        ((SMALL_NETWORK, "efficientnet_lite7"), "there is no network 'efficientnet_lite7'"),
        ((SMALL_NETWORK, f"{SMALL_NETWORK}=IMAGENET1K_V7"), "IMAGENET1K_V7"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(images, names, message):
    with pytest.raises(SystemExit, match=message) as stop:
        graft("compare-backbones", *names)
    assert "\n" not in str(stop.value)
    assert not (images / "reports").exists()


def test_the_network_of_params_yaml_has_its_own_layers(images, project):
    project(backbone={"name": SMALL_NETWORK, "weights": "bundled", "layer": "conv5"})
    here = compare_backbones.parse_network(SMALL_NETWORK, images / "data/backbones")
    other = compare_backbones.parse_network(RANDOM, images / "data/backbones")
    assert compare_backbones.weights_of(here).layers == ("conv5",)
    assert compare_backbones.weights_of(other).layers == ("penultimate",)


def test_many_images_are_thinned_out_class_by_class(images, monkeypatch):
    monkeypatch.setattr(compare_backbones, "MAX_IMAGES", 9)
    pictures = compare_backbones.read_images()
    assert np.bincount(pictures.y).tolist() == [3, 3, 3]
    assert len(pictures.groups) == 9
