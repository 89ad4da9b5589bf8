import hashlib

import pytest
import yaml

from stages.graft.core.errors import DataError
from stages.graft.maintenance.freshness import outdated
from stages.graft.storage.files import write_json, write_text
from stages.graft.storage.hashing import dvc_folder_md5


def md5(path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path):
    """A pipeline of one stage that has run: a parameter, a table, a report, a folder."""
    write_text("head: {kind: mlp, l2: [1.0, 2.0]}\nreport: {tiles: 3}\n", tmp_path / "params.yaml")
    write_text("id\n", tmp_path / "data/manifest.csv")
    write_json({"accuracy": 1}, tmp_path / "reports/metrics.json")
    write_json({"classes": []}, tmp_path / "data/bundle/model.json")
    write_text("<p>", tmp_path / "reports/report.html")
    listed = {"model.json": md5(tmp_path / "data/bundle/model.json")}
    outs = [{"path": path, "md5": md5(tmp_path / path)} for path in ("data/manifest.csv", "reports/metrics.json")]
    outs += [{"path": "data/bundle", "md5": dvc_folder_md5(listed)}, {"path": "data/images", "md5": f"{'0' * 32}.dir"}]
    params = {"params.yaml": {"head.kind": "mlp", "head.l2": [1.0, 2.0]}}
    lock = {"stages": {"train": {"cmd": "train", "params": params, "outs": outs}}}
    write_text(yaml.safe_dump(lock), tmp_path / "dvc.lock")
    write_text("stages: {train: {cmd: train}}\n", tmp_path / "dvc.yaml")
    return tmp_path


def test_unchanged_files_and_parameters_are_fresh(root):
    assert outdated(root) is None  # data/images is not published, so it is not checked


def test_a_parameter_no_stage_reads_and_another_order_make_nothing_old(root):
    write_text("report: {tiles: 4}\nhead: {l2: [1, 2], kind: mlp}  # words\n", root / "params.yaml")
    write_text("<p>other", root / "reports/report.html")
    assert outdated(root) is None


@pytest.mark.parametrize(("now", "shown"), [("{kind: tree, l2: [1.0, 2.0]}", "'tree'"), ("{l2: [1.0, 2.0]}", "None")])
def test_results_of_another_parameter(root, now, shown):
    write_text(f"head: {now}\n", root / "params.yaml")
    assert outdated(root) == f"the results of train are of `head.kind` 'mlp', params.yaml has {shown}"


@pytest.mark.parametrize("path", ["data/manifest.csv", "reports/metrics.json", "data/bundle/model.json"])
def test_files_that_are_other_ones_or_missing(root, path):
    write_text("other", root / path)
    assert outdated(root) is not None
    (root / path).unlink()
    assert outdated(root) is not None


def test_without_dvc_lock_freshness_is_unknown(root):
    (root / "dvc.lock").unlink()
    with pytest.raises(DataError, match=r"dvc\.lock does not exist; .*`dvc repro`"):
        outdated(root)
