from datetime import datetime

import pytest

from stages.graft.durations import read_duration, timed
from stages.graft.errors import DataError


def test_a_stage_that_ends_leaves_its_time(tmp_path):
    begun = []
    timed("split", lambda: begun.append(1), tmp_path)()
    one = read_duration("split", tmp_path)
    assert begun == [1]
    assert 0 <= one.seconds < 5
    assert abs((datetime.now() - datetime.fromisoformat(one.finished)).total_seconds()) < 60
    assert one.num_cpus >= 1


def test_a_stage_that_fails_leaves_the_older_time(tmp_path):
    def fail():
        raise DataError("no")

    timed("split", lambda: None, tmp_path)()
    before = read_duration("split", tmp_path)
    with pytest.raises(DataError):
        timed("split", fail, tmp_path)()
    assert read_duration("split", tmp_path) == before


def test_a_stage_that_never_ran_has_no_time(tmp_path):
    assert read_duration("split", tmp_path) is None
