"""What happens in the running node, collected in the threads where it happens; `diagnostics` tells it."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lie_picard.node.pipeline import Result
from lie_picard_pose.losses import Loss, Losses

_KEPT = 512  # latencies the percentiles are taken of
_REMEMBERED_S = 10.0  # a complaint is shown for so long: whoever looks once in a while sees it too


@dataclass
class Counts:
    """What happened to images since the node was activated, by kind."""

    received: int = 0
    processed: int = 0
    incomplete: int = 0  # no calibration, mask, detections or depth belongs to them
    rejected: int = 0  # bad input; the reason is in the log
    skipped: int = 0  # by max_rate
    outdated: int = 0  # by max_age
    lost: int = 0  # objects whose presence was too low


@dataclass(frozen=True)
class Figures:
    """A report's figures.

    Attributes:
        counts: since activation. rates: a second, since the report before. dropped: for newer ones, since activation.
        milliseconds: by name, of the last images. sampler: rounds, evaluations, whether it converged.
        complaints: of the last seconds, newest first. silence_s: since the last image, or since activation.
        transport: images that never came. objects: what was last seen of each, by name.
        failure, configuration: as of `Monitor`.
    """

    counts: Counter[str]
    rates: dict[str, float]
    dropped: int
    milliseconds: dict[str, NDArray[np.float64]]
    sampler: list[tuple[int, float, bool]]
    complaints: list[str]
    silence_s: float
    transport: Loss
    objects: dict[str, str]
    failure: str
    configuration: list[str]


@dataclass
class Monitor:
    """Collects figures.

    Attributes:
        failure: why there is no model. configuration: what is odd about the parameters, one line each.
    """

    failure: str = ""
    configuration: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._losses = Losses()
        self._complaints: dict[str, float] = {}
        self.clear()

    def clear(self) -> None:
        """Begin anew, as where the node is activated."""
        with self._lock:
            self._counts = Counts()
            self._latencies: dict[str, deque[float]] = {}
            self._sampler: deque[tuple[int, float, bool]] = deque(maxlen=_KEPT)
            self._objects: dict[str, str] = {}
            self._complaints.clear()
            self._losses.clear()
            self._began = self._seen = self._reported = time.monotonic()
            self._before: Counter[str] = Counter()

    def count(self, kind: str, number: int = 1) -> None:
        """Add to one of `Counts`."""
        with self._lock:
            setattr(self._counts, kind, getattr(self._counts, kind) + number)

    def image(self, stamp_ns: int) -> None:
        """An image has come."""
        with self._lock:
            self._counts.received += 1
            self._seen = time.monotonic()
            self._losses.image(stamp_ns)

    def info(self, stamp_ns: int) -> None:
        """A camera_info has come."""
        with self._lock:
            self._losses.info(stamp_ns)

    def complain(self, message: str) -> None:
        """Something is wrong with what comes in."""
        with self._lock:
            self._complaints.pop(message, None)
            self._complaints[message] = time.monotonic()

    def processed(self, milliseconds: dict[str, float], result: Result, sought: Sequence[str]) -> None:
        """One image is done: its latencies by name, what it gave, and the names that were looked for."""
        # Nothing was sampled for what was searched and not found.
        first = [one for one in result.messages + result.lost if one.statistics.rounds][:1]
        objects = dict.fromkeys(sought, "not looked for in the last image")
        objects |= {m.object_id: f"{one.state}, presence {m.presence:.2f}"
                    for m, one in zip(result.messages, result.poses, strict=True)}  # fmt: skip
        objects |= {m.object_id: f"lost, presence {m.presence:.2f}" for m in result.lost}
        objects |= {one.object_id: f"not found: {one.why}" for one in result.missing}
        with self._lock:
            for name, value in milliseconds.items():
                self._latencies.setdefault(name, deque(maxlen=_KEPT)).append(value)
            self._sampler.extend((m.statistics.rounds, m.statistics.evaluations, m.statistics.converged) for m in first)
            self._objects = objects
            self._counts.processed += 1

    def figures(self, dropped: int) -> Figures:
        """As of now. `dropped`: images that gave way to newer ones since activation."""
        with self._lock:
            now, counts = time.monotonic(), Counter(vars(self._counts)) + Counter(dropped=dropped)
            seconds = max(now - self._reported, 1e-3)
            since = {kind: counts[kind] - self._before[kind] for kind in ("received", "processed", "dropped")}
            self._before, self._reported = counts, now
            self._complaints = {m: at for m, at in self._complaints.items() if now - at <= _REMEMBERED_S}
            return Figures(
                counts=Counter({kind: counts[kind] for kind in vars(self._counts)}),
                rates={kind: number / seconds for kind, number in since.items()},
                dropped=dropped,
                milliseconds={name: np.array(kept) for name, kept in self._latencies.items()},
                sampler=list(self._sampler),
                complaints=list(self._complaints)[::-1],
                silence_s=now - self._seen,
                transport=self._losses.recent(),
                objects=dict(self._objects),
                failure=self.failure,
                configuration=self.configuration,
            )
