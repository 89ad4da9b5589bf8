"""Overlaps and splits computed by hand; the table of boxes counts from 1."""

import numpy as np
import pandas as pd
import pytest

from stages.benchmarks.compare_boxes import assign_splits, measure, overlap, read_boxes
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.heat_picture import Box
from tests.support.pictures import encoded

MARKED = np.array([[0, 0, 10, 10], [20, 20, 40, 30]])


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 10, 10), 1.0), ((0, 0, 5, 10), 0.5), ((30, 20, 50, 30), 1 / 3), ((12, 0, 18, 10), 0.0)],
)
def test_overlap(box, expected):
    left, top, right, bottom = box
    assert overlap(Box(left=left, top=top, right=right, bottom=bottom), MARKED) == pytest.approx(expected)


def test_boxes_are_read_with_their_last_pixels(tmp_path):
    (tmp_path / "boxes.csv").write_text("file,label,xmin,ymin,xmax,ymax\na.png,x,1,1,10,20\na.png,x,5,6,7,8\n")
    assert read_boxes(tmp_path / "boxes.csv")["a.png"].tolist() == [[0, 0, 10, 20], [4, 5, 7, 8]]


def test_every_class_is_split_alike():
    labels = pd.Series(["x"] * 20 + ["y"] * 10)
    splits = assign_splits(labels, 0)
    assert pd.crosstab(labels, splits).to_dict("index") == {
        "x": {"test": 10, "train": 8, "val": 2},
        "y": {"test": 5, "train": 4, "val": 1},
    }


def test_a_heat_map_is_compared_with_the_boxes_of_its_image(tmp_path):
    from PIL import Image

    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (40, 40)), "PNG"))
    heat = np.zeros((8, 8), np.float32)
    heat[0:2, 0:2] = 1
    p = Preprocessing(resize_px=8, crop_px=8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3, fit="squash")
    found = measure(str(tmp_path / "a.png"), heat, {"a.png": MARKED}, p)
    assert found["point"]
    assert found["box"]
    assert found["random_point"] == 300 / 1600
    assert found["point_in_the_middle"]
    assert not found["box_in_the_middle"]
