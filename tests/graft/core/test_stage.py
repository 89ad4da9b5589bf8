from datetime import datetime

import pytest

from stages.graft.core.errors import DataError
from stages.graft.core.stage import read_duration, run_stage


def test_a_stage_that_ends_leaves_its_time(tmp_path):
    begun = []
    run_stage("split", lambda: begun.append(1), tmp_path)
    one = read_duration("split", tmp_path)
    assert begun == [1]
    assert 0 <= one.seconds < 5
    assert abs((datetime.now() - datetime.fromisoformat(one.finished)).total_seconds()) < 60
    assert one.num_cpus >= 1


def test_a_stage_that_fails_leaves_the_older_time(tmp_path):
    def fail():
        raise DataError("no")

    run_stage("split", lambda: None, tmp_path)
    before = read_duration("split", tmp_path)
    with pytest.raises(SystemExit, match="split: error: no"):
        run_stage("split", fail, tmp_path)
    assert read_duration("split", tmp_path) == before


def test_a_half_written_note_is_no_time(tmp_path):
    run_stage("split", lambda: None, tmp_path)
    (tmp_path / "reports/times/split.json").write_text('{"seconds": 1.0')
    assert read_duration("split", tmp_path) is None


def test_a_stage_that_never_ran_has_no_time(tmp_path):
    assert read_duration("split", tmp_path) is None
