import threading
import time

import pytest

from stages.graft.core.threads import in_threads, num_cpus


def test_results_come_in_order():
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(in_threads(slow_first, range(50), num_threads=4)) == [number * number for number in range(50)]


def test_nothing_to_do():
    assert list(in_threads(str, [])) == []


def test_few_tasks_are_started_ahead():
    begun = []
    results = in_threads(begun.append, range(1000), num_threads=2)
    next(results)
    assert len(begun) < 40
    results.close()
    assert len(begun) < 40


def test_an_error_is_raised_and_stops_the_other_tasks():
    begun, before = [], threading.active_count()

    def fail(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise KeyError(number)

    with pytest.raises(KeyError):
        list(in_threads(fail, range(1000), num_threads=2))
    assert len(begun) < 100
    assert threading.active_count() == before


def test_num_cpus():
    assert num_cpus() >= 1
