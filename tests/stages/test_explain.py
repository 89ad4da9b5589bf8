"""The stage on a small, real model: evidence that the bundle takes, the same bytes twice, test images not read."""

import shutil

import pytest

from stages import explain
from stages.graft.core.stage import run
from stages.graft.data.image_locations import image_path
from stages.graft.model.heat_map import EVIDENCE, load_evidence
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import sha256_of
from tests.support.pipeline import write_split_table

SPLITS = ("train", "train", "val", "test")


@pytest.fixture
def folder(project, bundle_folder, monkeypatch):
    """A project with the model, the pictures and the store of the small bundle."""
    monkeypatch.setenv("GRAFT_STORE", str(bundle_folder.parent / "store"))
    folder = project(explain={"num_images": 8}, extract={"batch_size": 4})
    shutil.copytree(bundle_folder.parent / "model", folder / "data/model")
    files = sorted((bundle_folder.parent / "pictures").rglob("*.png"))
    ids, splits = [sha256_of(path) for path in files], [SPLITS[k % 4] for k in range(len(files))]
    (folder / "data/images").mkdir()
    for id_, path in zip(ids, files, strict=True):
        shutil.copyfile(path, image_path(folder / "data/images", id_, "PNG"))
    write_split_table(ids, [path.parent.name for path in files], splits, folder / "data/baselines.csv")
    return folder


def test_evidence_and_its_trust_are_written_and_the_same_twice(folder, capsys):
    run("explain", explain.main)
    evidence, record = load_evidence(folder / "data/evidence"), read_json(folder / "reports/explain.json")
    assert len(evidence.weights) == record["num_layers"] == 1
    assert evidence.trust.num_images == record["num_images"] == 8
    assert record["is_trusted"] == evidence.trust.is_trusted
    assert "explain: heat maps from 1 layer" in capsys.readouterr().out
    first = (folder / "data/evidence" / EVIDENCE).read_bytes()
    run("explain", explain.main)
    assert (folder / "data/evidence" / EVIDENCE).read_bytes() == first


def test_test_images_are_not_looked_at(folder):
    run("explain", explain.main)
    before = (folder / "data/evidence" / EVIDENCE).read_bytes()
    splits = (folder / "data/baselines.csv").read_text(encoding="utf-8").splitlines()
    for line in splits:
        if ",test," in line:
            image_path(folder / "data/images", line.split(",")[0], "PNG").write_bytes(b"")
    run("explain", explain.main)
    assert (folder / "data/evidence" / EVIDENCE).read_bytes() == before
