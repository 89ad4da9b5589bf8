"""Random views: nothing changes unless asked for, and each range does what it says."""

import torch

from stages.pretraining.batch_augmentation import Augmentation, augment


def images(n: int = 8, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (n, size, size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_views(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2).float() / 255


def test_no_range_gives_the_image_back():
    x = images()
    torch.testing.assert_close(augment(x, 16, Augmentation(), generator()), as_views(x), atol=1e-4, rtol=0)


def test_the_same_generator_gives_the_same_views():
    how = Augmentation(min_area=0.3, max_angle=20, brightness=0.4, grey=0.5)
    one, two = (augment(images(), 12, how, generator(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (8, 3, 12, 12)
    assert not torch.equal(one, augment(images(), 12, how, generator(4)))


def test_flips_and_quarter_turns_are_exact():
    x = images(64)
    flipped = augment(x, 16, Augmentation(flip_horizontal=True), generator())
    kinds = [as_views(x), as_views(x).flip(3)]
    matches = torch.stack([(flipped - kind).abs().amax(dim=(1, 2, 3)) < 1e-4 for kind in kinds])
    assert (matches.sum(dim=0) == 1).all()
    assert 16 < matches[1].sum() < 48
    turned = augment(x, 16, Augmentation(quarter_turns=True), generator())
    turns = [torch.rot90(as_views(x), k, (2, 3)) for k in range(4)]
    matches = torch.stack([(turned - turn).abs().amax(dim=(1, 2, 3)) < 1e-4 for turn in turns])
    assert (matches.sum(dim=0) == 1).all()
    assert (matches.sum(dim=1) > 4).all()


def test_grey_views_have_no_colour():
    views = augment(images(), 16, Augmentation(grey=1.0), generator())
    torch.testing.assert_close(views[:, 0], views[:, 1])
    torch.testing.assert_close(views[:, 0], views[:, 2])


def test_views_stay_in_range():
    views = augment(images(), 16, Augmentation(brightness=0.9, contrast=0.9, saturation=0.9), generator())
    assert views.min() >= 0
    assert views.max() <= 1


def test_a_crop_shows_a_part_of_the_image():
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 1, 64, 1).expand(32, 64, 64, 3) * 4
    views = augment(ramp.contiguous(), 32, Augmentation(min_area=0.25), generator())
    widths = views[:, 0, 0, -1] - views[:, 0, 0, 0]
    assert widths.min() < 0.7
    assert widths.max() > 0.8
