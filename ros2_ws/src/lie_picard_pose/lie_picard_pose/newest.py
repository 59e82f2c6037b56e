"""A one-place hand-over between a callback and a worker: the newest item wins, what it displaces is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


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
