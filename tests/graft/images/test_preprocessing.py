"""Preprocessing: survives JSON, follows another input size, and knows what the network does not see."""

import json
from dataclasses import FrozenInstanceError, asdict, fields, replace

import numpy as np
import pytest

from stages.graft.images.preprocessing import Preprocessing, choose_fit, preprocessing_from, resized, seen_share

PREPROCESSING = Preprocessing(
    resize_px=256, crop_px=224, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def test_it_comes_back_from_json():
    again = preprocessing_from(json.loads(json.dumps(asdict(PREPROCESSING))))
    assert again == PREPROCESSING
    assert hash(again) == hash(PREPROCESSING)


def test_another_input_size_keeps_the_part_of_the_image_that_is_seen():
    smaller = resized(PREPROCESSING, 112)
    assert (smaller.resize_px, smaller.crop_px) == (128, 112)
    assert resized(smaller, 224) == PREPROCESSING
    assert (smaller.interpolation, smaller.mean, smaller.std) == ("bicubic", PREPROCESSING.mean, PREPROCESSING.std)


@pytest.mark.parametrize("input_px", [32, 33, 97, 225, 1000])
def test_the_crop_always_fits_into_the_resized_image(input_px: int):
    preprocessing = resized(PREPROCESSING, input_px)
    assert preprocessing.crop_px == input_px <= preprocessing.resize_px


def test_no_size_and_its_own_size_change_nothing():
    assert resized(PREPROCESSING, None) is PREPROCESSING
    assert resized(PREPROCESSING, 224) == PREPROCESSING


def test_it_cannot_change():
    with pytest.raises(FrozenInstanceError):
        PREPROCESSING.crop_px = 1  # type: ignore[misc]


def test_a_record_of_a_crop_is_as_it_was_before_there_were_other_fits():
    record = PREPROCESSING.to_record()
    assert list(record) == ["resize_px", "crop_px", "interpolation", "mean", "std"]
    assert preprocessing_from(json.loads(json.dumps(record))) == PREPROCESSING


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_record_of_another_fit_names_it(fit):
    other = replace(PREPROCESSING, fit=fit)
    assert other.to_record().keys() == PREPROCESSING.to_record().keys() | {"fit"}
    assert preprocessing_from(json.loads(json.dumps(other.to_record()))) == other


def test_a_record_has_a_white_level_only_when_one_is_set():
    other = replace(PREPROCESSING, white_level=4095.0, fit="pad")
    assert list(other.to_record()) == [field.name for field in fields(Preprocessing)]
    assert preprocessing_from(json.loads(json.dumps(other.to_record()))) == other


def test_the_share_that_is_seen_is_the_mean_over_images():
    no_margin = resized(replace(PREPROCESSING, resize_px=224), 64)
    widths, heights = np.array([400, 64, 50]), np.array([64, 400, 50])
    assert seen_share(no_margin, widths[:1], heights[:1]) == pytest.approx(64 * 64 / (400 * 64))  # 16%
    assert seen_share(no_margin, widths, heights) == pytest.approx((0.16 + 0.16 + 1) / 3)
    with_margin = replace(no_margin, resize_px=80)  # a square of 40 of 50 pixels
    assert seen_share(with_margin, widths[2:], heights[2:]) == pytest.approx(0.64)
    assert seen_share(replace(with_margin, fit="squash"), widths, heights) == 1
    assert seen_share(replace(with_margin, fit="pad"), widths, heights) == 1


@pytest.mark.parametrize(
    ("width", "height", "fit"), [(400, 400, "crop"), (400, 300, "crop"), (300, 400, "crop"), (600, 400, "squash")]
)
def test_auto_crops_what_is_nearly_square_and_squashes_longer_images(width: int, height: int, fit: str):
    widths, heights = np.full(3, width), np.full(3, height)
    assert choose_fit("auto", widths, heights) == fit
    assert choose_fit("pad", widths, heights) == "pad"


def test_auto_looks_at_the_mean_over_the_images():
    assert choose_fit("auto", np.array([100, 100, 100]), np.array([100, 100, 20])) == "crop"  # 0.73
    assert choose_fit("auto", np.array([100, 100, 100]), np.array([100, 30, 20])) == "squash"  # 0.5
