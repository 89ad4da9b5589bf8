"""Image files named by a user: every file is counted, and every name can be read back."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.graft.core.errors import DataError
from stages.graft.model.image_inputs import FolderCount, count_images, named_images, printable_name
from tests.support.pictures import encoded, pixels, png, write

FILES = ("b.png", "a/2.JPG", "a/10.jpeg", "a/deep/er/x.tiff", "photo.heic")


@pytest.fixture
def folder(tmp_path):
    for name in (*FILES, "notes.txt", "a/Thumbs.db", ".hidden.png", ".git/x.png", "a/__MACOSX/y.png"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(name.encode())
    return tmp_path / "f"


def names(places, stdin=b""):
    return [file.name for file in named_images(list(map(str, places)), io.BytesIO(stdin))]


def test_a_folder_is_searched_at_any_depth_and_by_name(folder):
    num_images, counts = count_images([str(folder)])
    assert counts == {str(folder): FolderCount(num_images=5, num_others=2, num_hidden=3)}
    expected = [f"{folder}/{name}" for name in ("a/10.jpeg", "a/2.JPG", "a/deep/er/x.tiff", "b.png", "photo.heic")]
    assert names([folder]) == expected
    assert num_images == 5


def test_images_are_taken_as_ingest_takes_them(folder, tmp_path):
    for name in ("scan", "a/IMG.0001", "b.dat", "@eaDir/b.png/thumb.jpg", "lost+found/x.png"):
        write(folder / name, png(1))
    write(folder / "tiff", encoded(pixels(1, 300, 300), "TIFF"))
    (folder / "$RECYCLE.BIN").mkdir()
    num_images, counts = count_images([str(folder)])
    assert counts == {str(folder): FolderCount(num_images=9, num_others=2, num_hidden=6)}
    assert num_images == len(names([folder])) == 9
    assert {os.path.relpath(name, folder) for name in names([folder])} == {
        *FILES,
        "scan",
        "a/IMG.0001",
        "b.dat",
        "tiff",
    }


def test_a_folder_that_systems_lock_is_passed_over(folder, monkeypatch):
    (folder / "System Volume Information").mkdir()
    scan = os.scandir

    def deny(path):
        if "System" in str(path):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert count_images([str(folder)])[1][str(folder)].num_hidden == 4


def test_files_and_folders_keep_their_order_and_may_come_twice(folder):
    places = [folder / "b.png", folder / "a/deep", folder / "b.png", folder / "notes.txt"]
    expected = [f"{folder}/{name}" for name in ("b.png", "a/deep/er/x.tiff", "b.png", "notes.txt")]
    assert names(places) == expected
    assert count_images(list(map(str, places)))[0] == 4
    assert [file.read() for file in named_images([str(folder / "b.png")], io.BytesIO())] == [b"b.png"]


def test_links_are_followed_but_not_in_circles(folder):
    (folder / "a/up").symlink_to(folder)
    (folder / "a/gone.png").symlink_to("nowhere")
    (folder / "pipe.png").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.png")
    assert count_images([str(folder)])[1][str(folder)] == FolderCount(num_images=6, num_others=3, num_hidden=3)
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        next(file for file in named_images([str(folder)], io.BytesIO()) if "gone" in file.name).read()


class Slow(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read1(self, size=-1):
        return super().read1(3)


@given(
    st.lists(st.binary(min_size=1).filter(lambda one: not set(one) & {0, 10, 13})),
    st.sampled_from([b"\n", b"\0", b"\r\n"]),
)
def test_names_on_stdin(given_names, end):
    for stream in (io.BytesIO, Slow):
        found = list(named_images(["-"], stream(end.join(given_names) + (end if given_names else b""))))
        assert [file.name for file in found] == [printable_name(os.fsdecode(name)) for name in given_names]
    assert count_images(["-"]) == (None, {})


def test_a_name_with_a_line_end_comes_whole_after_print0():
    assert names("-", b"a\nb.png\0c.png\0") == ["a\nb.png", "c.png"]
    assert names("-", b"a.png\n\n\nc.png") == ["a.png", "c.png"]


def test_bytes_that_are_no_text_are_escaped_and_still_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/bad\xff.png"
    with open(path, "wb") as file:
        file.write(b"x")
    (image,) = named_images([str(tmp_path)], io.BytesIO())
    assert image.name == f"{tmp_path}/bad\\xff.png"
    assert image.read() == b"x"


def test_a_missing_file_is_reported_at_once(folder, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png does not exist"):
        count_images([str(folder), "nowhere.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in "):
        count_images([str(tmp_path / "empty")])
