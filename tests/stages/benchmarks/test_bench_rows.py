"""The measurement of rows: it runs the real stage and the real store, and what it generates is what it says."""

import json

import pytest

from stages.benchmarks import bench_rows
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


def test_what_is_generated(generated):
    table = read_manifest(generated / "data/manifest.csv")
    assert len(list((generated / "data/manifest.csv").iterdir())) == 3
    assert table["id"].is_monotonic_increasing
    assert table["id"].str.slice(16).nunique() == 3000
    assert (len(table), table["label"].nunique(), int((table["group"] == "").sum())) == (3000, 100, 1500)
    assert len(list((generated / "store").glob("*/*.safetensors"))) == 5


def test_the_steps_are_measured(generated, capsys):
    bench_rows.measure("split", 3000)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seconds"] > 0
    assert read_splits(generated / "data/splits.csv")["split"].value_counts()["test"] == pytest.approx(450, abs=100)
    bench_rows.measure("lookup", 3000)
    out, err = capsys.readouterr()
    assert json.loads(out).keys() == {"seconds", "peak_mb"}
    assert err == "3000 ids, 30 missing, the first at s3://bucket/images/class 000/image 000000000.jpg\n"


def test_what_is_ingested(project, capsys):
    folder = project()
    bench_rows.measure("ingest", 300)
    table = read_manifest(folder / "data/manifest.csv")
    assert (len(table), table["id"].nunique(), table["label"].nunique()) == (300, 300, 100)
    assert table["address"].str.startswith("s3://bucket/images/class 0").all()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["peak_mb"] > 0


def test_growth_is_the_ratio_of_the_figures():
    found = {
        10: {"ingest": (3.0, 200.0)},
        100: {"split": (2.0, 300.0), "lookup": (1.0, 100.0)},
        1000: {"split": (10.0, 600.0), "lookup": (8.0, 400.0)},
    }
    lines = bench_rows.table(found).splitlines()
    assert lines[2:6] == [
        "| ingest | 10 | 3.0 | 200 |",
        "| split | 100 | 2.0 | 300 |",
        "| split | 1,000 | 10.0 | 600 |",
        "| split | 10 times | 5.0 times | 2.0 times |",
    ]
    assert lines[-1] == "| lookup | 10 times | 8.0 times | 4.0 times |"
