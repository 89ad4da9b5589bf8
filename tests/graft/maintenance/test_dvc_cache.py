"""Files as DVC leaves them."""

import subprocess

from dvc_objects.fs.utils import tmp_fname

from stages.graft.maintenance.dvc_cache import Hasher, abandoned_dvc_files, committed_folder
from stages.graft.storage.hashing import dvc_folder_md5
from tests.support.clones import IDENTITY


def test_temporary_files_of_dvc_are_told_from_other_hidden_files(tmp_path):
    left = {tmp_path / tmp_fname() for _ in range(200)}  # random: some with - or _
    for path in (*left, tmp_path / ".notes.tmp", tmp_path / ".gitignore", tmp_path / f"{'a' * 22}.tmp"):
        path.touch()
    assert set(abandoned_dvc_files(tmp_path)) == left


def test_a_committed_folder_has_the_hash_it_had_on_disk(tmp_path):
    (tmp_path / "code/inner").mkdir(parents=True)
    for name, data in (("code/a ü.py", b"1\n"), ("code/inner/b.bin", b"\x00\r\n"), ("beside.py", b"2")):
        (tmp_path / name).write_bytes(data)
    for command in (["init"], ["add", "."], ["commit", "--message", "all"]):
        subprocess.run(["git", *IDENTITY, *command], cwd=tmp_path, check=True, capture_output=True)
    before = Hasher().folder(tmp_path / "code")
    (tmp_path / "code/a ü.py").write_bytes(b"changed")
    assert committed_folder(tmp_path, "code") == before
    assert dvc_folder_md5(committed_folder(tmp_path, "code")) != dvc_folder_md5(Hasher().folder(tmp_path / "code"))
    assert committed_folder(tmp_path, "nowhere") == {}
