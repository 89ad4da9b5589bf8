import numpy as np
import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.head import Head
from stages.graft.model.scoring import class_indices, score_cached, score_known, score_split
from tests.support.features import ids_of, write_features

IDS = ids_of(4)
HEAD = Head(kind="prototype", classes=("a", "b"), layers=((np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32)),))


@pytest.fixture
def score(tmp_path):
    """Scores four images with the features 0 1, 2 3, 4 5 and 6 7."""
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    write_features(list(IDS), x, {}, tmp_path / "features.safetensors")
    return score_cached(HEAD, tmp_path / "features.safetensors")


def test_images_come_in_the_order_asked_for(score):
    x, logits = score([IDS[3], IDS[1]])
    assert x.tolist() == [[6, 7], [2, 3]]
    assert logits.tolist() == [[7, 8], [3, 4]]


def test_a_split_with_its_groups(score):
    labels, names = ["b", "a", "b", "b"], ["val", "test", "train", "val"]
    splits = pd.DataFrame({"id": IDS, "label": labels, "split": names, "group": ["", "g", "g", "h"]})
    val = score_split(score, splits, "val", HEAD.classes)
    assert val.y.tolist() == [1, 1]
    assert val.x.tolist() == [[0, 1], [6, 7]]
    assert val.groups.tolist() == [0, 2]
    assert val.rows(val.groups == 2).logits.tolist() == [[7, 8]]


def test_what_the_network_has_scored_is_looked_up():
    score = score_known(IDS[:3], np.arange(3, dtype=np.float32)[:, None], np.eye(3, dtype=np.float32))
    x, logits = score([IDS[2], IDS[0]])
    assert (x.tolist(), logits.tolist()) == ([[2], [0]], [[0, 0, 1], [1, 0, 0]])
    with pytest.raises(DataError, match="the network has scored lacks 1 images"):
        score([IDS[3]])


def test_what_does_not_fit_is_named(score):
    with pytest.raises(DataError, match=f"features.safetensors lacks 1 images \\(first: {'0' * 64}\\)"):
        score([IDS[0], "0" * 64])
    with pytest.raises(DataError, match="the model knows no class 'c', only a, b"):
        class_indices(["a", "c"], HEAD.classes)


def test_an_output_that_is_not_finite_is_no_score():
    """Each comparison with NaN is false, so a metric of it would look fine."""
    logits = np.array([[0, 1], [np.nan, 0], [np.inf, 0]], np.float32)
    score = score_known(IDS[:3], np.zeros((3, 1), np.float32), logits)
    assert score(IDS[:1])[1].tolist() == [[0, 1]]
    with pytest.raises(DataError, match=f"not finite for 2 images \\(first: {IDS[1]}\\)"):
        score(IDS[:3])
