"""Figures of the running node, once a second on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from lie_picard import PoseEstimator
from lie_picard.evaluation import metrics

_KEPT = 512  # latencies the percentiles are taken of
_SILENCE_S = 2.0


@dataclass
class Counts:
    """What happened since the node was configured, by kind."""

    received: int = 0
    processed: int = 0
    rejected: int = 0  # bad input; the reason is in the log
    skipped: int = 0  # by max_rate
    outdated: int = 0  # by max_age
    lost: int = 0  # objects whose presence was too low


@dataclass
class Monitor:
    """Collects figures in the threads where they arise; `report` turns them into a message."""

    counts: Counts = field(default_factory=Counts)
    complaint: str = ""  # the last, until it has been reported
    failure: str = ""  # why there is no model

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies: dict[str, deque[float]] = {}
        self._rounds: deque[tuple[int, float, bool]] = deque(maxlen=_KEPT)
        self._before = Counter(vars(self.counts)), time.monotonic()
        self._seen: float | None = None

    def count(self, kind: str, number: int = 1) -> None:
        """Add to one of `Counts`."""
        with self._lock:
            setattr(self.counts, kind, getattr(self.counts, kind) + number)
            if kind == "received":
                self._seen = time.monotonic()

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen = time.monotonic()
            self.counts, self.complaint = Counts(), ""
            self._latencies.clear()
            self._rounds.clear()
            self._before = Counter(vars(self.counts)), time.monotonic()

    def add(self, milliseconds: dict[str, float], sampler: list[tuple[int, float, bool]]) -> None:
        """One processed image: its latencies by name; rounds, evaluations and convergence of its sampler, if it ran."""
        with self._lock:
            for name, value in milliseconds.items():
                self._latencies.setdefault(name, deque(maxlen=_KEPT)).append(value)
            self._rounds.extend(sampler)
            self.counts.processed += 1

    def report(
        self, name: str, state: str, topic: str, dropped: int, estimator: PoseEstimator | None
    ) -> DiagnosticStatus:
        """The status since the last report; rates are of that time, percentiles of the last 512 images."""
        with self._lock:
            now, counts = time.monotonic(), Counter(vars(self.counts))
            (before, then), self._before = self._before, (counts, now)
            latencies = {key: np.array(kept) for key, kept in self._latencies.items()}
            rounds, complaint, self.complaint = list(self._rounds), self.complaint, ""
            silent = state == "active" and (self._seen is None or now - self._seen > _SILENCE_S)
        seconds = max(now - then, 1e-3)
        values: dict[str, Any] = {"state": state}
        values |= {
            f"{kind} [Hz]": f"{(counts[kind] - before[kind]) / seconds:.1f}" for kind in ("received", "processed")
        }
        values |= {kind: counts[kind] for kind in ("received", "processed", "rejected", "skipped", "outdated", "lost")}
        values["dropped for newer ones"] = dropped
        for key, kept in latencies.items():
            found = metrics.percentiles(kept)
            values[f"{key} p50/p95/p99 [ms]"] = " ".join(f"{found[name]:.1f}" for name in ("p50", "p95", "p99"))
        if rounds:
            values["sampler rounds, mean"] = f"{np.mean([r for r, _, _ in rounds]):.1f}"
            values["sampler evaluations, mean"] = f"{np.mean([e for _, e, _ in rounds]):.1f}"
            values["sampler converged"] = f"{np.mean([c for _, _, c in rounds]):.1%}"
        values["memory [MB]"] = f"{psutil.Process().memory_info().rss / 1e6:.0f}"
        if estimator is not None:
            values["device"], values["runtime"] = str(estimator.device), estimator.runtime
            if estimator.device.type == "cuda":
                values["device memory [MB]"] = f"{torch.cuda.memory_allocated(estimator.device) / 1e6:.0f}"
        level, message = DiagnosticStatus.OK, f"{values['processed [Hz]']} images a second"
        if estimator is None:
            level, message = DiagnosticStatus.ERROR, self.failure or "no model is loaded"
        elif state != "active":
            message = state
        elif complaint:
            level, message = DiagnosticStatus.WARN, complaint
        elif silent:
            level, message = DiagnosticStatus.WARN, f"no images on '{topic}': is the camera running, the topic right?"
        elif counts["received"] > before["received"] and counts["processed"] == before["processed"] > 0:
            level, message = DiagnosticStatus.WARN, "images arrive but none was estimated in the last second"
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(
            level=level, name=name, message=message, hardware_id=str(values.get("device", "")), values=pairs
        )


def array_of(stamp: Any, status: DiagnosticStatus) -> DiagnosticArray:
    """The message of one status; `stamp` is a builtin_interfaces/Time."""
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message
