"""Reading ahead and writing behind: an error is raised where it would have been, and nothing hangs or runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from embedstore.embedding.threads import BackgroundWriter, prefetch


def test_an_error_while_reading_ahead_comes_after_what_was_read_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    ahead = prefetch(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_a_reader_that_is_left_in_the_middle_ends_its_thread() -> None:
    ahead = prefetch(iter(range(1000)))
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_a_writer_that_fails_with_a_full_queue_neither_hangs_nor_writes_on() -> None:
    written: list[int] = []

    def write(number: int) -> None:
        time.sleep(0.005)
        if number == 3:
            raise OSError("No space left on device")
        written.append(number)

    with pytest.raises(OSError, match="No space left"), BackgroundWriter(depth=2) as behind:
        for number in range(100):
            behind.submit(lambda number=number: write(number))  # type: ignore[misc]
    assert written == [0, 1, 2]


def test_the_last_call_that_fails_is_told_at_the_end() -> None:
    def fail() -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"), BackgroundWriter() as behind:
        behind.submit(fail)


def test_what_waits_is_dropped_after_an_error_of_the_caller() -> None:
    written: list[int] = []
    with pytest.raises(ValueError, match="of the caller"), BackgroundWriter() as behind:
        behind.submit(lambda: time.sleep(0.2))
        behind.submit(lambda: written.append(1))
        raise ValueError("of the caller")
    assert written == []


@pytest.mark.parametrize("n_interrupts", [1, 3])
def test_however_often_ctrl_c_is_pressed_a_call_that_runs_has_ended_when_the_context_ends(n_interrupts: int) -> None:
    ended = threading.Event()
    started = threading.Event()

    def commit() -> None:
        started.set()
        time.sleep(0.6)
        ended.set()

    def press() -> None:
        started.wait()
        for _ in range(n_interrupts):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt), BackgroundWriter() as behind:
        behind.submit(commit)
    assert ended.is_set(), "the part was closed, and perhaps removed, while it was being committed"


STORM = """
import random, signal, sys
from embedstore.embedding.threads import BackgroundWriter, prefetch

class Struck(BaseException):
    pass

def strike(*_):
    raise Struck

signal.signal(signal.SIGALRM, strike)
source, n_struck = random.Random(0), 0
for _ in range(1500):
    try:
        try:
            with BackgroundWriter() as behind:
                for item in prefetch(range(10000)):
                    if not item:
                        # Both threads run: starting one is not safe from interrupts in Python itself.
                        signal.setitimer(signal.ITIMER_REAL, source.uniform(1e-5, 1e-3))
                    behind.submit(lambda: None)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Struck:
        n_struck += 1
print(n_struck)
"""


def test_no_moment_of_an_interrupt_makes_the_threads_wait_for_each_other_for_ever() -> None:
    ended = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=60, check=True)
    assert int(ended.stdout) > 1000
