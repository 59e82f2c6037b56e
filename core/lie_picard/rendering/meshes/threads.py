"""Images shared out among threads, where the work is done without Python's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def each(work: Callable[[T], None], items: Iterable[T], parallel: bool) -> None:
    """Do it for each item, on as many threads as torch may use."""
    threads = torch.get_num_threads()
    if threads == 1 or not parallel:
        for item in items:
            work(item)
        return
    left, guard = iter(items), threading.Lock()

    def some() -> None:
        while True:
            with guard:
                item = next(left, None)
            if item is None:
                return
            work(item)

    waiting = [_threads().submit(some) for _ in range(threads - 1)]
    some()
    for one in waiting:
        one.result()


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "meshes")
        return _pool


def _forget() -> None:
    """In a forked process: threads of the parent are not there."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
