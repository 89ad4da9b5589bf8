"""Files as DVC leaves them."""

from dvc_objects.fs.utils import tmp_fname

from stages.graft.dvc_files import left_by_dvc


def test_what_dvc_was_writing_is_told_from_other_hidden_files(tmp_path):
    left = {tmp_path / tmp_fname() for _ in range(200)}  # random: some with - or _
    for path in (*left, tmp_path / ".notes.tmp", tmp_path / ".gitignore", tmp_path / f"{'a' * 22}.tmp"):
        path.touch()
    assert set(left_by_dvc(tmp_path)) == left
