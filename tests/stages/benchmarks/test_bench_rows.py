"""The measurement of rows: each step does its work on the real manifest, splits and store."""

import pytest

from stages import split
from stages.benchmarks import bench_rows
from stages.benchmarks.sandbox import Measured, Sandbox
from stages.graft.data.manifest import read_manifest
from stages.graft.data.splits import read_splits
from stages.graft.storage import tables


@pytest.fixture
def generated(project, monkeypatch):
    """3,000 rows in three shards, and their store, in the working folder."""
    monkeypatch.setattr(tables, "ROWS_PER_SHARD", 1000)
    monkeypatch.setattr(bench_rows, "ROWS_PER_SHARD", 1000)
    monkeypatch.setattr(bench_rows, "ROWS_PER_FRAGMENT", 700)
    folder = project()
    bench_rows.write_rows(3000)
    return folder


def test_a_manifest_and_a_store_are_generated(generated):
    table = read_manifest(generated / "data/manifest.csv")
    assert len(list((generated / "data/manifest.csv").iterdir())) == 3
    assert table["id"].is_monotonic_increasing
    assert table["id"].str.slice(16).nunique() == 3000
    assert (len(table), table["label"].nunique(), int((table["group"] == "").sum())) == (3000, 100, 1500)
    assert len(list((generated / "store").glob("*/*.safetensors"))) == 5


def test_generated_rows_are_split_and_looked_up(generated, capsys):
    split.main()
    assert read_splits(generated / "data/splits.csv")["split"].value_counts()["test"] == pytest.approx(450, abs=100)
    capsys.readouterr()
    bench_rows.look_up_rows()
    expected = "3000 ids, 30 missing, first s3://bucket/images/class 000/image 000000000.jpg\n"
    assert capsys.readouterr().err == expected


def test_ingest_is_measured_in_a_process_of_its_own(project, tmp_path):
    (project() / "data/backbones").mkdir(parents=True)
    sandbox = Sandbox.project(tmp_path / "sandbox")
    measured = sandbox.measure(bench_rows.MODULE, "ingest_rows", 300)
    table = read_manifest(sandbox.folder / "data/manifest.csv")
    assert (len(table), table["id"].nunique(), table["label"].nunique()) == (300, 300, 100)
    assert table["address"].str.startswith("s3://bucket/images/class 0").all()
    assert measured.seconds > 0
    assert measured.peak_mb > 10
    assert "pandas" in measured.modules
    assert not {"torch", "openvino"} & set(measured.modules)  # their memory would count


def test_growth_is_the_ratio_of_the_measurements():
    def measured(seconds, peak_mb):
        return Measured(seconds=seconds, peak_mb=peak_mb, modules=())

    steps = {
        "ingest": {10: measured(3.0, 200.0)},
        "split": {100: measured(2.0, 300.0), 1000: measured(10.0, 600.0)},
        "lookup": {100: measured(1.0, 100.0), 1000: measured(8.0, 400.0)},
    }
    lines = bench_rows.table(steps).splitlines()
    assert lines[2:6] == [
        "| ingest | 10 | 3.0 | 200 |",
        "| split | 100 | 2.0 | 300 |",
        "| split | 1,000 | 10.0 | 600 |",
        "| split | 10 times | 5.0 times | 2.0 times |",
    ]
    assert lines[-1] == "| lookup | 10 times | 8.0 times | 4.0 times |"
