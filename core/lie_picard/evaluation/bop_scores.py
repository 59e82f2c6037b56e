"""Scores of a data set as BOP has them: estimates are matched with true poses, recall is averaged over thresholds.

Hodan et al., BOP challenge 2020 on 6D object localization (ECCV workshops 2020): AR = (AR_VSD + AR_MSSD + AR_MSPD) / 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TAUS = tuple(k / 20 for k in range(1, 11))  # of the diameter, VSD's misalignment tolerances
SHARES = TAUS  # thresholds of VSD, and of MSSD as a share of the diameter
PIXELS = tuple(5.0 * k for k in range(1, 11))  # of MSPD, in an image of 640 pixels' width
WIDTH = 640.0
KINDS = "vsd", "mssd", "mspd"


@dataclass(frozen=True)
class Estimate:
    """One estimated pose, with its errors against every true pose of its object in its image.

    Attributes:
        score: the higher, the earlier it is matched.
        errors: by kind, then by the true pose's index: VSD one a tolerance of `TAUS`, MSSD over the diameter, MSPD in
            pixels of an image `WIDTH` wide. A kind that cannot be told is left out.
    """

    score: float
    errors: Mapping[str, Mapping[int, Any]]


@dataclass(frozen=True)
class Case:
    """One object in one image.

    Attributes:
        object_id: which. count: how many instances are to be found.
        visible: of the true poses, by their index: the share that is seen. The `count` most visible are the targets.
        estimates: any number, of which the `count` best by score are taken.
    """

    object_id: int
    count: int
    visible: Mapping[int, float]
    estimates: Sequence[Estimate] = field(default_factory=tuple)

    @property
    def targets(self) -> tuple[int, ...]:
        """Indices of the true poses that count."""
        order = sorted(self.visible, key=lambda index: -self.visible[index])
        return tuple(order[: self.count])


def matches(case: Case, errors: Sequence[Mapping[int, float]], threshold: float) -> dict[int, int]:
    """Estimates (by their place in `case.estimates`) by the true pose that each is matched with.

    Best score first, each takes of the targets that are left the one with the least error, where that is below the
    threshold.

    Args:
        errors: of each estimate, by true pose.
    """
    order = sorted(range(len(case.estimates)), key=lambda k: -case.estimates[k].score)[: case.count]
    found: dict[int, int] = {}
    for k in order:
        free = [index for index in errors[k] if index in case.targets and index not in found]
        best = min(free, key=lambda index: errors[k][index], default=None)
        if best is not None and errors[k][best] < threshold:
            found[best] = k
    return found


def recall(cases: Sequence[Case], kind: str, threshold: float, tau: int = 0) -> float | None:
    """Share of all targets that are found; None where there are none, or the error is not known everywhere.

    Args:
        tau: index into `TAUS`, for VSD.
    """
    hits = total = 0
    for case in cases:
        total += len(case.targets)
        if any(kind not in estimate.errors for estimate in case.estimates):
            return None
        errors = [_at(estimate.errors[kind], tau) for estimate in case.estimates]
        hits += len(matches(case, errors, threshold))
    return hits / total if total else None


def _at(errors: Mapping[int, Any], tau: int) -> dict[int, float]:
    return {index: float(one[tau] if isinstance(one, Sequence) else one) for index, one in errors.items()}


def average_recall(cases: Sequence[Case]) -> dict[str, float | None]:
    """AR_VSD, AR_MSSD, AR_MSPD and their mean, "ar"; where there is no VSD, there is no "ar" either.

    "ar_mssd_mspd" is the mean of the two that need no depth image.
    """
    every = {
        "vsd": [recall(cases, "vsd", threshold, tau) for tau in range(len(TAUS)) for threshold in SHARES],
        "mssd": [recall(cases, "mssd", threshold) for threshold in SHARES],
        "mspd": [recall(cases, "mspd", threshold) for threshold in PIXELS],
    }
    found = {f"ar_{kind}": _mean(values) for kind, values in every.items()}
    found["ar_mssd_mspd"] = _mean([found["ar_mssd"], found["ar_mspd"]])
    return found | {"ar": _mean([found[f"ar_{kind}"] for kind in KINDS])}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
