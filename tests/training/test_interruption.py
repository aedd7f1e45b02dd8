"""Signals are noted once, and then do what they always do."""

import os
import queue
import signal
import socket
import threading
import time

import pytest

from keras_vicregl.training import StopSignals, TrainingInterrupted


@pytest.fixture(autouse=True)
def python_handler():
    """That of a terminal; jobs in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_is_noted_and_the_second_acts():
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received is signal.SIGINT
        signal.raise_signal(signal.SIGINT)


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


def test_in_another_thread_nothing_is_changed():
    found = []

    def enter():
        with StopSignals() as stop:
            found.append((stop.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(None, signal.getsignal(signal.SIGTERM))]


def test_interruption_passes_through_except_exception():
    assert not issubclass(TrainingInterrupted, Exception)
    assert TrainingInterrupted("", signal.SIGINT).exit_code == 130


def test_the_first_signal_is_told_of_at_once_from_another_thread():
    told = queue.Queue()

    def tell(number):
        told.put((number, threading.current_thread()))

    before = signal.set_wakeup_fd(-1)
    with StopSignals(tell=tell):
        signal.raise_signal(signal.SIGTERM)
        number, thread = told.get(timeout=60)
    assert number is signal.SIGTERM
    assert thread is not threading.main_thread()
    assert not thread.is_alive()
    assert told.empty()
    assert signal.set_wakeup_fd(before) == -1


def test_whoever_listened_to_signals_before_hears_them_too():
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        before = signal.set_wakeup_fd(there.fileno())
        try:
            with StopSignals(tell=lambda number: None):
                signal.raise_signal(signal.SIGTERM)
                here.settimeout(60)
                assert here.recv(1)[0] == signal.SIGTERM
        finally:
            assert signal.set_wakeup_fd(before) == there.fileno()


def test_forked_workers_neither_hold_it_up_nor_outlive_a_signal():
    """As those of a DataLoader, forked while training."""
    told = queue.Queue()
    ready, say = os.pipe()
    with StopSignals(tell=told.put):
        child = os.fork()
        if not child:
            os.write(say, b".")
            while True:
                time.sleep(1)
        os.read(ready, 1)
        # Ctrl-C is for all processes of a terminal: it must not end a worker.
        os.kill(child, signal.SIGINT)
        time.sleep(0.2)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    # The thread that listens has ended, though the child lives.
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
    assert told.empty()
    os.close(ready)
    os.close(say)
