"""int8 is used only where the features and a head's accuracy stay; test images take no part in it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.graft.backbone.precision_check import ImageSample, calibration_images
from stages.graft.backbone.runtime_choice import ExtractParams
from stages.graft.backbone.weights import Weights
from stages.graft.compute import int8_check, precision
from stages.graft.compute.int8_check import Candidate, check_int8, head_accuracy, labelled_images
from stages.graft.compute.precision import settle_precision
from stages.graft.core.errors import ParamsError
from stages.graft.data.image_locations import ImageLocations
from stages.graft.data.splits import extend_table
from stages.graft.heads.features import FeatureSet
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.files import write_json
from tests.support.features import ids_of
from tests.support.pipeline import write_split_table

PREPROCESSING = Preprocessing(resize_px=8, crop_px=8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
WEIGHTS = Weights(name="any", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
CHOICE = ExtractParams(runtime="auto", precision="int8", device="cpu", compile=False, batch_size=4)

GREYS = {"dark": 60, "light": 190}
SIDES = ("train", "train", "val", "test")


@dataclass
class Greys:
    """A runtime whose features are grey and a constant; in int8 they are turned by an angle, and grey may be lost."""

    precision: str
    angle: float = 0.0
    loses: bool = False
    num_streams = 1
    record: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.record = {"precision": self.precision, "batch_size": 4, "angle": self.angle, "loses": self.loses}

    def load(self):
        def compute(images):
            grey = images.mean(axis=(1, 2, 3)) / 255 - 0.5
            if self.precision != "int8":
                return np.stack([grey, 1 + 0 * grey], axis=1).astype(np.float32)
            seen = 0.01 * np.sin(1000 * grey) if self.loses else grey
            angles = np.arctan2(1, seen) + self.angle
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

        return compute


@pytest.fixture
def images(tmp_path, rng):
    """Eighty images of two classes; give their locations and the splits table."""
    ids, labels = ids_of(80), [list(GREYS)[number % 2] for number in range(80)]
    (tmp_path / "images").mkdir()
    for id_, label in zip(ids, labels, strict=True):
        shade = GREYS[label] + int(rng.integers(-40, 41))
        Image.new("RGB", (8, 8), (shade,) * 3).save(tmp_path / "images" / f"{id_}.png")
    splits = tmp_path / "splits.csv"
    write_split_table(ids, labels, [SIDES[number // 2 % 4] for number in range(80)], splits)
    extend_table(splits, splits, duplicates=pd.Series([""] * 80))
    table = pd.DataFrame({"id": ids, "format": "PNG", "mode": "RGB"})
    return ImageLocations(table, tmp_path / "images"), splits


@pytest.fixture
def check(images, tmp_path, monkeypatch):
    """Check a network with this int8 against the same in bf16."""

    def run(**int8: Any) -> tuple[bool, str]:
        locate, splits = images
        monkeypatch.setattr(int8_check, "int8_runtime", lambda *_: Greys("int8", **int8))
        monkeypatch.setattr(
            int8_check,
            "choose_runtime",
            lambda _, choice, *__: (
                Greys("int8", **int8)
                if choice.precision == "int8"
                else Greys("bf16" if choice.precision == "auto" else "fp32")
            ),
        )
        calibration = calibration_images(locate.ids, locate, [])
        candidate = Candidate(
            weights=WEIGHTS, choice=CHOICE, locate=locate, calibration=calibration, networks=tmp_path / "store/networks"
        )
        return check_int8(candidate, splits)

    return run


def test_the_same_features_pass_and_the_line_says_what_was_found(check):
    assert check() == (
        True,
        "cross-validated on 60 training and validation images, a head finds 100.0%, in bf16 100.0%; cosine 1.0000 on "
        "average, 1.0000 at worst",
    )


def test_features_that_differ_are_enough_to_refuse_it(check):
    is_good, found = check(angle=0.2)
    assert not is_good
    assert found == "its features of a sample of the images differ (cosine 0.9801 on average, 0.9801 at worst)"


def test_a_head_that_loses_accuracy_refuses_it_though_the_features_agree(check, monkeypatch):
    monkeypatch.setattr(int8_check, "INT8_LIMITS", type(int8_check.INT8_LIMITS)(mean=0.9, worst=0.8))
    is_good, found = check(loses=True)
    assert not is_good
    assert found.startswith("cross-validated on 60 training and validation images, a head finds ")
    assert ", in bf16 100.0%; cosine 0.9" in found


def test_test_images_are_not_scored_and_their_labels_do_not_count(check, images):
    _, splits = images
    before = check()
    table = pd.read_csv(splits, dtype=str, keep_default_na=False)
    table.loc[table["split"] == "test", "label"] = "unheard of"
    table.to_csv(splits, index=False)
    assert check() == before
    chosen = labelled_images(splits)
    assert chosen is not None
    assert set(chosen.ids) == set(table["id"][table["split"] != "test"])


def test_too_few_labels_refuse_it_and_a_class_of_one_image_does_not(check, images):
    _, splits = images
    table = pd.read_csv(splits, dtype=str, keep_default_na=False)
    table.loc[0, "label"] = "rare"
    table.to_csv(splits, index=False)
    assert check()[0]
    table[table["label"] == "dark"].to_csv(splits, index=False)
    assert check() == (False, "there are too few labelled images to check it on")


def test_near_duplicates_are_in_one_fold():
    """Labels by lot, each image there twice: a head that saw the copy would know the label."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(60, 80)), 2, axis=0).astype(np.float32)
    y = np.repeat(rng.integers(0, 2, 60), 2)
    groups = tuple(str(number // 2) for number in range(120))
    copies = FeatureSet(ids=ids_of(120), x=x, y=y, classes=("a", "b"), groups=groups)
    alone = FeatureSet(ids=copies.ids, x=x, y=y, classes=("a", "b"), groups=("",) * 120)
    assert head_accuracy(copies, x) < 0.7 < head_accuracy(alone, x)


def test_the_calibration_keeps_its_images_as_long_as_they_are_there(images):
    locate, _ = images
    ids = [*locate.ids]
    first = calibration_images(ids[:40], locate, [])
    assert first.ids == sorted(ids[:40])[10:]  # a quarter of a small set is left for the check
    assert calibration_images(ids, locate, first.ids).ids == first.ids
    assert calibration_images(ids, locate, [*first.ids, "f" * 64]).ids == sorted(ids)[20:]


def test_features_are_compared_on_images_that_the_network_was_not_calibrated_on(check, images, monkeypatch):
    compared = []

    def sample_cosine(_: object, __: object, ___: object, sample: ImageSample, ____: object) -> dict[str, float]:
        compared.extend(sample.ids)
        return {"mean": 1.0, "worst": 1.0}

    monkeypatch.setattr(int8_check, "sample_cosine", sample_cosine)
    assert check()[0]
    assert compared == sorted(images[0].ids)[:20]  # 60 of the 80 are for the calibration


@pytest.fixture
def settle(images, project, monkeypatch):
    def run(is_good: bool = True, precision_asked: str = "int8", **compute: object):
        locate, splits = images
        folder = project(compute=compute)
        monkeypatch.setattr(int8_check, "check_int8", lambda *_: (is_good, "what was found"))
        choice = CHOICE.model_copy(update={"precision": precision_asked})
        return settle_precision(WEIGHTS, choice, locate, splits, folder / "extract.json")

    return run


def test_a_line_says_what_was_found_and_precision_auto_takes_the_place_of_int8(settle, capsys):
    passed = settle()
    assert capsys.readouterr().err == "extract: any runs in int8: what was found\n"
    assert (passed.choice.precision, list(passed.calibrated_on)) == ("int8", list(passed.sample.ids))
    failed = settle(is_good=False)
    assert capsys.readouterr().err == "extract: any does not run in int8: what was found\n"
    assert failed.choice.precision == "auto"
    assert failed.report_record() == passed.report_record() == passed.features_record() != {}
    asked_for_bf16 = settle(precision_asked="bf16")
    assert (asked_for_bf16.choice.precision, asked_for_bf16.report_record()) == ("bf16", {})
    assert (asked_for_bf16.sample, asked_for_bf16.features_record()) == (failed.sample, failed.features_record())


def test_the_last_report_says_what_int8_was_calibrated_on(settle, project):
    first = settle()
    chosen = list(first.calibrated_on)[:5]
    write_json({precision.CALIBRATED_ON: chosen}, project() / "extract.json")
    assert list(settle().calibrated_on) == chosen


def test_on_a_cluster_it_is_refused(settle):
    with pytest.raises(ParamsError, match=r"int8` is for one machine; set `compute.engine: local`, or it to auto"):
        settle(engine="ray")
