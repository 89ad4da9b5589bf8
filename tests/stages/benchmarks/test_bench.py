import cv2
import numpy as np
import pytest

from stages.benchmarks import bench
from stages.benchmarks.bench import main, page
from stages.benchmarks.measurements import COSINE, Measurement, compared_table, merge, read_before
from stages.benchmarks.textures import NUM_CLASSES, write_textures
from stages.graft.core.errors import DataError, ParamsError


def measured(part, what, value, unit="s"):
    return Measurement(part=part, what=what, value=value, unit=unit)


def test_numbers_stand_beside_those_of_before_ratio_first():
    now = [measured("A", "all", 30.0), measured("A", "new", 1234.5, "MB"), measured("A", "alike", 0.999961, COSINE)]
    before = [measured("A", "all", 40.0), measured("B", "new", 1.0, "MB"), measured("A", "alike", 0.0, COSINE)]
    lines = compared_table(now, before).splitlines()
    assert lines[2:] == [
        "| all | **0.75** | 30.0 s | 40.0 s |",
        "| new |  | 1,234 MB |  |",
        "| alike |  | 0.99996 | 0.00000 |",
    ]


def test_another_unit_gives_no_ratio():
    assert "**" not in compared_table([measured("A", "all", 1.0)], [measured("A", "all", 1.0, "MB")])


def test_a_part_takes_the_place_of_its_own_numbers_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    merge([measured("A", "all", 1.0), measured("A", "gone", 2.0), measured("B", "all", 3.0)])
    rows = merge([measured("A", "all", 4.00000049)])
    assert rows == [measured("B", "all", 3.0), measured("A", "all", 4.0)]
    assert read_before() == []  # nothing is committed
    assert page(rows, []).count("## ") == 2


def test_only_what_was_measured_again_is_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    before = [measured("A", "all", 2.0), measured("B", "all", 3.0)]
    merge(before)
    monkeypatch.setattr(bench, "read_before", lambda: before)
    monkeypatch.setattr(bench, "PARTS", {"a": lambda folder: [measured("A", "all", 1.0)]})
    main(["a"])
    lines = (tmp_path / "reports/bench.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| all")] == [
        "| all |  | 3.00 s |  |",
        "| all | **0.50** | 1.00 s | 2.00 s |",
    ]


def test_an_unknown_part_is_refused():
    with pytest.raises(ParamsError, match="there is no part pipelines; the parts are extraction, parity"):
        main(["pipelines"])


def test_serving_needs_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"needs data/bundle; `make repro` makes it"):
        main(["serving"])


def test_textures_are_files_that_differ_by_class(tmp_path):
    write_textures(tmp_path, range(2 * NUM_CLASSES), 24)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert [path.parent.name for path in files] == [f"grain{k}" for k in range(NUM_CLASSES) for _ in range(2)]
    assert len({path.read_bytes() for path in files}) == len(files)
    assert cv2.imread(str(files[0])).shape == (24, 24, 3)
    before = files[0].read_bytes()
    write_textures(tmp_path, range(NUM_CLASSES), 24)
    assert files[0].read_bytes() == before

    def lag(label):
        """How far the grey values of a class go on from left to right."""
        pixels = [cv2.imread(str(path), 0).astype(float) for path in files if path.parent.name == f"grain{label}"]
        return float(np.mean([np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1] for one in pixels]))

    assert abs(lag(0) - lag(NUM_CLASSES // 2)) > 0.1  # a line down, and a line to the right
