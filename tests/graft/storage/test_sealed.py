"""Records and files that carry their hash: damaged ones count as missing, and one is always complete."""

from functools import partial
from pathlib import Path

import pytest

from stages.graft.storage.sealed import (
    find_named,
    named_files,
    named_problem,
    read_sealed,
    remove_named,
    sealed_problem,
    write_named,
    write_sealed,
)


def write(text: str, path: Path) -> None:
    path.write_text(text)


def test_a_sealed_record_gives_its_values_and_knows_its_files(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(b"a")
    write_sealed({"é": [1, None, 0.5]}, tmp_path / "r.json", ["a.bin"])
    assert read_sealed(tmp_path / "r.json")["é"] == [1, None, 0.5]
    (tmp_path / "a.bin").unlink()
    assert sealed_problem(tmp_path / "r.json") == f"{tmp_path / 'a.bin'} is missing or damaged"


def test_every_other_byte_breaks_the_seal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "r.json"
    write_sealed({"a": 1.25, "b": "text"}, path)
    data = path.read_bytes()
    for position in range(len(data)):
        for flip in (1, 0x07, 0x20, 0x80):
            path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
            assert read_sealed(path) is None
            assert "made or fetched again" in capsys.readouterr().err


def test_a_missing_record_is_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert read_sealed(tmp_path / "r.json") is None
    assert capsys.readouterr().err == ""


def test_a_record_of_an_older_version_is_not_used(tmp_path: Path):
    (tmp_path / "r.json").write_text('{"mean": 1}')
    assert "carries no hash" in sealed_problem(tmp_path / "r.json")
    assert read_sealed(tmp_path / "r.json") is None


def test_a_named_file_replaces_the_one_before_and_a_damaged_one_is_removed(tmp_path: Path):
    path = tmp_path / "state[1].txt"
    first = write_named(path, partial(write, "first"))
    second = write_named(path, partial(write, "second"))
    assert not first.exists()
    assert find_named(path) == second
    assert second.read_text() == "second"
    assert [one.name for one in tmp_path.iterdir()] == [second.name]
    second.write_text("sEcond")
    assert "is damaged" in named_problem(second)
    assert find_named(path) is None
    assert not second.exists()


def test_a_kill_between_two_steps_leaves_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It dies after the new file has its name, before the old one is gone."""
    path = tmp_path / "state.txt"
    write_named(path, partial(write, "first"))
    with monkeypatch.context() as patch:
        patch.setattr("stages.graft.storage.sealed.named_files", lambda _: [])
        newest = write_named(path, partial(write, "second"))
    assert len(named_files(path)) == 2
    assert find_named(path) == newest
    remove_named(path)
    assert list(tmp_path.iterdir()) == []
