"""What log times say of a recording's clock: messages far from all others, gaps, and times that exist twice."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

_GAP_NS, _INTERVALS = 60_000_000_000, 10  # a gap is longer than both: this, and so many images' intervals
_BACK_NS = 1_000_000_000  # less is the order in which a recorder's threads write
_FEW, _FEW_SHARE = 3, 0.01  # of all messages, that lie astray
_MAX_LINES = 5

Times = Mapping[str, Sequence["array[int]"]]


def spans(times_ns: NDArray[np.int64], most: int, longest_ns: int) -> Iterator[tuple[int, int]]:
    """Parts [start, stop) of a recording, each of images: what they cost follows the images, not the time between.

    Args:
        times_ns: (N,) log times of the images, sorted. most: images in a part, but for those of the same time, which
            cannot be told apart. longest_ns: between a part's first and last image.
    """
    index, count = 0, len(times_ns)
    while index < count:
        start = int(times_ns[index])
        last = min(index + most, count) - 1
        last = min(last, int(np.searchsorted(times_ns, start + longest_ns, "right")) - 1)
        stop = int(times_ns[last]) + 1
        yield start, stop
        index = int(np.searchsorted(times_ns, stop))


def remarks(times: Times, images_ns: NDArray[np.int64]) -> list[str]:
    """Messages that lie astray, gaps, and clocks that were set back, one line each.

    Args:
        times: log times by topic, each file's in the order in which it was written. images_ns: sorted.
    """
    topics = [(topic, np.concatenate([np.asarray(part, np.int64) for part in parts])) for topic, parts in times.items()]
    total = sum(len(found) for _, found in topics)
    if not total:
        return []
    every = np.concatenate([found for _, found in topics])
    owner = np.repeat(np.arange(len(topics)), [len(found) for _, found in topics])
    order = np.argsort(every, kind="stable")
    every, owner = every[order], owner[order]
    usual = float(np.median(np.diff(images_ns))) if len(images_ns) > 1 else 0.0
    ends = np.flatnonzero(np.diff(every) > max(_GAP_NS, _INTERVALS * usual)) + 1
    groups = np.split(np.arange(total), ends)
    shots = [int(np.subtract(*np.searchsorted(images_ns, (every[g[-1]] + 1, every[g[0]])))) for g in groups]
    main = max(range(len(groups)), key=lambda k: (shots[k], len(groups[k])))
    lines = []
    for k, group in enumerate(groups):
        if k == main:
            continue
        near = groups[k + 1][0] if k < main else groups[k - 1][-1]
        far = abs(int(every[near]) - int(every[group[-1] if k < main else group[0]])) * 1e-9
        side, count = "before" if k < main else "after", len(group)
        first = f"{topics[owner[group[0]]][0]} at {every[group[0]]} ns ({_date(int(every[group[0]]))})"
        if count <= max(_FEW, _FEW_SHARE * total) or not shots[k]:
            what = "1 message" if count == 1 else f"{count} messages"
            lines.append(f"{what} {far:.0f} s {side} the others: the first on {first}")
        else:
            lines.append(f"a gap of {far:.0f} s {'after' if k < main else 'before'} {count} messages from {first}")
    lines += [f"the clock was set back on {topic}, by {back * 1e-9:.1f} s at most"
              for topic, parts in times.items() if (back := _most_back(parts)) > _BACK_NS]  # fmt: skip
    return lines[:_MAX_LINES] + ([f"and {len(lines) - _MAX_LINES} more of the kind"] if len(lines) > _MAX_LINES else [])


def doubled(times: Times) -> list[tuple[int, int]]:
    """Times [first, last] that were recorded twice, as the clock was set back between."""
    found = []
    for parts in times.values():
        passes = sorted(_passes(parts))
        high = -1
        for low, top in passes:
            if low <= high:
                found.append((low, min(high, top)))
            high = max(high, top)
    merged: list[tuple[int, int]] = []
    for low, high in sorted(found):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def _passes(parts: Sequence[array[int]]) -> Iterator[tuple[int, int]]:
    """First and last time between two times at which the clock was set back."""
    found = np.concatenate([np.asarray(part, np.int64) for part in parts]) if parts else np.zeros(0, np.int64)
    for part in np.split(found, np.flatnonzero(np.diff(found) < -_BACK_NS) + 1):
        if len(part):
            yield int(part.min()), int(part.max())


def _most_back(parts: Sequence[array[int]]) -> int:
    found = np.concatenate([np.asarray(part, np.int64) for part in parts])
    return -int(np.diff(found).min(initial=0))


def _date(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
