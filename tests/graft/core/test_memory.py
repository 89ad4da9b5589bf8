import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages.graft.core import memory
from stages.graft.core.memory import Room, one_image, take


class Watched:
    """Counts the bytes that threads work with at the same time."""

    def __init__(self) -> None:
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def work(self, num_bytes: int) -> None:
        with self.lock:
            self.now += num_bytes
            self.most = max(self.most, self.now)
        time.sleep(0.002)
        with self.lock:
            self.now -= num_bytes


@pytest.mark.parametrize("num_threads", [1, 4, 16])
def test_the_bound_holds_for_any_number_of_threads(num_threads):
    room, watched = Room(100), Watched()

    def use(size):
        with one_image():
            take(room, size)
            watched.work(min(size, 88))  # the rest is for small ones

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(use, [10, 40, 60, 100, 250, 30, 1] * 6))
    assert 0 < watched.most <= 100


def test_two_rooms_taken_one_after_the_other_never_wait_for_each_other():
    files, pixels, watched = Room(100), Room(100), Watched()

    def use(size):
        with one_image():
            take(files, size)
            take(files, size)  # counted once
            take(pixels, 2 * size)
            take(pixels, 500)
            watched.work(size)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [50, 90, 30, 20, 50] * 10))
    assert watched.most <= 100


def test_room_is_given_back_also_after_an_error():
    room = Room(100)

    def fail():
        with one_image():
            take(room, 100)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    with one_image():
        take(room, 100)


def test_nothing_is_taken_outside_of_an_image():
    room = Room(10)
    take(room, 10)
    take(room, 10)
    with one_image():
        take(room, 10)
        with one_image():  # the same image
            take(room, 10)


def test_a_large_image_is_not_overtaken_by_the_small_ones_behind_it():
    room, order, holding = Room(10), list[str](), threading.Event()

    def use(name, size, seconds=0.0):
        with room.taken(size):
            order.append(name)
            holding.set()
            time.sleep(seconds)

    with ThreadPoolExecutor(3) as pool:
        pool.submit(use, "first", 6, 0.1)
        holding.wait()
        large = pool.submit(use, "large", 10)
        time.sleep(0.02)
        pool.submit(use, "small", 1)
        large.result()
    assert order == ["first", "large", "small"]


def test_small_images_do_not_wait_for_large_ones():
    room, is_taken, done = Room(1000), threading.Event(), threading.Event()

    def use_all():
        with room.taken(5000):
            is_taken.set()
            assert done.wait(10)

    with ThreadPoolExecutor(2) as pool:
        large = [pool.submit(use_all) for _ in range(2)]  # the second waits in line
        assert is_taken.wait(10)
        for _ in range(20):
            with room.taken(1000 // 32):
                pass
        done.set()
        assert [one.result() for one in large] == [None, None]


def test_all_together_is_two_gibibytes():
    assert memory.FILES.num_bytes + memory.PIXELS.num_bytes == 2 * 2**30


KEEP = """
import mmap, sys, threading
from pathlib import Path
import numpy as np
from stages.graft.core.memory import share_heaps
share_heaps(*map(int, sys.argv[1:]))
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
def use():
    np.ones(24 * 2**20, np.uint8)
before = resident()
for thread in [threading.Thread(target=use) for _ in range(4)]:
    thread.start()
    thread.join()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of glibc")
def test_heaps_give_back_what_an_image_leaves_above_what_they_may_keep():
    kept = [
        int(subprocess.run([sys.executable, "-c", KEEP, *limit], check=True, capture_output=True, text=True).stdout)
        for limit in ([], [str(2**22)])
    ]
    assert kept[0] > 20 * 2**20  # what the next image finds
    assert kept[1] < 4 * 2**20
