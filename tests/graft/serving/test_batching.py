"""The line of what is asked: full batches under load, no wait without, errors and cancelled work."""

import threading
import time

import pytest

from stages.graft.serving import batching
from stages.graft.serving.batching import Batcher


def test_what_waits_is_answered_in_full_batches():
    free, sizes = threading.Event(), list[int]()

    def answer(asked):
        sizes.append(len(asked))
        free.wait(10)
        return [one * 10 for one in asked]

    batcher = Batcher(answer, batch_size=4, num_workers=1)
    first = batcher.ask(0)
    while not sizes:  # the first is taken alone: nothing else is there
        pass
    others = [batcher.ask(number) for number in range(1, 10)]
    assert batcher.num_waiting == 9
    free.set()
    assert [future.result(10) for future in (first, *others)] == [10 * number for number in range(10)]
    batcher.close()
    assert sizes == [1, 4, 4, 1]


def test_cancelled_work_is_left_out_and_the_end_answers_what_waits():
    free, seen = threading.Event(), list[int]()

    def answer(asked):
        seen.extend(asked)
        free.wait(10)
        return asked

    batcher = Batcher(answer, batch_size=1, num_workers=1)
    first = batcher.ask(0)
    while not seen:
        pass
    gone, last = batcher.ask(1), batcher.ask(2)
    assert gone.cancel()
    free.set()
    batcher.close()
    assert (first.result(0), last.result(0), seen) == (0, 2, [0, 2])


def test_an_error_goes_to_those_who_asked():
    batcher = Batcher(lambda asked: [1 // one for one in asked], batch_size=1, num_workers=2)
    bad, good = batcher.ask(0), batcher.ask(1)
    with pytest.raises(ZeroDivisionError):
        bad.result(10)
    assert good.result(10) == 1
    batcher.close()


def test_clients_take_turns():
    free, seen = threading.Event(), list[int]()

    def answer(asked):
        seen.extend(asked)
        free.wait(10)
        return asked

    batcher = Batcher(answer, batch_size=1, num_workers=1)
    many = [batcher.ask(number, "many") for number in range(4)]
    while not seen:  # one is in work
        pass
    few = [batcher.ask(number, "few") for number in (10, 11)]
    free.set()
    assert [future.result(10) for future in (*many, *few)] == [0, 1, 2, 3, 10, 11]
    batcher.close()
    assert seen == [0, 1, 10, 2, 11, 3]


def test_a_client_has_half_of_the_workers_while_others_ask(monkeypatch):
    free, seen = threading.Event(), list[str]()

    def answer(asked):
        seen.extend(asked)
        free.wait(10)
        return asked

    def in_work(number):
        for _ in range(100):
            if len(seen) == number:
                return True
            time.sleep(0.01)
        return False

    batcher = Batcher(answer, batch_size=1, num_workers=4)
    first = batcher.ask("quick", "honest")
    assert in_work(1)
    slow = [batcher.ask("slow", "hostile") for _ in range(9)]
    assert in_work(3)
    second = batcher.ask("quick", "honest")
    assert in_work(4)  # at once, though seven wait since earlier
    time.sleep(0.05)
    assert seen.count("slow") == 2
    monkeypatch.setattr(batching, "SECONDS_SEEN", 0.0)  # the other client has been silent for long
    free.set()
    assert all(future.result(10) for future in (first, second, *slow))
    batcher.close()
    assert len(seen) == 11
