"""Insertion minus deletion on a model that looks at one known place."""

import cv2
import numpy as np
import pytest

from stages.graft.evaluation.map_trust import SHARES, altered, insertion_minus_deletion, measure_trust

PX, SIDE = 32, 8


def at(row, column):
    heat = np.full((SIDE, SIDE), -1, np.float32)
    heat[row, column] = 1
    return cv2.GaussianBlur(heat, (0, 0), 1.0)


@pytest.fixture
def squares():
    """Images whose only detail is a checkerboard at another place each."""
    found = np.full((12, PX, PX, 3), 128, np.uint8)
    for number in range(12):
        row, column = divmod(number, 4)
        cells = np.indices((8, 8)).sum(axis=0) % 2 * 200 + 20
        found[number, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = cells[:, :, None]
    return found


def score(squares):
    """Class 1 is as likely as there is detail."""
    detail = np.abs(np.diff(squares[..., 0].astype(float), axis=2)).sum(axis=(1, 2)) / 15_000
    return np.stack([1 - detail, detail], axis=1)


def places(squares):
    return np.stack([at(2 * (n // 4) + 0, 2 * (n % 4) + 0) for n in range(len(squares))])


def test_the_hottest_pixels_are_shown_or_blurred(squares):
    inserted, deleted = altered(squares[0], at(0, 0))
    assert inserted.shape == deleted.shape == (len(SHARES), PX, PX, 3)
    for share, shown, hidden in zip(SHARES, inserted, deleted, strict=True):
        assert (shown == squares[0]).all(axis=2).mean() >= share
        sharp, blurred = shown[0, 0], hidden[0, 0]
        assert np.array_equal(sharp, squares[0, 0, 0])
        assert not np.array_equal(blurred, sharp)


def test_the_right_place_scores_higher_than_a_wrong_one(squares):
    right = insertion_minus_deletion(squares[0], at(1, 1), 1, score)
    wrong = insertion_minus_deletion(squares[0], at(6, 6), 1, score)
    assert right > 0 > wrong


def test_right_heat_maps_are_trusted_and_those_of_other_images_are_not(squares):
    heats, answers = places(squares), np.ones(12, np.int64)
    right = measure_trust(squares, heats, answers, score)
    assert (right.num_images, right.is_trusted) == (12, True)
    assert right.num_better >= 10
    assert right.own_score > right.other_score
    assert not measure_trust(squares, np.roll(heats, 5, axis=0), answers, score).is_trusted
    same = measure_trust(squares, np.repeat(heats[:1], 12, axis=0), answers, score)
    assert (same.num_better, same.is_trusted) == (0, False)  # a tie is no win
