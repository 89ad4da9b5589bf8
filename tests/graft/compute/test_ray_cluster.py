"""A cluster of two nodes: the same bytes as on one machine, also when a node dies; what users get wrong is one line."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages.graft.backbone.runtime_choice import RuntimeChoice
from stages.graft.backbone.weights import Weights
from stages.graft.compute import ray_cluster as module
from stages.graft.compute.extractors import open_extractor
from stages.graft.compute.settings import LOCAL, ComputeParams, load_compute
from stages.graft.core.errors import DataError, ParamsError
from stages.graft.images.crop import DECODER
from stages.graft.images.loading import LocateImage
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.arrays import read_arrays
from stages.graft.storage.feature_store import FeatureStore
from tests.support.clusters import Nodes, cluster
from tests.support.commands import graft
from tests.support.pictures import encoded, pixels, write

CHOICE = RuntimeChoice(runtime="openvino", precision="fp32", device="cpu", compile=False, batch_size=4)


def network(name: str, size_px: int) -> Weights:
    preprocessing = Preprocessing(
        resize_px=size_px, crop_px=size_px, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
    )
    return Weights(name=name, weights="random", sha256=None, preprocessing=preprocessing, path=None)


SMALL, SLOW = network("shufflenet_v2_x0_5", 32), network("resnet50", 112)


def write_images(folder: Path, number: int) -> list[str]:
    data = [encoded(pixels(seed, 40 + seed % 9, 36), "PNG") for seed in range(number)]
    return [write(folder / f"{sha256(one).hexdigest()}.png", one).stem for one in data]


@pytest.fixture
def locate(tmp_path: Path) -> LocateImage:
    return lambda id_: tmp_path / "images" / f"{id_}.png"


def extract(ids: list[str], locate: LocateImage, compute: ComputeParams, root: Path, weights: Weights = SMALL) -> int:
    """Extract into the store below `root` , pack `features.safetensors` and give the number of computed rows."""
    with open_extractor(weights, CHOICE, root.parent / "networks", compute) as engine:
        store = FeatureStore(root, {**weights.to_record(), **engine.record, "decoder": DECODER})
        number = engine.extract_missing(ids, locate, store)
    store.pack(ids, root / "features.safetensors", {})
    return number


def stored_ids(root: Path) -> list[str]:
    """Every row of every fragment."""
    return [row.tobytes().hex() for path in root.glob("*/*.safetensors") for row in read_arrays(path)["ids"]]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    with cluster() as running:
        yield running


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
class TestExtraction:
    """On two nodes."""

    def test_two_nodes_give_the_bytes_of_one_machine_and_compute_only_what_is_missing(self, nodes, locate, tmp_path):
        ids = write_images(tmp_path / "images", 90)
        assert extract(ids, locate, LOCAL, tmp_path / "local") == 90
        assert extract(ids[:80], locate, nodes.compute, tmp_path / "remote") == 80
        assert extract(ids, locate, nodes.compute, tmp_path / "remote") == 10
        assert extract(ids, locate, nodes.compute, tmp_path / "remote") == 0
        assert sorted(stored_ids(tmp_path / "remote")) == sorted(ids)
        local, remote = (tmp_path / name / "features.safetensors" for name in ("local", "remote"))
        assert local.read_bytes() == remote.read_bytes()

    def test_both_nodes_work(self, nodes, locate, tmp_path):
        from stages.graft.compute.ray_cluster import join_cluster, map_chunks

        with join_cluster(nodes.compute):
            replies = list(map_chunks(where, [{"number": [str(number)]} for number in range(8)], nodes.compute))
        assert [reply["number"] for reply in replies] == [str(number) for number in range(8)]
        assert len({reply["node"] for reply in replies}) == 2

    def test_a_damaged_image_is_named_and_costs_no_row_of_other_chunks(self, nodes, locate, tmp_path):
        ids = write_images(tmp_path / "images", 80)
        whole = locate(ids[-1]).read_bytes()
        locate(ids[-1]).write_bytes(whole[:50])
        with pytest.raises(DataError, match=ids[-1]):
            extract(ids, locate, nodes.compute, tmp_path / "store")
        assert len(stored_ids(tmp_path / "store")) >= 60
        locate(ids[-1]).write_bytes(whole)
        assert extract(ids, locate, nodes.compute, tmp_path / "store") <= 20

    def test_prediction_gives_the_rows_of_one_machine_in_order(self, nodes, bundle_folder, tmp_path, project):
        ids = write_images(tmp_path / "images", 60)
        (tmp_path / "images" / f"{ids[7]}.png").write_bytes(b"no image")
        write(Path(os.fsdecode(bytes(tmp_path / "images") + b"/not \xff utf-8.png")), encoded(pixels(0, 40, 36), "PNG"))
        project()
        for name, options in (("local.csv", ()), ("tlocal.csv", ("--ray",))):
            out = ("--model", str(bundle_folder), "--out", str(tmp_path / name))
            with pytest.raises(SystemExit, match="1 images cannot be read"):
                graft("predict", str(tmp_path / "images"), *out, *options)
        assert (tmp_path / "tlocal.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
        assert len((tmp_path / "local.csv").read_text().splitlines()) == 62

    def test_a_machine_without_room_for_a_worker_is_one_line(self, nodes, locate, tmp_path):
        for change, what in (({"gpus_per_worker": 1.0}, "1 GPUs"), ({"cpus_per_worker": 3}, "3 CPUs")):
            with pytest.raises(ParamsError, match=what) as caught:
                extract([], locate, nodes.compute.model_copy(update=change), tmp_path / "store")
            assert "\n" not in str(caught.value)

    def test_machines_that_would_give_other_bits_are_refused(self, tmp_path):
        from stages.graft.compute.ray_extraction import _check_same

        _check_same({"processor": "A", "precision": "fp32"}, {"processor": "A", "precision": "fp32"})
        with pytest.raises(DataError, match="processor B instead of A"):
            _check_same({"processor": "B"}, {"processor": "A"})


def where():
    """A worker that says on which node it is."""
    import ray

    node = ray.get_runtime_context().get_node_id()

    def work(item):
        time.sleep(0.3)
        return {"number": str(item["number"][0]), "node": node}

    return work


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_node_killed_in_the_middle_costs_no_row_and_changes_no_byte(locate, tmp_path):
    pytest.importorskip("ray")
    ids = write_images(tmp_path / "images", 240)
    extract(ids, locate, LOCAL, tmp_path / "local", SLOW)
    with cluster() as nodes:
        found = {}

        def kill() -> None:
            while (num_rows := len(stored_ids(tmp_path / "remote"))) < 40:
                time.sleep(0.05)
            nodes.kill_one()
            found["rows"] = num_rows

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert extract(ids, locate, nodes.compute, tmp_path / "remote", SLOW) == 240
        killer.join(timeout=5)
    assert 40 <= found["rows"] < 200  # in the middle
    assert sorted(stored_ids(tmp_path / "remote")) == sorted(ids)  # none missing, none twice
    local, remote = (tmp_path / name / "features.safetensors" for name in ("local", "remote"))
    assert local.read_bytes() == remote.read_bytes()


def test_without_ray_one_line_says_what_to_install(monkeypatch, locate, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ParamsError, match=r"pip install .*ray\[data,train\]") as caught:
        extract([], locate, LOCAL.model_copy(update={"engine": "ray"}), tmp_path / "store")
    assert "\n" not in str(caught.value)


def test_the_default_never_imports_ray(monkeypatch, locate, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    ids = write_images(tmp_path / "images", 5)
    assert extract(ids, locate, LOCAL, tmp_path / "store") == 5


def test_a_cluster_that_does_not_answer_is_named_with_what_to_do(locate, tmp_path):
    pytest.importorskip("ray")
    remote = LOCAL.model_copy(update={"engine": "ray", "address": "127.0.0.1:9"})
    with pytest.raises(ParamsError, match=r"no Ray cluster answers at 127\.0\.0\.1:9 .*ray start --head") as caught:
        extract([], locate, remote, tmp_path / "store")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["auto", "new", "head:6379", "10.0.0.1:6379", "[::1]:6379"])
def test_addresses_that_may_be_given(project, address):
    folder = project(compute={"address": address})
    assert load_compute(folder / "params.yaml").address == address


@pytest.mark.parametrize("address", ["", "head", "http://head:6379", "head:", ":6379", "new cluster"])
def test_other_addresses_are_refused_by_name(project, address):
    folder = project(compute={"address": address})
    with pytest.raises(ParamsError, match=r"compute\.address"):
        load_compute(folder / "params.yaml")


def test_a_chunk_is_a_whole_number_of_batches_and_every_worker_gets_several(monkeypatch):

    monkeypatch.setattr(module, "num_workers", lambda compute: 2)
    size = lambda number: module.chunk_size(number, 16, LOCAL, 1024)  # noqa: E731
    assert [size(number) for number in (1, 16, 2000, 30_000, 10**6)] == [16, 16, 64, 944, 1024]
    wide = LOCAL.model_copy(update={"cpus_per_worker": 8})
    assert module.chunk_size(100, 16, wide, 1024) == 128  # a batch for each of its processors
    assert np.gcd(16, size(12_345)) == 16


def test_auto_does_not_wait_for_a_cluster_that_was_killed(locate, monkeypatch, tmp_path):
    """Its address stays in a file; Ray itself tries for ten minutes to reach it."""
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    write(tmp_path / "ray/ray_current_cluster", b"127.0.0.1:9")
    monkeypatch.setattr(module.psutil, "process_iter", lambda _: [])
    auto = LOCAL.model_copy(update={"engine": "ray", "address": "auto"})
    with pytest.raises(
        ParamsError, match=r"no Ray cluster answers at 127\.0\.0\.1:9 .*`ray stop` forgets it"
    ) as caught:
        extract([], locate, auto, tmp_path / "store")
    assert "\n" not in str(caught.value)


def test_auto_leaves_the_choice_to_ray_while_a_head_runs_here(monkeypatch, tmp_path):
    """The file names the cluster that was started last, which may be gone while an older one runs."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    write(tmp_path / "ray/ray_current_cluster", b"127.0.0.1:9")
    running = [SimpleNamespace(info={"name": name}) for name in ("python", "gcs_server")]
    monkeypatch.setattr(module.psutil, "process_iter", lambda _: running)
    module._check_address("auto")
    monkeypatch.setattr(module.psutil, "process_iter", lambda _: running[:1])
    with pytest.raises(ParamsError, match="no Ray cluster answers"):
        module._check_address("auto")
