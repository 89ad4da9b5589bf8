"""Views: a function of seed, image and number alone, and no more than the preset says."""

import numpy as np
import pytest

from stages.graft.images.augmentation import view


@pytest.fixture
def image(rng):
    return rng.integers(60, 180, (16, 16, 3), dtype=np.uint8)


def test_none_is_the_image(image):
    np.testing.assert_array_equal(view(image, "none", 0, "a", 3), image)


@pytest.mark.parametrize("preset", ["grain", "texture", "natural"])
def test_a_view_depends_on_seed_image_and_number_alone(image, preset):
    drawn = {key: view(image, preset, *key).tobytes() for key in [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0)]}
    assert len(set(drawn.values())) == 4
    np.random.seed(7)  # noqa: NPY002 (what the views must not depend on)
    again = {key: view(image, preset, *key) for key in reversed(drawn)}
    assert {key: value.tobytes() for key, value in again.items()} == drawn
    assert all((one.shape, one.dtype) == ((16, 16, 3), np.uint8) for one in again.values())


def test_texture_moves_pixels_about_and_changes_light_a_little():
    image = np.full((8, 8, 3), 100, np.uint8)
    image[0, 0] = 130
    corners = set()
    for number in range(60):
        found = view(image, "texture", 0, "a", number).astype(int)
        brightest = np.unravel_index(found[:, :, 0].argmax(), (8, 8))
        corners.add(brightest)
        assert 100 * 0.8 < found[4, 4, 0] < 100 * 1.2
    assert corners == {(0, 0), (0, 7), (7, 0), (7, 7)}


def test_grain_keeps_the_direction_and_texture_does_not():
    stripes = np.repeat(np.tile([60, 180], 8).astype(np.uint8)[:, None, None], 16, axis=1).repeat(3, axis=2)

    def lies_across(preset, number):
        found = view(stripes, preset, 0, "a", number)[:, :, 0].astype(int)
        return np.ptp(found, axis=1).max() == 0  # every row of one level

    assert all(lies_across("grain", number) for number in range(40))
    assert {lies_across("texture", number) for number in range(40)} == {True, False}
    upside_down = [
        view(stripes, "grain", 0, "a", n)[0, 0, 0] > view(stripes, "grain", 0, "a", n)[1, 0, 0] for n in range(40)
    ]
    assert set(upside_down) == {True, False}  # half turns do happen


def test_natural_keeps_at_least_half_of_the_image():
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    spans = [np.ptp(view(ramp, "natural", 0, "a", number)[32, :, 0].astype(int)) for number in range(40)]
    assert min(spans) > 0.5 * 252 * 0.6 * 0.7
    assert max(spans) > 200
