"""The layouts that docs/sources.md shows are read as it says."""

import re

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import Contents, FoundFile
from stages.graft.data.label_rules import LabelRules, label_contents
from tests.support.pages import section

TEXT = section("docs/sources.md", "What do your images look like?")
TREES = re.findall(r"^```text\n(.*?)^```", TEXT, re.M | re.S)
LABEL, GROUP = (
    [re.sub(r"\s+", "", found) for found in re.findall(rf"'([^']*\(\?P<{key}>[^']*)'", TEXT)]
    for key in ("label", "group")
)


def paths(tree):
    """Paths of the files of a tree, below its first line."""
    found, above = [], []
    for line in tree.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        above = [*above[:depth], line.strip().rstrip("/")]
        found += ["/".join(above)] if not line.endswith("/") else []
    return found


def read(number, **rules):
    files = [FoundFile(file=path, read=lambda: b"") for path in paths(TREES[number])]
    source = label_contents("x", Contents(files=files, folders=[]), LabelRules(**rules))
    return {candidate.file: (candidate.label, candidate.split, candidate.group) for candidate in source.candidates}


def test_layouts_that_need_nothing():
    assert set(read(0).values()) == {("scratch", "", ""), ("hole", "", "")}
    assert {row[:2] for row in read(1).values()} == {(c, s) for c in ("hat", "shirt") for s in ("train", "val")}
    assert {row[:2] for row in read(2).values()} == {(c, s) for c in ("hat", "shirt") for s in ("train", "test")}


def test_labels_in_names():
    assert [row[0] for row in read(3, label_pattern=LABEL[0]).values()] == ["cat", "cat", "dog"]


def test_the_second_level_and_equal_names():
    with pytest.raises(DataError, match="either may be the classes"):
        read(4)
    rows = read(4, label_pattern=LABEL[1], group_pattern=GROUP[0])
    assert rows["color/rust/2.jpg"] == rows["grayscale/rust/2.jpg"] == ("rust", "", "2.jpg")


def test_groups_in_names():
    rows = read(5, group_pattern=GROUP[1])
    assert rows["benign/patient07_a.png"] == rows["benign/patient07_b.png"] == ("benign", "", "patient07")
    assert len(TREES) == 6
