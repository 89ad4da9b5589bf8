"""Corrected images: which names are taken, and that `ingest` takes the folder."""

import pytest

from stages.graft.serving.corrections import Corrections
from stages.graft.serving.limits import RefusedError
from tests.support.ingestion import read_class_folder

CLASSES = ("crack", "ü, light")
LIMIT = 10_000_000


@pytest.fixture
def corrections(tmp_path):
    return Corrections(tmp_path / "corrections", CLASSES)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_image_is_saved_once_under_its_last_class(corrections, tmp_path, png):
    assert corrections.save(png, " crack ", False, LIMIT) == "crack"
    assert corrections.save(png, "u\u0308, light", False, LIMIT) == "ü, light"
    [file] = files_in(tmp_path / "corrections")
    assert file.startswith("ü, light/")
    assert file.endswith(".png")
    assert len(file) == len("ü, light/") + 64 + len(".png")


def test_a_new_class_has_to_be_meant(corrections, tmp_path, png):
    with pytest.raises(RefusedError, match="there is no class dent; the classes are crack, ü, light") as caught:
        corrections.save(png, "dent", False, LIMIT)
    assert caught.value.status == 409
    corrections.save(png, "dent", True, LIMIT)
    assert corrections.classes == ["crack", "dent", "ü, light"]
    corrections.save(png, "dent", False, LIMIT)


@pytest.mark.parametrize(
    "label",
    ["", " ", "..", ".", ".hidden", "../up", "a/b", "a\\b", "C:x", "nul", "con.txt", "x" * 101, "a\x00b", "a\u200bb",
     "end.", "train", "Test set", "__MACOSX", "what?", "Crack"],
)  # fmt: skip
def test_unsafe_and_misleading_names_are_refused(corrections, tmp_path, png, label):
    with pytest.raises(RefusedError) as caught:
        corrections.save(png, label, True, LIMIT)
    assert caught.value.status == 422
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(("data", "reason"), [(b"", "zero bytes"), (b"hello", "text file"), (None, "limit")])
def test_only_images_are_saved(corrections, tmp_path, png, data, reason):
    with pytest.raises(RefusedError, match=reason):
        corrections.save(png if data is None else data, "crack", False, 3)
    assert files_in(tmp_path) == []


def test_ingest_takes_the_folder(corrections, tmp_path, png, other_png):
    corrections.save(png, "crack", False, LIMIT)
    corrections.save(other_png, "dent", True, LIMIT)
    found = sorted(candidate.label for candidate in read_class_folder(tmp_path / "corrections").candidates)
    assert found == ["crack", "dent"]


def test_a_full_disk_is_said(corrections, monkeypatch, tmp_path, png):
    monkeypatch.setattr("stages.graft.serving.corrections.MIN_FREE_BYTES", 2**70)
    with pytest.raises(RefusedError, match="nearly full") as caught:
        corrections.save(png, "crack", False, LIMIT)
    assert caught.value.status == 507
