import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.csv_list import read_list
from stages.graft.data.label_rules import DEFAULT_COLUMNS, LabelRules
from tests.support.pictures import class_folder, png, write


@pytest.fixture
def listed(tmp_path):
    """Write a list beside hole/0.png to scratch/2.png, and read it."""
    class_folder(tmp_path)

    def read(text, encoding="utf-8", patterns=None, **columns):
        rules = LabelRules(columns=DEFAULT_COLUMNS.model_copy(update=columns), **(patterns or {}))
        return read_list(write(tmp_path / "list.csv", text.encode(encoding)), "list.csv", rules)

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
        ("path+label\nhole/0.png+a\n", r"found path\+label\. Expected"),
        ("path,label\nhole/0.png\n", "line 2: the label is empty"),
        ("path,label\nhole/0.png,a\n,b\n", "line 3: the path is empty"),
        ("path,label\nhole/0.png,a,b\n", "line 2: more fields than columns"),
        ("path,label\nhole/0.png,a,,c\n", "line 2: more fields than columns; quote what has commas"),
        ("path;label\nhole/0.png;a;b\n", "line 2: more fields than columns; quote what has semicolons"),
        ("path,Label,LABEL\nhole/0.png,b,c\n", "has 2 columns `label`"),
        ('path,label\n"hole/0.png,a\n', "not a CSV file up to line 2: unexpected end"),
        ("path,label,split\nhole/0.png,a,fold 1\n", "line 2: split 'fold 1'; expected train, val, test or nothing"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_and_separators_are_found(listed, encoding, separator):
    lines = (["path", "label", "size, in mm"], ["hole/0.png", "größe", "1,5"], ["scratch/0.png", "b", "2"])
    text = "\r\n".join(separator.join(f'"{field}"' for field in line) for line in lines)
    assert listed(text, encoding).classes == ("b", "größe")


def test_other_encodings_are_refused_by_name(listed):
    with pytest.raises(
        DataError, match=r"^list\.csv, line 3, is not UTF-8, perhaps Windows-1252 .*; save it as CSV UTF-8$"
    ):
        listed("path,label\nhole/0.png,a\nhole/1.png,größe\n", "cp1252")


def test_half_a_character_of_utf_16_is_refused(listed, tmp_path):
    path = write(tmp_path / "odd.csv", "path,label".encode("utf-16")[:-1])
    with pytest.raises(DataError, match="line 1, is not UTF-16"):
        read_list(path, "odd.csv")


def test_columns_without_a_name_and_fields_without_content_do_no_harm(listed):
    source = listed(",path,label,,\n0,hole/0.png,a,x,\n1,scratch/0.png,b,,y\n,,,,\n2,hole/1.png,a,,,,\n")
    assert [candidate.file for candidate in source.candidates] == ["hole/0.png", "hole/1.png", "scratch/0.png"]


def test_other_names_of_columns(listed):
    text = "Unnamed: 0,image_id,diagnosis,patient,fold\n0,hole/0.png,2,p1,Training\n1,scratch/0.png,0,p2,holdout\n"
    source = listed(text, path="image_id", label="diagnosis", group="patient", split="fold")
    found = [(candidate.file, candidate.label, candidate.group, candidate.split) for candidate in source.candidates]
    assert found == [("hole/0.png", "2", "p1", "train"), ("scratch/0.png", "0", "p2", "test")]


def test_case_of_a_columns_name_counts_only_where_two_are_alike(listed):
    assert listed("Path,LABEL\nhole/0.png,a\n").classes == ("a",)
    assert listed("path,label,Label\nhole/0.png,a,b\n").classes == ("a",)


@pytest.mark.parametrize("key", ["path", "label", "group", "split"])
def test_a_column_that_was_asked_for_must_be_there(listed, key):
    with pytest.raises(DataError, match="no column mine; found path, label, group, split"):
        listed("path,label,group,split\nhole/0.png,a,,\n", **{key: "mine"})


def test_columns_may_be_passed_over(listed):
    source = listed("path,label,group,split\nhole/0.png,a,g,fold 1\n", group=None, split=None)
    assert (source.candidates[0].group, source.candidates[0].split) == ("", "")


def test_a_suffix_and_a_folder(listed, tmp_path):
    text = "id_code,diagnosis\n0,2\n1.png,0\n"
    source = listed(text, path="id_code", label="diagnosis", suffix=".png", root=str(tmp_path / "hole"))
    assert [candidate.file for candidate in source.candidates] == ["0.png", "1.png"]
    assert source.candidates[1].read() == png(1)


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("hole/0", r"hole/0\.png is there: set `ingest\.columns\.suffix: \.png`"),
        ("0.png", r"hole/0\.png is there: set `ingest\.columns\.root: .*/hole`"),
        ("2", r"hole/2\.png is there: set `ingest\.columns\.suffix: \.png` and `ingest\.columns\.root: .*/hole`"),
        ("9", r"relative paths count from /.*; `ingest\.columns\.root` takes another folder"),
    ],
)
def test_a_file_that_lies_elsewhere_is_pointed_at(listed, file, advice):
    with pytest.raises(DataError, match=f"no such file: {file}; .*{advice}"):
        listed(f"path,label\n{file},a\n")


def test_paths_with_backslashes(listed, tmp_path):
    assert listed("path,label\n hole\\0.png ,a\n").candidates[0].read() == png(0)
    write(tmp_path / "odd\\name.png", png(7))
    assert listed("path,label\nodd\\name.png,a\n").candidates[0].read() == png(7)


def test_labels_and_groups_may_come_from_the_path(listed):
    patterns = {"label_pattern": r"^(?P<label>\w+)/", "group_pattern": r"(?P<group>\d)\.png"}
    source = listed("path\nhole/0.png\nscratch/0.png\n", patterns=patterns)
    assert [(candidate.label, candidate.group) for candidate in source.candidates] == [("hole", "0"), ("scratch", "0")]


def test_a_listed_images_changes_are_not_watched(listed, tmp_path):
    source = listed("path,label\nscratch/0.png,b\nhole/0.png,a\nhole/0.png,a\n")
    assert source.unwatched == (f"{tmp_path}/hole/0.png", f"{tmp_path}/scratch/0.png")


def test_a_label_that_could_act_where_it_is_shown_is_refused_with_its_line(listed):
    with pytest.raises(DataError, match=r"^list\.csv, line 3: the class `</script><svg onload=x>` has `<`, `>` or"):
        listed("path,label\nhole/0.png,a\nscratch/0.png,</script><svg onload=x>\n")
