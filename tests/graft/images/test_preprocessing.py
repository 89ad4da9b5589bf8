"""Preprocessing: survives JSON, and follows another input size."""

import json
from dataclasses import FrozenInstanceError, asdict

import pytest

from stages.graft.images.preprocessing import Preprocessing, preprocessing_from, resized

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
