import json
from xml.etree import ElementTree

import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.given_labels import Decision
from stages.graft.labelling.label_files import new_decisions, read_filled
from stages.graft.labelling.label_studio import labelling_config, make_task, read_export
from stages.graft.storage.tables import write_report_csv
from tests.support.pictures import write

ID = "ab" * 32


def filled(path, text):
    return read_filled(write(path, text.encode()), "Ada", "2026-01-01T00:00:00Z")


def decision(label, **changes):
    values = {"id": ID, "path": "a.png", "label": label, "who": "Ada", "when": "2026-01-01T00:00:00Z"}
    return Decision(**values | changes)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_sheet_as_spreadsheets_write_it(tmp_path, separator, mark):
    lines = [["id", "path", "label", "guess"], [ID.upper(), "a.png", " hole ", "pit"], [ID, "b.png", "", "pit"]]
    text = mark + "\r\n".join(separator.join(line) for line in lines)
    assert filled(tmp_path / "s.csv", text) == [decision("hole")]


def test_marks_of_doubtful_labels(tmp_path):
    rows = ["a,hole,pit,right", "b,hole,pit,Wrong", "c,hole,pit,scratch", "d,hole,pit,"]
    found = filled(tmp_path / "l.csv", "file,label,suggested,mark\n" + "\n".join(rows) + "\n")
    assert [(one.path, one.label) for one in found] == [("a", "hole"), ("b", "pit"), ("c", "scratch")]
    assert all(one.is_checked for one in found)


def test_what_was_protected_from_a_spreadsheet_is_read_as_it_was(tmp_path):
    table = pd.DataFrame({"path": ["=1+1.png", "'a.png"], "label": ["-hole", "pit"]})
    write_report_csv(table, tmp_path / "s.csv")
    found = read_filled(tmp_path / "s.csv", "", "")
    assert [(one.path, one.label) for one in found] == [("=1+1.png", "-hole"), ("'a.png", "pit")]


def test_the_person_and_the_time_of_the_file_go_first(tmp_path):
    [found] = filled(tmp_path / "s.csv", f"id,label,who,when\n{ID},hole,Bea,2026-02-02T01:02:03.999Z\n")
    assert (found.who, found.when) == ("Bea", "2026-02-02T01:02:03Z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "expected the columns id or path, and label or mark, found a, b"),
        ("path,label,mark\na,,right\n", "line 2: the mark is `right`, and there is no column label"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        filled(tmp_path / "s.csv", text)


def test_labels_that_are_there_are_not_added_again():
    known = [decision("hole"), decision("pit")]
    added = new_decisions([decision("pit"), decision("hole"), decision("hole")], known)
    assert [one.label for one in added.decisions] == ["hole"]
    assert added.num_known == 2


def test_that_a_label_was_checked_is_new():
    checked = decision("hole", is_checked=True)
    assert new_decisions([checked], [decision("hole")]).decisions == (checked,)
    assert new_decisions([checked, decision("hole")], [checked]).decisions == ()


def annotation(*labels, **fields):
    result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(labels)}}]
    return {"result": result, "completed_by": {"id": 1, "email": "bea@example.com"}, "updated_at": "2026"} | fields


def test_an_export_comes_back_with_ids():
    task = make_task(ID, "a.png", "data:,", "pit")
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["pit"]}
    exported = [
        {"data": task["data"], "annotations": [annotation("hole")]},
        {"data": {"path": "b.png"}, "annotations": [annotation("pit", was_cancelled=True)]},
        {"data": {"path": "c.png"}, "annotations": []},
        {"data": {"path": "d.png"}, "annotations": [annotation("pit", completed_by=7)]},
    ]
    found = list(read_export(exported, "export.json"))
    assert found[0] == decision("hole", who="bea@example.com", when="2026")
    assert [(one.path, one.who) for one in found[1:]] == [("d.png", "label-studio:7")]


def test_the_small_export_comes_back_by_path():
    [found] = read_export([{"id": 5, "path": "a.png", "label": "hole", "image": "data:,", "annotator": 1}], "e")
    assert (found.id, found.path, found.label, found.who) == ("", "a.png", "hole", "label-studio:1")


def test_several_choices_are_refused(tmp_path):
    tasks = [{"data": {"path": "a"}, "annotations": [annotation("x", "y")]}]
    path = write(tmp_path / "e.json", json.dumps(tasks).encode())
    with pytest.raises(DataError, match=r"a has 2 labels \(x, y\); an image has one class"):
        read_filled(path, "", "")


def test_a_configuration_escapes_names():
    [choice] = ElementTree.fromstring(labelling_config(['a < "b"'])).iter("Choice")
    assert choice.get("value") == 'a < "b"'
    assert "<TextArea" in labelling_config([])
