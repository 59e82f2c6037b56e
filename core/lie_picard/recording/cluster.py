"""Jobs on several processes, here or on a Dask cluster. One that dies is replaced, and its job done again."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from distributed import Client, LocalCluster, as_completed

J = TypeVar("J")
R = TypeVar("R")
_CONNECT_S = 30


class ClusterError(ValueError):
    """The processes cannot be had; the message says why."""


def run(work: Callable[[J], R], jobs: Sequence[J], workers: int, scheduler: str | None) -> Iterator[tuple[J, R]]:
    """Jobs with their results, in whatever order they are done.

    Args:
        workers: processes on this machine, where `scheduler` is None. scheduler: address such as tcp://host:8786.

    Raises:
        ClusterError: no scheduler answers at that address, or a job took several workers with it.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it tells of a worker's death in many lines
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            address: Any = stack.enter_context(
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
                )
            )
        else:
            address = scheduler
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_S))
        except (OSError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler at '{scheduler}': {error}") from None
        if scheduler is None:
            client.run(_ignore_interrupts)
        futures = {client.submit(work, job, pure=False): job for job in jobs}
        for future in as_completed(futures):
            job = futures.pop(future)
            try:
                result = future.result()
            except Exception as error:
                raise ClusterError(f"a worker failed: {type(error).__name__}: {error}") from error
            future.release()
            yield job, result


def _ignore_interrupts() -> None:
    """Ctrl-C in a terminal reaches all its processes; it is for the one that writes the report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
