"""Threads that make things ahead: in order, in time, and gone in the end."""

import contextlib
import itertools
import threading
import time

import pytest

from keras_vicregl.data.streams.ahead import in_order, prefetched


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_results_come_in_order_whatever_takes_longest():
    def work(number):
        time.sleep(0.02 * (number % 3 == 0))
        return number**2

    made = list(in_order(work, range(20), threads=4))
    assert [each.item for each in made] == list(range(20))
    assert [each.value for each in made] == [n**2 for n in range(20)]


def test_an_error_is_that_of_its_item():
    made = list(in_order(lambda n: 6 // n, [3, 0, 2], threads=2))
    assert [each.value for each in made] == [2, None, 3]
    assert isinstance(made[1].error, ZeroDivisionError)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
def test_what_is_no_fault_of_an_item_ends_all(error):
    def work(number):
        if number == 2:
            raise error("too much")

    made = in_order(work, range(5), threads=2)
    assert [next(made).error, next(made).error] == [None, None]
    with pytest.raises(error, match="too much"):
        next(made)


def test_no_more_is_begun_than_was_asked_for():
    begun = []
    made = in_order(begun.append, itertools.count(), threads=2, ahead=5)
    with contextlib.closing(made):
        for _ in range(3):
            next(made)
    # Three were taken, the last when five were under way.
    assert 3 <= len(begun) <= 7


@pytest.mark.parametrize("threads", [1, 3])
def test_what_hangs_is_given_up_and_the_rest_comes(threads):
    gate = threading.Event()

    def work(number):
        if number in (1, 4):
            gate.wait(60)
        return number

    try:
        made = list(in_order(work, range(7), threads=threads, patience=0.3))
    finally:
        gate.set()
    assert [each.value for each in made] == [0, None, 2, 3, None, 5, 6]
    assert isinstance(made[1].error, TimeoutError)
    assert "does its disk, or network, still answer" in str(made[1].error)


def test_a_late_result_is_not_taken():
    gate = threading.Event()

    def work(number):
        if number == 0:
            gate.wait(60)
        return number

    made = in_order(work, range(2), threads=1, patience=0.2)
    first = next(made)
    gate.set()
    assert first.value is None
    assert [each.value for each in made] == [1]
    assert first.value is None


def test_threads_end():
    before = threading.active_count()
    made = in_order(lambda n: n, itertools.count(), threads=3)
    next(made)
    made.close()
    batches = prefetched(itertools.count, 2)
    assert next(batches) == 0
    del batches
    assert wait_until(lambda: threading.active_count() <= before)


def test_an_error_comes_after_what_was_made_before():
    def numbers():
        yield 1
        raise OSError("the disk is gone")

    made = prefetched(numbers, 3)
    assert next(made) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(made)
    with pytest.raises(StopIteration):
        next(made)
    assert list(prefetched(lambda: iter(range(5)), 1)) == list(range(5))
