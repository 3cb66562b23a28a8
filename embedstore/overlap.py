"""Reading ahead and writing behind: two threads that keep a model from waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
    """The same items in the same order, up to ``depth`` of them made in another thread before they are asked for.

    What making an item raises is raised where it would have been. Closing the iterator ends the thread.

    >>> list(read_ahead(range(3)))
    [0, 1, 2]
    """
    waiting: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def hand_over(item: object, error: BaseException | None = None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not hand_over(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks
            hand_over(_END, error)
        else:
            hand_over(_END)

    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


class WriteBehind:
    """Runs calls one after the other in another thread; the first that fails is raised by the next use.

    Parameters
    ----------
    depth
        Calls that may wait; a further one blocks, so that memory stays bounded.
    """

    def __init__(self, *, depth: int = 4) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="write behind", daemon=True)
        self._thread.start()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._error is None:
            # What waits is not wanted any more.
            self._error = error
        self._waiting.put(None)
        self._thread.join()
        if kind is None:
            self._check()

    def submit(self, call: Callable[[], None]) -> None:
        """Have a call run after those before it."""
        self._check()
        self._waiting.put(call)

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
