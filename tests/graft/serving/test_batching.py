"""The line of what is asked: full batches under load, no wait without, errors and cancelled work."""

import threading

import pytest

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
