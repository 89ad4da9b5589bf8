"""The real pipeline on a cluster: `compute` makes nothing run again, changes no byte, and experiments share it."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.clones import Clone
from tests.support.clusters import cluster, started
from tests.support.packed import packed_images
from tests.support.pages import commands, read_page
from tests.support.pictures import write
from tests.system.test_end_to_end import ran

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.ray]


def test_the_pipeline_on_a_cluster(tmp_path: Path):
    pytest.importorskip("ray")
    clone = Clone(tmp_path)
    clone.set_params("finetune", strategy="partial", epochs=2, accumulate=2, keep="always")
    clone.repro()
    before, lock = clone.digests(), (clone.folder / "dvc.lock").read_bytes()

    clone.set_params("compute", engine="ray", workers=2)
    assert ran(clone.repro()) == []  # where the work is done is no reason to do it again

    clone.environment["RAY_TMPDIR"] = str(tmp_path)  # not the last cluster of this machine
    said = clone.run("dvc", "repro", "--force", "--single-item", "extract", code=None)
    assert "extract: error: `compute.address` is auto, but this machine has joined no Ray cluster" in said

    del clone.environment["RAY_TMPDIR"]
    with cluster() as nodes:
        clone.environment["RAY_ADDRESS"] = nodes.address
        for place in Path(clone.environment["GRAFT_STORE"]).iterdir():
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        output = clone.run("dvc", "repro", "--force", "--no-run-cache")
        assert "48 images, 48 new" in output
        assert not re.search(r"logging\.cc|INFO|WARN", output)  # Ray does not talk among our lines
        assert clone.digests() == before
        assert (clone.folder / "dvc.lock").read_bytes() == lock

        for seed in (1, 2):  # each extracts: another batch size, another set of features
            change = f"extract.batch_size={3 * seed}"
            clone.run("dvc", "exp", "run", "--queue", "-S", "compute.workers=1", "-S", change, "--name", f"batch{seed}")
        clone.run("dvc", "exp", "run", "--run-all", "--jobs", "2")
        shown = clone.run("dvc", "exp", "show", "--csv", "--no-pager")
        assert shown.count("batch1") == shown.count("batch2") == 1
        assert "Failed" not in shown, [clone.run("dvc", "queue", "logs", name) for name in ("batch1", "batch2")]


def test_the_commands_of_the_page(made_clone: Clone, tmp_path: Path):
    """What docs/clusters.md types: two nodes started and joined, and images classified by them."""
    pytest.importorskip("ray")
    head, other, predict = commands(read_page("docs/clusters.md"))
    clone = made_clone.copy(tmp_path)
    for name, data in packed_images(clone.folder / "data/images").items():
        write(tmp_path / "images" / name, data)
    command = predict.replace("/path/to/your/images", str(tmp_path / "images"))
    with started(head, other, clone.environment | {"RAY_USAGE_STATS_ENABLED": "0"}) as address:
        clone.environment["RAY_ADDRESS"] = address
        assert "48 images" in clone.run("bash", "-c", command)
    there = (clone.folder / "answers.csv").read_bytes()
    clone.run("bash", "-c", command.replace("--ray ", ""))
    assert (clone.folder / "answers.csv").read_bytes() == there
