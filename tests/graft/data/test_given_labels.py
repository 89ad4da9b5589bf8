from dataclasses import replace

import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.given_labels import Decision, checked_rows, give_labels, read_decisions, write_decisions
from stages.graft.data.ingestion import ingest, ingest_unlabelled
from stages.graft.data.label_rules import LabelRules
from stages.graft.data.manifest import ManifestRow, read_unlabelled, write_manifest
from stages.graft.data.open_source import open_source
from tests.support.ingestion import ingest_params, read_class_folder
from tests.support.packed import packed_images
from tests.support.pictures import class_folder, png, write

WITHOUT_LABELS = LabelRules(needs_labels=False)


def image(number, label, split=""):
    plain = {"group": "", "width": 9, "height": 9, "format": "PNG", "mode": "L"}
    return ManifestRow(id=f"{number:064x}", file=f"{number}.png", label=label, split=split, **plain)


def decision(number, label, when="", who="Ada"):
    return Decision(id=f"{number:064x}", path="", label=label, who=who, when=when)


def test_labels_are_changed_confirmed_and_new():
    by_path = Decision(id="", path="1.png", label="pit", who="", when="")
    decisions = [decision(0, "hole"), by_path, decision(2, "hole"), decision(9, "hole")]
    rows, others, given = give_labels(
        decisions, [image(0, "hole", "test"), image(1, "hole", "val")], [image(2, ""), image(3, "")]
    )
    # What had no label was not chosen at random: it is for training alone. The others keep their split.
    assert [(row.label, row.split) for row in rows] == [("hole", "test"), ("pit", "val"), ("hole", "train")]
    assert [row.file for row in others] == ["3.png"]
    assert (given.num_changed, given.num_confirmed, given.num_new, given.unknown) == (1, 1, 1, (f"{9:064x}",))
    assert given.conflicts == ()


def test_the_last_one_wins_and_the_conflict_is_listed(tmp_path):
    path = tmp_path / "labels.csv"
    write_decisions([decision(0, "pit", "2026-02-01"), decision(0, "hole", "2026-01-01", "Bea")], path)
    [row], _, given = give_labels(read_decisions(path), [image(0, "x")], [])
    assert row.label == "pit"
    assert [[one.label for one in some] for some in given.conflicts] == [["hole", "pit"]]
    assert "0.png" not in given.lines()[1]
    assert "hole (Bea), then pit (Ada)" in given.lines()[1]


def test_whose_label_was_checked_last(tmp_path):
    by_path = Decision(id="", path="1.png", label="pit", who="", when="1", is_checked=True)
    decisions = [
        replace(decision(0, "pit", "1"), is_checked=True),
        by_path,
        replace(decision(2, "pit", "1"), is_checked=True),
        decision(2, "hole", "2"),  # a later label, which nobody has checked
        decision(3, "pit", "1"),
    ]
    write_decisions(decisions, tmp_path / "labels.csv")
    assert sorted(read_decisions(tmp_path / "labels.csv"), key=repr) == sorted(decisions, key=repr)
    images = pd.DataFrame({"id": [f"{n:064x}" for n in range(5)], "file": [f"{n}.png" for n in range(5)]})
    assert checked_rows(tmp_path / "labels.csv", images).tolist() == [True, True, False, False, False]


def test_a_file_without_the_column_of_checks_is_read(tmp_path):
    path = write(tmp_path / "labels.csv", b"id,path,label,who,when\nab,,hole,,\n")
    assert [one.is_checked for one in read_decisions(path)] == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,path,label,who,when\n,,hole,,\n", "line 2: neither id nor path"),
        ("id,path,label,who,when\nab,,,,\n", "line 2: the label is empty"),
        ("id,label\n", "columns missing: path, who, when"),
    ],
)
def test_a_file_that_cannot_be_understood(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_decisions(write(tmp_path / "labels.csv", text.encode()))
    with pytest.raises(DataError, match="does not exist; `git checkout"):
        read_decisions(tmp_path / "gone.csv")


@pytest.fixture
def pool(tmp_path):
    """Images without labels: two good ones of their own, one that is labelled too, a damaged one and a text."""
    folder = tmp_path / "pool"
    for number, name in ((7, "a/0.png"), (8, "0.png"), (0, "known.png")):
        write(folder / name, png(number))
    write(folder / "bad.png", png(9)[:40])
    write(folder / "README.md", b"text")
    return folder


def test_images_without_labels_are_ingested_like_the_others(tmp_path, pool):
    labelled = read_class_folder(class_folder(tmp_path / "plates"))
    params = ingest_params(max_bad_fraction=0.5)
    with open_source(pool, tmp_path / "cache", rules=WITHOUT_LABELS) as source:
        first = ingest(labelled, tmp_path / "images", params, source)
        assert [row.file for row in first.unlabelled] == sorted(
            ["a/0.png", "0.png"], key=lambda file: next(row.id for row in first.unlabelled if row.file == file)
        )
        new = Decision(id=first.unlabelled[0].id, path="", label="pit", who="", when="")
        second = ingest(labelled, tmp_path / "again", params, source, [new])
    assert {row.label for row in first.unlabelled} == {""}
    assert [image.file for image in first.quarantined_unlabelled] == ["bad.png"]
    assert str(first) == "6 images in 2 classes, 2 without labels (1 damaged)"
    assert len(packed_images(tmp_path / "images")) == 8
    assert (second.classes, len(second.rows), len(second.unlabelled)) == (("hole", "pit", "scratch"), 7, 1)
    assert second.report()["labels_given"]["num_new"] == 1


def test_a_class_may_lose_all_its_images(tmp_path):
    labelled = read_class_folder(class_folder(tmp_path / "plates", classes=("hole", "pit", "scratch")))
    first = ingest(labelled, tmp_path / "images", ingest_params())
    moved = [Decision(id=row.id, path="", label="hole", who="", when="") for row in first.rows if row.label == "pit"]
    assert ingest(labelled, tmp_path / "again", ingest_params(), None, moved).classes == ("hole", "scratch")


def test_a_label_that_reads_like_another_is_refused(tmp_path):
    labelled = read_class_folder(class_folder(tmp_path / "plates"))
    wrong = Decision(id="", path="hole/0.png", label="Scratch", who="", when="")
    with pytest.raises(DataError, match=r"labels\.csv: the classes `Scratch` and `scratch` differ in case only"):
        ingest(labelled, tmp_path / "images", ingest_params(), None, [wrong])


def test_a_list_of_paths_needs_no_labels(tmp_path, pool):
    listed = write(pool / "list.csv", b"path\n0.png\na/0.png\n")
    with open_source(listed, tmp_path / "cache", rules=WITHOUT_LABELS) as source:
        rows = ingest_unlabelled(source, tmp_path / "images", ingest_params())
    assert sorted(row.file for row in rows) == ["0.png", "a/0.png"]
    assert all(row.address for row in rows)  # they stay where they are


def test_a_table_without_rows_is_read(tmp_path):
    write_manifest([], tmp_path / "unlabelled.csv")
    assert read_unlabelled(tmp_path / "unlabelled.csv").empty
