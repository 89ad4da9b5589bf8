import numpy as np
import pytest

from stages.graft.evaluation.unseen_classes import MAX_PARTS, measure_unseen
from stages.graft.model.scoring import ScoredSet


def images(rng, num_classes, per_class, same=()):
    """Clouds of classes, far apart; those of `same` lie at one place."""
    y = np.repeat(np.arange(num_classes), per_class)
    place = np.where(np.isin(y, same), min(same, default=0), y)
    x = np.random.default_rng(1).normal(size=(num_classes, 30))[place] * 5 + rng.normal(size=(len(y), 30))
    return ScoredSet(x=x.astype(np.float32), logits=np.zeros((len(y), 1)), y=y, groups=rng.integers(0, 2**40, len(y)))


def measured(rng, num_classes, same=(), per_class=20):
    train, val, test = (images(rng, num_classes, per_class, same) for _ in range(3))
    return measure_unseen((train, val, test), [f"class {k}" for k in range(num_classes)], 0.05)


def test_images_of_a_class_held_out_are_found_unless_they_look_like_another(rng):
    rows = measured(rng, 4, same=(1, 2))
    assert [row.label for row in rows] == ["class 0", "class 1", "class 2", "class 3"]
    assert [row.auroc > 0.95 for row in rows] == [True, False, False, True]
    assert [row.found > 0.95 for row in rows] == [True, False, False, True]
    assert rows[1].auroc == pytest.approx(0.5, abs=0.15)


def test_many_classes_are_held_out_several_at_a_time(rng):
    rows = measured(rng, MAX_PARTS + 3, per_class=6)
    assert [row.label for row in rows] == [f"class {k}" for k in range(MAX_PARTS + 3)]
    assert min(row.auroc for row in rows) > 0.9


def test_of_two_classes_none_can_be_held_out(rng):
    assert measured(rng, 2) == []


def test_with_too_few_images_there_is_no_share(rng):
    rows = measured(rng, 3, per_class=2)  # 8 images of two classes in train and val
    assert [row.found for row in rows] == [None] * 3
    assert min(row.auroc for row in rows) > 0.9
