import cv2
import numpy as np
import pytest

from stages.graft.duplicates.codebook import DESCRIPTOR_DIM, MIRRORED
from stages.graft.duplicates.confirmation import NONE, compare, correlate, match
from stages.graft.duplicates.description import describe
from tests.support.scenes import png_of, scene


def described(picture):
    return describe(png_of(np.ascontiguousarray(picture)))


def brighter(picture):
    return np.clip(picture * 1.2 + 20, 0, 255).astype(np.uint8)


CHANGES = {
    "brighter": brighter,
    "smaller": lambda picture: cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
    "cropped": lambda picture: picture[10:190, 20:220],
    "flipped": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "turned": np.rot90,
    "turned and brighter": lambda picture: brighter(np.rot90(picture)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_confirmed(name):
    picture = scene(3)
    [found] = compare(described(picture), described(CHANGES[name](picture)))
    assert found.correlation > 0.85
    assert found.overlap > 0.75
    assert found.num_points >= 15
    assert found.is_mirrored == (name in ("flipped", "upside down"))


def test_another_scene_is_not():
    [found] = compare(described(scene(3)), described(scene(4)))
    assert found.correlation < 0.6


def test_the_same_ground_with_another_light_is_confirmed_in_part():
    wide = scene(5, width=400)
    [found] = compare(described(wide[:, :240]), described(brighter(wide[:, 120:360])))
    assert found.correlation > 0.8
    assert found.overlap == pytest.approx(0.5, abs=0.08)


def test_noise_alone_agrees_with_nothing():
    first, second = (np.random.default_rng(k).normal(120, 9, (160, 160, 3)).astype(np.uint8) for k in (0, 1))
    assert compare(described(first), described(second)) == [NONE]


def test_the_seed_of_opencv_changes_nothing():
    pair = described(scene(6)), described(brighter(np.rot90(scene(6))))
    cv2.setRNGSeed(1)
    first = compare(*pair)
    cv2.setRNGSeed(2)
    assert compare(*pair) == first


def test_matches_by_hand():
    """The first points choose each other; the second is as near to two, no point chooses the third."""
    first, second = np.zeros((3, DESCRIPTOR_DIM), np.uint8), np.zeros((3, DESCRIPTOR_DIM), np.uint8)
    first[:, :3] = [[200, 0, 0], [0, 100, 0], [180, 20, 0]]
    second[:, :3] = [[100, 0, 0], [0, 80, 60], [60, 80, 0]]  # the second and the third are 0.8 from it
    others = np.stack([second, second[:, MIRRORED], second[[0, 0, 0]]])
    does_match, nearest = match(first, others, np.array([3, 3, 1], np.uint16))
    assert does_match.shape == nearest.shape == (2, 3, 3)
    assert does_match[0, :, 0].tolist() == [True, False, False]
    assert nearest[0, 0, 0] == 0
    assert (does_match[0, :, 0] == does_match[1, :, 1]).all()  # in the mirror image of the mirrored one
    assert (does_match[1, :, 0] == does_match[0, :, 1]).all()
    assert nearest[:, :, 2].max() == 0  # the rows after its one point are not looked at


def test_several_images_are_compared_as_one_by_one():
    first, plain = described(scene(3)), described(np.full((90, 90, 3), 90, np.uint8))
    pictures = scene(4), scene(3)[20:, 30:], scene(3)[:, ::-1], scene(7, width=90)
    others = [*(described(picture) for picture in pictures), plain]
    alone = [compare(first, other)[0] for other in others]
    assert compare(first, np.concatenate(others)) == alone
    assert [found.correlation > 0.8 for found in alone] == [False, True, True, False, False]
    assert compare(first, plain[:0]) == []
    assert compare(plain, first) == [NONE]


def test_a_correlation_by_hand():
    pattern = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    stays, moves = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[1.0, 0, 30], [0, 1, 0]])
    assert correlate(pattern, pattern, stays)[0] == pytest.approx(1)
    assert correlate(pattern, -pattern, stays)[0] == pytest.approx(-1)
    assert correlate(pattern, np.roll(pattern, 30, axis=1), moves) == pytest.approx((1, 28 * 38 / 2400), abs=0.02)
    assert correlate(pattern, pattern, np.array([[1.0, 0, 59], [0, 1, 0]])) == (0, 0)
