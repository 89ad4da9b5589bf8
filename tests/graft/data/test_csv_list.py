import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.csv_list import read_list
from tests.support.pictures import class_folder, png, write


@pytest.fixture
def listed(tmp_path):
    """Write a list beside hole/0.png to scratch/2.png, and read it."""
    class_folder(tmp_path)

    def read(text, encoding="utf-8"):
        return read_list(write(tmp_path / "list.csv", text.encode(encoding)), "list.csv")

    return read


def test_paths_count_from_the_list(listed, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    source = listed("path,label\nscratch/0.png,b\nhole/0.png,a\n")
    assert [(candidate.file, candidate.label) for candidate in source.candidates] == [
        ("hole/0.png", "a"),
        ("scratch/0.png", "b"),
    ]
    assert source.classes == ("a", "b")
    assert source.candidates[0].read() == png(0)
    assert source.candidates[0].claims_to_be_image


def test_absolute_paths_stay_as_they_are(listed, tmp_path):
    source = listed(f"path,label\n{tmp_path}/hole/0.png,a\n")
    assert source.candidates[0].file == f"{tmp_path}/hole/0.png"
    assert source.candidates[0].read() == png(0)


def test_group_and_split_and_other_columns_in_any_order(listed):
    source = listed("camera,split,label,group,path\n7,val,a,plate 1,hole/0.png\n8,,b,,scratch/0.png\n")
    first, second = source.candidates
    assert (first.group, first.split) == ("plate 1", "val")
    assert (second.group, second.split) == ("", "")


@pytest.mark.parametrize(("written", "split"), [("Valid", "val"), ("validation ", "val"), ("TEST", "test")])
def test_a_split_may_have_any_of_its_names(listed, written, split):
    assert listed(f"path,label,split\nhole/0.png,a,{written}\n").candidates[0].split == split


@pytest.mark.parametrize("start", ["\ufeffpath,label\r\n", "path, label\n", '"path","label"\n', "path,label\n\n"])
def test_ways_to_write_the_first_line(listed, start):
    assert len(listed(f"{start}hole/0.png, a\n").candidates) == 1


def test_quoted_names(listed, tmp_path):
    write(tmp_path / 'a, "b" größe.png', png(5))
    source = listed('path,label\n"a, ""b"" größe.png","x, y"\n')
    assert (source.candidates[0].read(), source.candidates[0].label) == (png(5), "x, y")


@pytest.mark.parametrize("label", ["NA", "007", "true"])
def test_labels_are_text(listed, label):
    assert listed(f"path,label\nhole/0.png,{label}\n").classes == (label,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path and no column label; found nothing"),
        (
            "file,label\nhole/0.png,a\n",
            "list.csv: no column path; found file, label. Expected a first line `path,label`",
        ),
        ("path;label\nhole/0.png;a\n", "found path;label.*separated by commas"),
        ("path,label\nhole/0.png\n", "line 2: the label is empty"),
        ("path,label\nhole/0.png,a\n,b\n", "line 3: the path is empty"),
        ("path,label\nhole/0.png,a,b\n", "line 2: more fields than columns"),
        ('path,label\n"hole/0.png,a\n', "not a CSV file after line 1: unexpected end"),
        ("path,label,split\nhole/0.png,a,dev\n", "line 2: split 'dev'; expected train, val, test or nothing"),
        (
            "path,label\nhole/7.png,a\nhole/0.png,a\nhole/8.png,a\n",
            "no such file: hole/7.png, hole/8.png; relative paths",
        ),
        ("path,label\n" + "".join(f"{n}.png,a\n" for n in range(9)), "0.png, 1.png, 2.png and 6 more"),
        ("path,label\nhole,a\n", "no such file: hole;"),
    ],
)
def test_bad_lists_are_refused(listed, text, message):
    with pytest.raises(DataError, match=message):
        listed(text)


def test_other_encodings_are_refused(listed):
    with pytest.raises(DataError, match="not UTF-8"):
        listed("path,label\ngröße.png,a\n", "latin-1")
    with pytest.raises(DataError, match="not UTF-8"):
        listed("path,label\nhole/0.png,a\n", "utf-16")
