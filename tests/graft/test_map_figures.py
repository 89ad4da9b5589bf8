import numpy as np
import pandas as pd
import pytest

from stages.graft.drawing import COLOURS, style
from stages.graft.map_figures import MARKERS, draw_map


def table(num_classes, wrong):
    x = np.arange(2 * num_classes, dtype=float)
    labels = [f"k{k}" for k in range(num_classes)] * 2
    predicted = ["other"] * wrong + labels[wrong:]
    return pd.DataFrame({"label": labels, "predicted": predicted, "pca_x": x, "pca_y": x, "tsne_x": -x, "tsne_y": x})


@pytest.mark.parametrize("num_classes", [2, 7, len(COLOURS) * len(MARKERS)])
def test_every_class_has_its_own_look_and_errors_are_marked(num_classes):
    with style():
        [axis] = draw_map(table(num_classes, wrong=3), "tsne", [f"k{k}" for k in range(num_classes)]).axes
    *classes, errors = axis.collections
    looks = {(tuple(one.get_facecolor()[0]), one.get_paths()[0].vertices.tobytes()) for one in classes}
    assert len(looks) == num_classes
    assert errors.get_offsets().tolist() == [[0, 0], [-1, 1], [-2, 2]]
    assert errors.get_label() == "looks like another class (3)"


def test_too_many_classes_are_grey():
    classes = [f"k{k}" for k in range(100)]
    with style():
        [axis] = draw_map(table(100, wrong=0), "pca", classes).axes
    points, errors = axis.collections
    assert len(points.get_offsets()) == 200
    assert len(errors.get_offsets()) == 0
