"""/diagnostics once a second: one status for each question that an integrator asks, each with a level and a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from lie_picard.estimation.several import AnyEstimator
from lie_picard.evaluation import metrics
from lie_picard_pose.monitor import Figures

_SILENCE_S = 2.0
_MUCH_LOST = 0.02  # of the images on the way
_MUCH_DROPPED = 0.1  # of the images that came
_OLD_S, _EARLY_S = 0.5, 0.05  # stamps before and after an image's arrival that clocks alone explain
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_Verdict = tuple[bytes, str]


@dataclass(frozen=True)
class Subject:
    """Whom a report is about.

    Attributes:
        name: the node's. state: of its lifecycle. topic: of the images. quality: of service of each input, in words.
        estimator: None where there is no model.
    """

    name: str
    state: str
    topic: str
    quality: Mapping[str, str]
    estimator: AnyEstimator | None


def report(stamp: Any, subject: Subject, figures: Figures) -> DiagnosticArray:
    """The node's status, the worst of the others, with all values; then one status for each question.

    Args:
        stamp: builtin_interfaces/Time.
    """
    values = _values(subject, figures)
    parts = {
        "configuration": _configuration(figures),
        "input": _input(subject, figures),
        "transport": _transport(subject, figures),
        "age": _age(figures),
        "latency": _latency(figures),
        "objects": _objects(figures),
    }
    if subject.estimator is None:
        whole: _Verdict = ERROR, figures.failure or "no model is loaded"
    elif subject.state != "active":
        whole = OK, subject.state
    else:
        worst = max(parts.values(), key=lambda verdict: verdict[0])
        whole = worst if worst[0] != OK else (OK, f"{figures.rates['processed']:.1f} images a second")
    device = str(values.get("device", ""))
    statuses = [_status(subject.name, device, *whole, values)]
    if subject.state == "active":
        shown = {name: {k: v for k, v in values.items() if k in _SHOWN[name]} for name in parts}
        shown["objects"] = dict(figures.objects)
        shown["transport"] |= {f"'{topic}'": quality for topic, quality in subject.quality.items()}
        statuses += [_status(f"{subject.name}: {name}", device, *parts[name], shown[name]) for name in parts]
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


_SHOWN = {
    "configuration": (),
    "input": ("received [Hz]", "received", "incomplete", "rejected", "complaints"),
    "transport": ("lost in transport", "lost in transport [%]"),
    "age": ("age of results p50/p95/p99 [ms]",),
    "latency": ("processed [Hz]", "dropped for newer ones", "skipped", "outdated", "latency p50/p95/p99 [ms]"),
    "objects": (),
}


def _values(subject: Subject, figures: Figures) -> dict[str, Any]:
    values: dict[str, Any] = {"state": subject.state}
    values |= {f"{kind} [Hz]": f"{figures.rates[kind]:.1f}" for kind in ("received", "processed")}
    values |= dict(figures.counts)
    values["dropped for newer ones"] = figures.dropped
    values["lost in transport"] = f"{figures.transport.lost} of {figures.transport.sent}"
    values["lost in transport [%]"] = f"{100 * figures.transport.share:.1f}"
    for key, kept in figures.milliseconds.items():
        found = metrics.percentiles(kept)
        values[f"{key} p50/p95/p99 [ms]"] = " ".join(f"{found[name]:.1f}" for name in ("p50", "p95", "p99"))
    if figures.sampler:
        rounds, evaluations, converged = np.mean(np.array(figures.sampler, float), axis=0)
        values["sampler rounds, mean"] = f"{rounds:.1f}"
        values["sampler evaluations, mean"] = f"{evaluations:.1f}"
        values["sampler converged"] = f"{converged:.1%}"
    if figures.complaints:
        values["complaints"] = "; ".join(figures.complaints)
    values["memory [MB]"] = f"{psutil.Process().memory_info().rss / 1e6:.0f}"
    if subject.estimator is not None:
        values["device"], values["runtime"] = str(subject.estimator.device), subject.estimator.runtime
        if subject.estimator.device.type == "cuda":
            values["device memory [MB]"] = f"{torch.cuda.memory_allocated(subject.estimator.device) / 1e6:.0f}"
    return values


def _configuration(figures: Figures) -> _Verdict:
    return (WARN, "; ".join(figures.configuration)) if figures.configuration else (OK, "the parameters fit")


def _input(subject: Subject, figures: Figures) -> _Verdict:
    if figures.silence_s > _SILENCE_S:
        return WARN, f"no images on '{subject.topic}': is the camera running, the topic right?"
    if figures.complaints:
        return WARN, figures.complaints[0]
    if figures.rates["received"] and not figures.rates["processed"] and figures.counts["processed"]:
        return WARN, "images arrive but none was estimated in the last second"
    return OK, f"{figures.rates['received']:.1f} images a second"


def _transport(subject: Subject, figures: Figures) -> _Verdict:
    loss = figures.transport
    if loss.share <= _MUCH_LOST:
        return OK, "the images arrive"
    remedy = "send smaller images or fewer, or use transport: compressed"
    if "best effort" in subject.quality.get(subject.topic, ""):
        remedy = (
            "start the camera's driver with this package's config/fastdds.xml (docs/node.md), let it publish reliably, "
            "use transport: compressed, or raise net.core.rmem_max"
        )
    return WARN, f"{loss.lost} of {loss.sent} images on '{subject.topic}' were lost on the way: {remedy}"


def _age(figures: Figures) -> _Verdict:
    ages, latencies = figures.milliseconds.get("age of results"), figures.milliseconds.get("latency")
    if ages is None or latencies is None:
        return OK, "nothing was estimated yet"
    before = float(np.median(ages - latencies)) * 1e-3  # from stamp to arrival
    if before > _OLD_S:
        hint = (
            "use_sim_time for a recording, or synchronise the clocks and see that the camera's driver stamps its images"
        )
        return WARN, f"images are stamped {before:.3g} s before they arrive: {hint}"
    if before < -_EARLY_S:
        return WARN, f"images are stamped {-before:.3g} s after they arrive: synchronise the clocks of camera and node"
    return OK, f"results are {np.median(ages):.0f} ms old when they are published"


def _latency(figures: Figures) -> _Verdict:
    latencies = figures.milliseconds.get("latency")
    if latencies is None:
        return OK, "nothing was estimated yet"
    median = float(np.median(latencies))
    came = figures.rates["received"]
    share = figures.rates["dropped"] / came if came else 0.0
    if share > _MUCH_DROPPED:
        return WARN, (
            f"{share:.0%} of the images gave way to newer ones, as one takes {median:.0f} ms: fewer samples, steps or "
            "objects, a GPU, or max_rate"
        )
    return OK, f"{median:.0f} ms from an image's arrival to its result"


def _objects(figures: Figures) -> _Verdict:
    """An object that was searched and is not there is no fault; why it was not found stands here."""
    return OK, ", ".join(f"{name}: {state}" for name, state in figures.objects.items()) or "nothing was estimated yet"


def _status(name: str, device: str, level: bytes, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=device, values=pairs)
