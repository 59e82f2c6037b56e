"""What would have become of a recording's images had they come live: the newest waits, the one before it is dropped."""

from __future__ import annotations

from collections.abc import Sequence


def simulate_drops(arrivals_s: Sequence[float], work_s: Sequence[float]) -> list[bool]:
    """Whether each image would have been estimated by a node that takes the newest whenever it is free.

    Args:
        arrivals_s: when each image came, in order. work_s: how long each takes.
    """
    result = [False] * len(arrivals_s)
    free_at = float("-inf")
    waiting: int | None = None
    for index, arrival in enumerate(arrivals_s):
        if waiting is not None and free_at <= arrival:
            result[waiting] = True
            free_at = max(free_at, arrivals_s[waiting]) + work_s[waiting]
            waiting = None
        if waiting is None and free_at <= arrival:
            result[index] = True
            free_at = arrival + work_s[index]
        else:
            waiting = index  # whatever waited before is dropped
    if waiting is not None:
        result[waiting] = True
    return result
