"""The one thread that computes: it takes the newest frame, and calls in between.

Torch gives every thread that computes a pool of its own, and two pools on the same cores halve the speed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class StoppingError(RuntimeError):
    """The process is to end; what was waited for is not."""


class Newest(Generic[T]):
    """Holds at most one item. Neither `put` nor `take` waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._item: T | None = None
        self.dropped = 0

    def put(self, item: T) -> None:
        """Offer an item; one that still waits is dropped and counted."""
        with self._lock:
            self.dropped += self._item is not None
            self._item = item

    def take(self) -> T | None:
        """The newest item, once; None where there is none."""
        with self._lock:
            item, self._item = self._item, None
            return item


class Worker(Generic[T]):
    """Runs `work` on the newest item that was offered, one at a time; frames never queue up."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self._work = work
        self._newest: Newest[T] = Newest()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._last: Future[Any] | None = None

    @property
    def dropped(self) -> int:
        """Items that newer ones displaced, since the last `clear`."""
        return self._newest.dropped

    def clear(self) -> None:
        """Forget what waits, and the count."""
        self._newest.take()
        self._newest.dropped = 0

    def offer(self, item: T) -> None:
        """Hand an item over, without waiting; after `stop`, nothing happens. `work` must not raise."""
        self._newest.put(item)
        with contextlib.suppress(RuntimeError):  # the pool is shut down
            self._last = self._pool.submit(self._next)

    def call(self, function: Callable[..., R], *arguments: Any) -> Future[R]:
        """Run a function after the item in work."""
        self._last = self._pool.submit(function, *arguments)
        return self._last

    def drain(self, alive: Callable[[], bool]) -> None:
        """Forget what was offered and wait for what is in work, as long as the process is to live.

        Raises:
            StoppingError: it is not any more.
        """
        self._newest.take()
        result_of(self.call(lambda: None), alive)

    def stop(self, patience_s: float) -> bool:
        """Take nothing more on. Whether the thread came to rest in time: what it computes cannot be interrupted."""
        self._newest.take()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return self._last is None or self._last in wait([self._last], patience_s).done

    def _next(self) -> None:
        item = self._newest.take()
        if item is not None:  # an earlier call took it
            self._work(item)


def result_of(future: Future[R], alive: Callable[[], bool], poll_s: float = 0.1) -> R:
    """A future's result, waited for only as long as the process is to live.

    Raises:
        StoppingError: it is not any more.
    """
    while alive():
        if future in wait([future], poll_s).done:
            return future.result()
    raise StoppingError("shutting down")


class Limiter:
    """Lets through at most `rate` items a second; 0: all of them."""

    def __init__(self) -> None:
        self._due = 0.0

    def passes(self, rate: float, now: float | None = None) -> bool:
        """Whether the next item may pass. A little early counts as on time, so that 30 Hz let 30 Hz through."""
        now = time.monotonic() if now is None else now
        if rate <= 0:
            return True
        period = 1 / rate
        self._due = min(self._due, now + period)  # the rate may have been lower
        if now < self._due - 0.1 * period:
            return False
        self._due = max(self._due, now - 0.1 * period) + period  # what was not used is not saved up
        return True
