"""Random views: nothing changes unless asked for, and each range does what it says."""

import torch

from stages.pretraining import batch_augmentation
from stages.pretraining.batch_augmentation import ViewParams, augment


def images(n: int = 8, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (n, size, size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_views(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2).float() / 255


def ranges(**changes: float) -> ViewParams:
    """No change but the crop's aspect ratio and the mirror, which every view may have."""
    return ViewParams(**{"min_area": 1.0, "max_angle": 0.0, "colour": 0.0, "grey": 0.0} | changes)


def test_without_a_range_a_view_is_the_image_or_its_mirror(monkeypatch):
    monkeypatch.setattr(batch_augmentation, "MAX_STRETCH", 1.0)
    x = images(64)
    views = augment(x, 16, ranges(), generator())
    matches = torch.stack(
        [(views - kind).abs().amax(dim=(1, 2, 3)) < 1e-4 for kind in (as_views(x), as_views(x).flip(3))]
    )
    assert (matches.sum(dim=0) == 1).all()
    assert 16 < matches[1].sum() < 48


def test_the_same_generator_gives_the_same_views():
    params = ranges(min_area=0.3, max_angle=20, colour=0.4, grey=0.5)
    first, second = (augment(images(), 12, params, generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (8, 3, 12, 12)
    assert not torch.equal(first, augment(images(), 12, params, generator(4)))


def test_a_rotation_turns_the_image(monkeypatch):
    monkeypatch.setattr(batch_augmentation, "MAX_STRETCH", 1.0)
    monkeypatch.setattr(batch_augmentation, "_uniform", lambda n, low, high, generator: torch.full((n,), high))
    x = images()
    views = augment(x, 16, ranges(max_angle=90), generator())
    turned = torch.rot90(as_views(x), 1, (2, 3))
    matches = [(views - kind).abs().amax(dim=(1, 2, 3)) < 1e-4 for kind in (turned, turned.flip(2), turned.flip(3))]
    assert torch.stack(matches).any(dim=0).all()


def test_grey_views_have_no_colour():
    views = augment(images(), 16, ranges(grey=1.0), generator())
    torch.testing.assert_close(views[:, 0], views[:, 1])
    torch.testing.assert_close(views[:, 0], views[:, 2])


def test_views_stay_in_range():
    views = augment(images(), 16, ranges(colour=0.9), generator())
    assert views.min() >= 0
    assert views.max() <= 1


def test_a_crop_shows_a_part_of_the_image():
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 1, 64, 1).expand(32, 64, 64, 3) * 4
    views = augment(ramp.contiguous(), 32, ranges(min_area=0.25), generator())
    widths = (views[:, 0, 0, -1] - views[:, 0, 0, 0]).abs()
    assert widths.min() < 0.7
    assert widths.max() > 0.8
