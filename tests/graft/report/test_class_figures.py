import numpy as np
import pandas as pd
import pytest

from stages.graft.report.class_figures import (
    MAX_IN_LEGEND,
    MAX_MATRIX,
    MAX_ROWS,
    class_look,
    draw_confusion,
    draw_map,
    draw_per_class,
)
from stages.graft.report.figure_style import COLOURS, style
from stages.graft.report.plot_tables import read_plot_tables
from tests.support.reports import write_reports


@pytest.fixture(autouse=True)
def _style():
    with style():
        yield


def confusion(*pairs):
    return pd.DataFrame(pairs, columns=["actual", "predicted"])


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def ticks(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_the_matrix_counts_and_gives_shares_of_the_row():
    figure = draw_confusion(confusion(("a", "a"), ("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")), ["a", "b"])
    assert texts(figure) == ["3\n75%", "1\n25%", "1\n100%"]
    [image] = figure.axes[0].images
    cells = np.asarray(image.get_array())
    assert cells[1, 0].tolist() == [1, 1, 1]  # nothing there
    assert cells[0, 0][2] > cells[0, 0][0]  # right: blue
    assert cells[0, 1][0] > cells[0, 1][2]  # wrong: orange


def test_many_classes_show_the_commonest_confusions():
    classes = [f"k{k}" for k in range(MAX_MATRIX + 1)]
    pairs = [("k0", "k1")] * 3 + [("k2", "k0")] * 2 + [(name, name) for name in classes]
    figure = draw_confusion(confusion(*pairs), classes)
    assert ticks(figure) == ["k0 → k1", "k2 → k0"]
    assert [text.strip() for text in texts(figure)] == ["3 (75%)", "2 (66.7%)"]


def test_many_classes_without_an_error_are_no_error():
    classes = [f"k{k}" for k in range(MAX_MATRIX + 1)]
    figure = draw_confusion(confusion(*((name, name) for name in classes)), classes)
    assert texts(figure) == []


def test_the_weakest_classes_come_first_and_no_more_than_fit(tmp_path):
    write_reports(tmp_path, tuple(f"k{k}" for k in range(MAX_ROWS + 6)), per_class=5, wrong=2)
    table = read_plot_tables(tmp_path / "reports/plots").per_class
    labels = ticks(draw_per_class(table))
    assert len(labels) == MAX_ROWS
    assert labels[0] == "k0  (5)"
    assert len(ticks(draw_per_class(table.head(3)))) == 3


def test_a_class_without_a_test_image_is_left_out(tmp_path):
    write_reports(tmp_path)
    table = read_plot_tables(tmp_path / "reports/plots").per_class
    table.loc[1, ["num_test", "recall", "recall_low", "recall_high"]] = [0, 0, np.nan, np.nan]
    assert len(ticks(draw_per_class(table))) == 2


def table(num_classes, wrong):
    x = np.arange(2 * num_classes, dtype=float)
    labels = [f"k{k}" for k in range(num_classes)] * 2
    predicted = ["other"] * wrong + labels[wrong:]
    return pd.DataFrame({"label": labels, "predicted": predicted, "pca_x": x, "pca_y": x, "tsne_x": -x, "tsne_y": x})


@pytest.mark.parametrize("num_classes", [2, 7, MAX_IN_LEGEND])
def test_every_class_has_its_own_look_and_errors_are_marked(num_classes):
    with style():
        [axis] = draw_map(table(num_classes, wrong=3), "tsne", [f"k{k}" for k in range(num_classes)]).axes
    *classes, errors = axis.collections
    looks = {(tuple(one.get_facecolor()[0]), one.get_paths()[0].vertices.tobytes()) for one in classes}
    assert len(looks) == num_classes
    assert errors.get_offsets().tolist() == [[0, 0], [-1, 1], [-2, 2]]
    assert errors.get_label() == "looks like another class (3)"


def test_similar_colours_have_other_markers():
    """The two blues and the two browns look alike in small points, and on a dark page."""
    looks = [class_look(k) for k in range(MAX_IN_LEGEND)]
    alike = [(COLOURS.index(colour) % 4, marker) for colour, marker in looks]
    assert len(set(alike)) == MAX_IN_LEGEND


def test_a_hundred_classes_have_their_numbers_where_they_are():
    classes = [f"k{k}" for k in range(100)]
    with style():
        [axis] = draw_map(table(100, wrong=0), "pca", classes).axes
    assert [text.get_text() for text in axis.texts] == [str(k + 1) for k in range(100)]
    assert axis.texts[7].get_position() == (7, 7)  # the nearer of its two images to their middle, or the first
