import re

import pytest

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.params import load_params
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.label_rules import LabelRules, label_contents
from tests.support.trees import contents


def read(tree, **rules):
    return label_contents("plates", contents(tree), LabelRules(**rules))


def rows(source):
    return [(found.file, found.label, found.group, found.split) for found in source.candidates]


def test_labels_in_file_names():
    source = read("{cat.0,cat.1,dog.0}.jpg", label_pattern=r"(?P<label>\w+)\.\d+\.jpg$")
    assert rows(source) == [("cat.0.jpg", "cat", "", ""), ("cat.1.jpg", "cat", "", ""), ("dog.0.jpg", "dog", "", "")]


def test_a_pattern_sees_the_whole_path():
    source = read("plates/{color,grey}/{cat,dog}/1.png", label_pattern=r"^plates/[^/]+/(?P<label>[^/]+)/")
    assert source.classes == ("cat", "dog")
    assert source.candidates[0].file == "plates/color/cat/1.png"


@pytest.mark.parametrize("top", ["", "kaggle/"])
def test_splits_that_come_as_folders_are_kept_beside_a_pattern(top):
    source = read(f"{top}{{train,test}}/{{cat,dog}}.{{0,1}}.jpg", label_pattern=r"(?P<label>cat|dog)")
    assert {(found.label, found.split) for found in source.candidates} == {
        (label, split) for label in ("cat", "dog") for split in ("train", "test")
    }


def test_folders_that_the_pattern_takes_for_classes_are_no_splits():
    source = read("{train,test}/{1,2}.png", label_pattern=r"^(?P<label>[^/]+)/")
    assert source.classes == ("test", "train")
    assert {found.split for found in source.candidates} == {""}


def test_groups_in_names_or_folders():
    source = read("{a,b}/patient{1,2}/{x,y}.png", group_pattern=r"(?P<group>patient\d)")
    assert [found.group for found in source.candidates] == ["patient1"] * 2 + ["patient2"] * 2 + [
        "patient1",
        "patient1",
        "patient2",
        "patient2",
    ]
    assert source.classes == ("a", "b")


def test_what_does_not_match_is_a_fault_of_an_image():
    source = read("{cat.0,dog.1,7}.jpg", label_pattern=r"(?P<label>cat|dog)")
    faults = {found.file: found.fault for found in source.candidates if found.fault}
    assert faults == {"7.jpg": "its path does not match `ingest.label_pattern`"}
    source = read("{a,b}/p1_{0,1}.png a/2.png", group_pattern=r"(?P<group>p\d)_")
    faults = {found.file: found.fault for found in source.candidates if found.fault}
    assert faults == {"a/2.png": "its path does not match `ingest.group_pattern`"}


@pytest.mark.parametrize("key", ["label", "group"])
def test_a_pattern_that_matches_nothing_is_an_error(key):
    pattern = f"(?P<{key}>x+)/"
    with pytest.raises(
        DataError, match=rf"plates: `ingest\.{key}_pattern` '.*' matches none of 4 images; .* `a/1.png`"
    ):
        read("{a,b}/{1,2}.png README.md", **{f"{key}_pattern": pattern})


def test_labels_are_in_normal_form_and_alike_ones_are_refused():
    pattern = r"^(?P<label>[^_]+)_"
    assert read("{caf\u00e9,cafe\u0301,tea}_1.png", label_pattern=pattern).classes == ("caf\u00e9", "tea")
    with pytest.raises(DataError, match="`Cat` and `cat` differ in case only"):
        read("{Cat,cat}_1.png", label_pattern=pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "`ingest.label_pattern` should be a regular expression (missing ), unterminated subpattern at position 0)"),
     (r"(?P<class>\w+)", "`ingest.label_pattern` should have a group of that name, such as (?P<label>[^/]+)")],
)  # fmt: skip
def test_wrong_patterns_are_named(project, pattern, message):
    project(ingest={"label_pattern": pattern})
    with pytest.raises(ParamsError, match=re.escape(message)):
        load_params("ingest", IngestParams)
