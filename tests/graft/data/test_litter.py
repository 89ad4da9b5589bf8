import pytest

from stages.graft.data.litter import count_hidden, is_hidden

LEFT = (
    "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
    "cat/@eaDir/x",
    "#recycle/a.png",
    "$RECYCLE.BIN/a.png",
    "a/.ipynb_checkpoints/b",
    "lost+found",
    "System Volume Information/x",
    "__pycache__/x.pyc",
    "__MACOSX/cat/._0.png",
    ".DS_Store",
)


@pytest.mark.parametrize("file", LEFT)
def test_what_systems_leave(file):
    assert is_hidden(file)


@pytest.mark.parametrize("file", ["cat/0.png", "recycling bin/0.png", "lost/0.png", "eaDir/a.png", "a.b/c.png"])
def test_what_people_name(file):
    assert not is_hidden(file)


def test_files_are_counted_and_a_folder_in_which_none_was_found_is_one():
    files = ["cat/0.png", ".git/a", ".git/b", "cat/@eaDir/0.png/x.jpg"]
    assert count_hidden(files, [".git", ".git/refs", "lost+found", "cat", "cat/@eaDir"]) == 4
