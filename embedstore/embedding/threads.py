"""Threads that keep a model busy: prefetching batches, writing in the background, computing batches in parallel.

Threads talk through `queue.SimpleQueue` alone. It is written in C, so that an exception out of a signal handler
(Ctrl-C, SIGTERM) falls before or after what it does; within `queue.Queue` or `threading.Condition` it can lose a
notification, after which one thread waits for ever.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END = object()


def prefetch(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
    """The same items in the same order, up to ``depth`` of them made in another thread before they are asked for.

    An error while making an item is raised at its place. Closing the iterator ends the thread.

    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    ready: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()
    slots = _slots(depth)
    stopped = False

    def make() -> None:
        try:
            for item in items:
                slots.get()
                if stopped:
                    return
                ready.put((item, None))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks
            ready.put((_END, error))
        else:
            ready.put((_END, None))

    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    try:
        thread.start()
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            slots.put(None)
            yield item  # type: ignore[misc]
    finally:
        stopped = True
        slots.put(None)
        if thread.ident is not None:
            thread.join()


class BackgroundWriter:
    """Runs calls one after the other in another thread; the first that fails is raised by the next use.

    Parameters
    ----------
    depth
        Calls that may wait; a further one blocks, so that memory stays bounded.
    """

    def __init__(self, *, depth: int = 2) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._slots = _slots(depth)
        self._error: BaseException | None = None
        self._ended = False
        self._end_signal: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="write behind", daemon=True).start()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._error is None:
            # What waits is not wanted any more.
            self._error = error
        interrupt = self._end()
        if interrupt is not None:
            raise interrupt
        if kind is None:
            self._check()

    def submit(self, call: Callable[[], None]) -> None:
        """Have a call run after those before it."""
        self._check()
        self._slots.get()
        self._waiting.put(call)

    def _end(self) -> BaseException | None:
        """End the thread after the call that runs; what interrupted the waiting is returned."""
        interrupt: BaseException | None = None
        # A second Ctrl-C must not come between: whoever waits here will close, and may remove, what the call writes.
        # (Thread.join, once interrupted, takes the thread for ended: python/cpython#90882.)
        while not self._ended:
            try:
                self._waiting.put(None)
                self._end_signal.get(timeout=1.0)
            except queue.Empty:
                continue
            except BaseException as error:  # noqa: BLE001 - raised again once the thread has ended
                interrupt = error
                self._error = self._error or error
        return interrupt

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (call := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    call()
                except BaseException as error:  # noqa: BLE001 - raised again in the thread that submits
                    self._error = error
            self._slots.put(None)
        self._ended = True
        self._end_signal.put(None)


@dataclass(slots=True)
class TaskResult(Generic[T, R]):
    """An item with the result of its call, or with the error that it raised."""

    item: T
    result: R | None = None
    error: BaseException | None = None


class WorkerPool(Generic[T, R]):
    """Parallel calls in several threads, results in the order of the items; a context manager that ends the threads.

    Parameters
    ----------
    make_call
        Called once in each thread; returns the function that the thread calls.
    n_threads
        How many threads.
    """

    def __init__(self, make_call: Callable[[], Callable[[T], R]], n_threads: int) -> None:
        self._make_call = make_call
        self._inboxes: list[queue.SimpleQueue[TaskResult[T, R] | None]] = [
            queue.SimpleQueue() for _ in range(n_threads)
        ]
        self._outboxes: list[queue.SimpleQueue[TaskResult[T, R]]] = [queue.SimpleQueue() for _ in range(n_threads)]
        self._threads = [
            threading.Thread(target=self._run, args=boxes, name=f"worker {number}", daemon=True)
            for number, boxes in enumerate(zip(self._inboxes, self._outboxes, strict=True))
        ]
        self._pending: deque[int] = deque()
        self._finished: deque[TaskResult[T, R]] = deque()
        self._ended = False

    def __enter__(self) -> WorkerPool[T, R]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        for inbox in self._inboxes:
            inbox.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def map(self, items: Iterable[T]) -> Iterator[TaskResult[T, R]]:
        """Call the function with each item; at most two items a thread are under way, so that memory stays bounded.

        >>> with WorkerPool(lambda: abs, 2) as pool:
        ...     [task.result for task in pool.map([-1, 2, -3])]
        [1, 2, 3]
        """
        for number, item in enumerate(items):
            thread_number = number % len(self._inboxes)
            self._inboxes[thread_number].put(TaskResult(item))
            self._pending.append(thread_number)
            if len(self._pending) + len(self._finished) == 2 * len(self._inboxes):
                yield self._oldest()
        while self._pending or self._finished:
            yield self._oldest()

    def drain(self) -> None:
        """Wait until no call is running; the results still come out of :meth:`map` in order."""
        while self._pending:
            self._finished.append(self._outboxes[self._pending.popleft()].get())

    def _oldest(self) -> TaskResult[T, R]:
        if self._finished:
            return self._finished.popleft()
        return self._outboxes[self._pending.popleft()].get()

    def _run(
        self, inbox: queue.SimpleQueue[TaskResult[T, R] | None], outbox: queue.SimpleQueue[TaskResult[T, R]]
    ) -> None:
        call: Callable[[T], R] | None = None
        while (task := inbox.get()) is not None and not self._ended:
            try:
                if call is None:
                    call = self._make_call()
                task.result = call(task.item)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
                task.error = error
            outbox.put(task)


def _slots(depth: int) -> queue.SimpleQueue[None]:
    """A semaphore as a queue of ``depth`` tokens: take one before putting an item into another queue."""
    slots: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(depth):
        slots.put(None)
    return slots
