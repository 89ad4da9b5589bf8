import subprocess

import pytest

from stages.graft.core import git
from stages.graft.core.git import ask_git, committed_file
from tests.support.clones import IDENTITY


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a ü.txt").write_bytes(b"committed\xff\r\n")
    for command in (["init"], ["add", "."], ["commit", "--message", "all"]):
        subprocess.run(["git", *IDENTITY, *command], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "inner/a ü.txt").write_bytes(b"changed")
    return tmp_path


def test_the_answer_of_git_and_its_input(repository):
    assert ask_git(repository, "diff", "--name-only", "-z") == "inner/a ü.txt\0".encode()
    assert ask_git(repository, "hash-object", "--stdin", given="") == b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n"


def test_a_committed_file_from_the_root_and_from_a_folder(repository):
    assert committed_file(repository, "inner/a ü.txt") == b"committed\xff\r\n"
    assert committed_file(repository / "inner", "a ü.txt") == b"committed\xff\r\n"
    assert committed_file(repository, "inner/b.txt") is None
    assert committed_file(repository, "inner/a ü.txt", "no-such-branch") is None


def test_without_a_repository_without_git_and_without_an_answer_there_is_none(
    repository, tmp_path_factory, monkeypatch
):
    assert ask_git(tmp_path_factory.mktemp("empty"), "status") is None
    monkeypatch.setattr(git, "SECONDS_TO_ANSWER", 0.0)
    assert ask_git(repository, "status") is None
    monkeypatch.setenv("PATH", "")
    assert ask_git(repository, "status") is None
