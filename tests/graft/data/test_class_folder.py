import os

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data import class_folder as folders
from stages.graft.data.class_folder import read_file
from stages.graft.storage import regular_files
from tests.support.ingestion import read_class_folder
from tests.support.pictures import class_folder, png, write


def listed(folder):
    source = read_class_folder(folder)
    return {candidate.file: candidate.label for candidate in source.candidates}


def test_the_first_level_is_the_label_and_files_are_sorted(tmp_path):
    class_folder(tmp_path, per_class=2)
    write(tmp_path / "hole" / "2026" / "may" / "a.png", png(7))
    source = read_class_folder(tmp_path)
    assert [candidate.file for candidate in source.candidates] == [
        "hole/0.png",
        "hole/1.png",
        "hole/2026/may/a.png",
        "scratch/0.png",
        "scratch/1.png",
    ]
    assert [candidate.label for candidate in source.candidates] == ["hole"] * 3 + ["scratch"] * 2
    assert source.classes == ("hole", "scratch")
    assert source.candidates[2].read() == png(7)


@pytest.mark.parametrize("name", ["a b.png", "it's.png", 'say "x".png', "a,b.png", "größe.png", "刮痕.png"])
def test_names_stay_as_they_are(tmp_path, name):
    write(tmp_path / f"class {name}" / name, png(1))
    assert listed(tmp_path) == {f"class {name}/{name}": f"class {name}"}


def test_a_name_is_one_line(tmp_path):
    write(tmp_path / "ho\nle" / "Icon\r.png", png(1))
    source = read_class_folder(tmp_path)
    assert [(candidate.file, candidate.label) for candidate in source.candidates] == [
        ("ho\\nle/Icon\\r.png", "ho\\nle")
    ]
    assert source.candidates[0].read() == png(1)


def test_a_name_that_is_no_utf_8_is_written_with_its_bytes(tmp_path):
    try:
        write(tmp_path / "hole" / os.fsdecode(b"a\xff.png"), png(1))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = read_class_folder(tmp_path)
    assert source.candidates[0].file == "hole/a\\udcff.png"
    assert source.candidates[0].read() == png(1)


def test_hidden_files_are_counted_only(tmp_path):
    class_folder(tmp_path, per_class=1)
    for hidden in (".DS_Store", "hole/.a.png", ".git/config", "hole/.cache/a/b.png", "__MACOSX/hole/0.png"):
        write(tmp_path / hidden, b"x")
    source = read_class_folder(tmp_path)
    assert (len(source.candidates), source.num_hidden, source.classes) == (2, 5, ("hole", "scratch"))


def test_system_folders_are_counted_also_when_they_may_not_be_listed(tmp_path, monkeypatch):
    class_folder(tmp_path, per_class=1)
    write(tmp_path / "hole/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", png(1))
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "System Volume Information").mkdir()
    scan = os.scandir

    def deny(folder):
        if "System" in str(folder):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", deny)
    source = read_class_folder(tmp_path)
    assert (len(source.candidates), source.num_hidden, source.classes) == (2, 3, ("hole", "scratch"))


def test_names_with_backslashes_as_unzip_leaves_them(tmp_path):
    for name in ("cat\\0.png", "dog\\1.png"):
        write(tmp_path / name, png(1))
    assert listed(tmp_path) == {"cat/0.png": "cat", "dog/1.png": "dog"}


def test_files_outside_the_class_folders_have_no_label(tmp_path):
    class_folder(tmp_path, per_class=1)
    write(tmp_path / "cover.png", png(1))
    assert listed(tmp_path)["cover.png"] == ""


def test_an_empty_class_folder_is_a_class(tmp_path):
    class_folder(tmp_path, per_class=1)
    (tmp_path / "pit" / "inner").mkdir(parents=True)
    assert read_class_folder(tmp_path).classes == ("hole", "pit", "scratch")


def test_links_are_followed_but_not_in_circles(tmp_path):
    elsewhere = class_folder(tmp_path / "elsewhere", per_class=1)
    folder = tmp_path / "folder"
    (folder / "pit").mkdir(parents=True)
    (folder / "hole").symlink_to(elsewhere / "hole")
    (folder / "pit" / "linked.png").symlink_to(elsewhere / "scratch" / "0.png")
    (folder / "pit" / "round").symlink_to(folder)
    (folder / "pit" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert listed(folder) == {"hole/0.png": "hole", "pit/linked.png": "pit", "pit/gone.png": "pit"}
    gone = read_class_folder(folder).candidates[1]
    with pytest.raises(DataError, match="cannot be read: No such file"):
        gone.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_counted_not_read(tmp_path):
    class_folder(tmp_path, per_class=1)
    os.mkfifo(tmp_path / "hole" / "pipe.png")
    source = read_class_folder(tmp_path)
    assert (len(source.candidates), source.num_special) == (2, 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_links_to_what_is_no_file_are_bad_images(tmp_path):
    class_folder(tmp_path, per_class=1)
    os.mkfifo(tmp_path / "pipe")
    for name, target in {
        "zero": "/dev/zero",
        "pipe": tmp_path / "pipe",
        "loop": tmp_path / "hole" / "loop.png",
    }.items():
        (tmp_path / "hole" / f"{name}.png").symlink_to(target)
    candidates = {candidate.file: candidate for candidate in read_class_folder(tmp_path).candidates}
    for name, reason in {
        "zero": "not a file but a device",
        "pipe": "not a file but a pipe",
        "loop": "Too many",
    }.items():
        with pytest.raises(DataError, match=reason):
            candidates[f"hole/{name}.png"].read()


def test_folders_inside_each_other_have_a_limit(tmp_path):
    class_folder(tmp_path)
    (tmp_path / "/".join("d" * 120)).mkdir(parents=True)
    with pytest.raises(DataError, match="has over 100 folders inside each other; move the images up"):
        read_class_folder(tmp_path)


def test_links_that_name_each_other_in_millions_of_ways_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_LINKED", 200)
    class_folder(tmp_path / "source")
    for level in range(20):
        (tmp_path / f"level{level}").mkdir()
        for side in ("left", "right"):
            (tmp_path / f"level{level}" / side).symlink_to(tmp_path / f"level{level + 1}")
    (tmp_path / "level20").mkdir()
    (tmp_path / "source" / "fan").symlink_to(tmp_path / "level0")
    with pytest.raises(DataError, match="over 200 folders behind links; put the images themselves there"):
        read_class_folder(tmp_path / "source")


def test_a_file_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(regular_files, "MAX_FILE_BYTES", 5)
    assert read_file(write(tmp_path / "small", b"12345")) == b"12345"
    with pytest.raises(DataError, match="over the limit"):
        read_file(write(tmp_path / "large", b"123456"))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    class_folder(tmp_path)

    def deny(folder: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be listed: Permission denied"):
        read_class_folder(tmp_path)
