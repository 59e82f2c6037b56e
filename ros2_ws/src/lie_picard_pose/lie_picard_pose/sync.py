"""Messages that belong together: the newest image with the depth image, mask or detections of nearly the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

_KEPT = 30  # messages a topic: a second of video, for a detector that takes that long
_LATE_NS = 500_000_000  # a stamp that goes back further is of another time: of a recording that starts again
_MOST_LATE = 3  # in a row


class ApproximateSync:
    """Approximate time synchronisation where the newest complete set wins and nothing is waited for.

    Not thread-safe: call it from one callback group.
    """

    def __init__(self, topics: Sequence[str], tolerance_s: float) -> None:
        """Sets of one message of every topic, at most `tolerance_s` from the first topic's stamp."""
        self._lead, *self._others = topics
        self._tolerance = int(tolerance_s * 1e9)
        length = _KEPT if self._others else 1
        self._kept: dict[str, deque[tuple[int, Any]]] = {topic: deque(maxlen=length) for topic in topics}
        self.late, self._late = False, 0  # whether the last message came out of order, and how many in a row
        self._given: tuple[int, Any] = (-1, None)  # stamp and first message of the last set given out

    def put(self, topic: str, stamp_ns: int, message: Any) -> dict[str, Any] | None:
        """Add a message; the newest set that is complete and has not been given out, if there is one.

        A stamp that goes back, as where a recording starts again, makes everything before it forgotten. One that is
        only late is left out (`late`).
        """
        kept = self._kept[topic]
        back = kept[-1][0] - stamp_ns if kept else 0
        self.late = 0 < back < _LATE_NS and self._late < _MOST_LATE
        self._late = self._late + 1 if self.late else 0
        if self.late:
            return None
        if back > 0:
            self.clear()
        kept.append((stamp_ns, message))
        for stamp, lead in reversed(self._kept[self._lead]):
            if stamp < self._given[0] or lead is self._given[1]:  # stamps may repeat, where a driver sets none
                return None
            others = {other: self._nearest(other, stamp) for other in self._others}
            if all(found is not None for found in others.values()):
                self._given = stamp, lead
                self._forget_before(stamp)
                return {self._lead: lead, **others}
        return None

    def _forget_before(self, stamp_ns: int) -> None:
        """What no later set can need: images are large."""
        for topic, kept in self._kept.items():
            oldest = stamp_ns if topic == self._lead else stamp_ns - self._tolerance
            while len(kept) > 1 and kept[0][0] < oldest:
                kept.popleft()

    def clear(self) -> None:
        """Forget everything."""
        for kept in self._kept.values():
            kept.clear()
        self._given = -1, None

    @property
    def others(self) -> list[str]:
        """Topics besides the first."""
        return list(self._others)

    def missing(self) -> list[str]:
        """Topics that nothing has come from."""
        return [topic for topic, kept in self._kept.items() if not kept]

    def _nearest(self, topic: str, stamp_ns: int) -> Any | None:
        # Of equally near ones the newest.
        within = [(abs(stamp - stamp_ns), -k) for k, (stamp, _) in enumerate(self._kept[topic])]
        distance, index = min(within, default=(self._tolerance + 1, 0))
        return self._kept[topic][-index][1] if distance <= self._tolerance else None
