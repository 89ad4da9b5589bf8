"""The log: whole Parquet files, nothing lost at the end, and a disk that fails for a while."""

import time
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.graft.serving import answer_log
from stages.graft.serving.answer_log import AnswerLog, LogRow

CLASSES = ("a", "b")


def row(number):
    return LogRow(
        time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), model="m", file="", image_id=f"{number:064}", thumbnail=b"\xff",
        label="b", confidence=0.75, unsure=False, unknown=True, distance=2.0, probabilities=(0.25, 0.75),
        features=np.array([number, -1], np.float32),
    )  # fmt: skip


def test_every_row_comes_back_and_there_is_no_other_file(tmp_path):
    log = AnswerLog(tmp_path / "log", CLASSES, pytest.fail)
    for number in range(3):
        log.add(row(number))
    log.close()
    [file] = (tmp_path / "log").iterdir()
    assert file.suffix == ".parquet"
    table = pq.read_table(file)
    assert table.schema.metadata[b"classes"] == b"a\nb"
    assert table.column("image_id").to_pylist() == [f"{number:064}" for number in range(3)]
    first = table.to_pylist()[0]
    assert (first["time"], first["probabilities"]) == (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), [0.25, 0.75])
    assert (first["features"], first["thumbnail"], first["unknown"]) == ([0.0, -1.0], b"\xff", True)


def test_a_file_is_written_when_there_are_many_rows_and_again_after_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(answer_log, "ROWS_PER_FILE", 2)
    monkeypatch.setattr(answer_log, "SECONDS_PER_FILE", 0.05)
    lost, write = list[int](), answer_log.AnswerLog._write_file

    def fail(self, rows, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answer_log.AnswerLog, "_write_file", fail)
    log = AnswerLog(tmp_path, CLASSES, lost.append)
    log.add(row(0))
    time.sleep(0.3)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(answer_log.AnswerLog, "_write_file", write)
    log.add(row(1))
    log.close()
    rows = [one for file in sorted(tmp_path.glob("*.parquet")) for one in pq.read_table(file)["image_id"].to_pylist()]
    assert rows == [f"{number:064}" for number in range(2)]
    assert sum(lost) == 0
    assert capsys.readouterr().err.count("the log cannot be written") == 1


def test_the_oldest_rows_are_lost_and_counted_when_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_log, "MAX_ROWS", 2)
    lost = list[int]()
    log = AnswerLog(tmp_path, CLASSES, lost.append)
    for number in range(5):
        log.add(row(number))
    assert sum(lost) == 3
    log.close()
