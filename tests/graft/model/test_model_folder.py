"""The model's folder: complete, or no model."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.head import HEAD, Head
from stages.graft.model import model_folder as model_module
from stages.graft.model.model_folder import BACKBONE, MODEL, read_model, write_model
from stages.graft.storage.arrays import write_arrays
from stages.graft.storage.files import read_json, write_json

RECORD = {"name": "tiny", "weights": "random", "sha256": None, "preprocessing": {"mean": [0.5, 0.5, 0.5]}}
HEAD_OF_TWO = Head(
    kind="logistic",
    classes=("NA", "ä"),
    layers=((np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([0.5, -0.5], np.float32)),),
)


def write_backbone(folder: Path) -> str:
    write_arrays({"w": np.arange(4.0)}, folder / BACKBONE)
    return sha256((folder / BACKBONE).read_bytes()).hexdigest()


def test_a_frozen_model_comes_back(tmp_path: Path):
    write_model(HEAD_OF_TWO, RECORD, tmp_path)
    model, head = read_model(tmp_path)
    assert (model.kind, model.classes, model.backbone, model.backbone_sha256) == ("frozen", ("NA", "ä"), RECORD, None)
    assert (head.kind, head.classes) == ("logistic", model.classes)
    np.testing.assert_array_equal(head.logits(np.eye(3, dtype=np.float32)), [[1.5, 3.5], [2.5, 4.5], [3.5, 5.5]])
    assert sorted(path.name for path in tmp_path.iterdir()) == [HEAD, MODEL]


def test_a_finetuned_model_records_the_hash_of_its_backbone(tmp_path: Path):
    digest = write_backbone(tmp_path)
    write_model(HEAD_OF_TWO, RECORD, tmp_path)
    model, _ = read_model(tmp_path)
    assert (model.kind, model.backbone_sha256) == ("finetuned", digest)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        write_backbone(tmp_path / name)
        write_model(HEAD_OF_TWO, RECORD, tmp_path / name)
    for file in (HEAD, MODEL, BACKBONE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_record_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_backbone(tmp_path)
    there = []

    def note(record: dict[str, object], path: Path) -> None:
        there.extend(sorted(file.name for file in tmp_path.iterdir()))
        write_json(record, path)

    monkeypatch.setattr(model_module, "write_json", note)
    write_model(HEAD_OF_TWO, RECORD, tmp_path)
    assert there == [BACKBONE, HEAD]


@pytest.mark.parametrize("name", [MODEL, HEAD, BACKBONE])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str):
    write_backbone(tmp_path)
    write_model(HEAD_OF_TWO, RECORD, tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        content = bytearray(path.read_bytes())
        # In the format of head and record; in a weight of the backbone.
        content[1 if name != BACKBONE else -1] ^= 0x80
        path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=name) as caught:
        read_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil", [{"classes": None}, {"kind": ...}, {"kind": "other"}, {"classes": ...}])
def test_a_record_of_something_else_is_refused(tmp_path: Path, spoil: dict[str, object]):
    write_model(HEAD_OF_TWO, RECORD, tmp_path)
    record = read_json(tmp_path / MODEL) | spoil
    (tmp_path / MODEL).write_text(json.dumps({key: value for key, value in record.items() if value is not ...}))
    with pytest.raises(DataError, match=rf"model\.json: `{next(iter(spoil))}` .*make it again with `dvc repro`"):
        read_model(tmp_path)
