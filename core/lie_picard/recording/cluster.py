"""Jobs on several processes, here or on a Dask cluster. One that dies is replaced, and its job done again."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from distributed import Client, LocalCluster, as_completed

from lie_picard.recording.scheduler import Scheduler

J = TypeVar("J")
R = TypeVar("R")
_CONNECT_S = 30


class ClusterError(ValueError):
    """The processes cannot be had; the message says why."""


def run(work: Callable[[J], R], jobs: Sequence[J], workers: int, scheduler: Scheduler | None) -> Iterator[tuple[J, R]]:
    """Jobs with their results, in whatever order they are done.

    Args:
        workers: processes on this machine, where `scheduler` is None. scheduler: of a cluster that runs already.

    Raises:
        ClusterError: no scheduler answers at that address, or a job took several workers with it.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it tells of a worker's death in many lines
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            cluster: Any = stack.enter_context(
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
                )
            )
            client = stack.enter_context(Client(cluster))
            client.run(_ignore_interrupts)
        else:
            client = stack.enter_context(_connected(scheduler))
        futures = {client.submit(work, job, pure=False): job for job in jobs}
        for future in as_completed(futures):
            job = futures.pop(future)
            try:
                result = future.result()
            except Exception as error:
                raise ClusterError(f"a worker failed: {type(error).__name__}: {error}") from error
            future.release()
            yield job, result


def _connected(scheduler: Scheduler) -> Client:
    try:
        return Client(scheduler.address, timeout=_CONNECT_S, security=scheduler.security())
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ClusterError(f"no Dask scheduler at '{scheduler.address}': {why}") from None


def _ignore_interrupts() -> None:
    """Ctrl-C in a terminal reaches all its processes; it is for the one that writes the report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
