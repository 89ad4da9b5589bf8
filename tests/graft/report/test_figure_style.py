import matplotlib
import pytest

from stages.graft.report.figure_style import class_labels, new_figure, percent, save_png, style


def drawn(path):
    with style():
        figure = new_figure(2.0, "Title", "Subtitle")
        figure.add_subplot().plot([0, 1], [1, 0])
        save_png(figure, path)
    return path.read_bytes()


def test_the_bytes_are_the_same_and_tell_neither_date_nor_version(tmp_path):
    first = drawn(tmp_path / "a.png")
    assert first == drawn(tmp_path / "b.png")
    assert b"Software" not in first
    assert b"tEXt" not in first
    assert matplotlib.__version__.encode() not in first


def test_the_users_own_style_changes_nothing_and_is_kept(tmp_path):
    usual = drawn(tmp_path / "a.png")
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0}):
        assert drawn(tmp_path / "b.png") == usual
        assert matplotlib.rcParams["font.size"] == 30.0


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["hole", "Öl  größe"], ["hole", "Öl  größe"]),
        (["a\tb\r"], ["a b "]),
        (["abcdefghijkl", "x"], ["abcde…ijkl", "x"]),
        (["rolling mill 1 north", "rolling mill 2 north"], ["…1 north", "…2 north"]),
        (["same beginning A same end", "same beginning B same end"], ["…A sa… end", "…B sa… end"]),
        (["裂纹", "hole", "", " "], ["no. 1", "hole", "no. 3", "no. 4"]),
        (["aaaaaa1bbbbbb", "aaaaaa2bbbbbb", "c"], ["no. 1", "no. 2", "c"]),
    ],
)
def test_names_are_shortened_and_stay_different(names, labels):
    assert class_labels(names, max_length=10) == labels


@pytest.mark.parametrize(("share", "text"), [(0.5, "50%"), (0.125, "12.5%"), (1, "100%"), (0, "0%"), (1 / 3, "33.3%")])
def test_shares_are_percentages(share, text):
    assert percent(share) == text
