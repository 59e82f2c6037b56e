"""How many of a camera's images never reach the node: told by the stamps of those that do, and of their calibration."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

_KEPT = 300  # stamps a topic
_PAUSE = 2_000_000_000  # nanoseconds: a longer gap is a camera that stood still
_FEW = 10  # images, below which nothing is said
_PAIRED = 0.5  # share of images with a calibration of the same stamp, above which the calibrations tell what was sent


class Loss(NamedTuple):
    """Images that were sent and did not arrive, of so many that were sent, lately."""

    lost: int
    sent: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.lost / self.sent if self.sent else 0.0


class Losses:
    """Collects stamps in nanoseconds, in one thread."""

    def __init__(self) -> None:
        self._images: deque[int] = deque(maxlen=_KEPT)
        self._infos: deque[int] = deque(maxlen=_KEPT)

    def image(self, stamp: int) -> None:
        """An image has come. A stamp that goes back begins anew."""
        if self._images and stamp < self._images[-1]:
            self.clear()
        self._images.append(stamp)

    def info(self, stamp: int) -> None:
        """A camera_info has come."""
        self._infos.append(stamp)

    def clear(self) -> None:
        """Forget everything."""
        self._images.clear()
        self._infos.clear()

    def recent(self) -> Loss:
        """Of the stamps that are kept.

        A camera_info is small and seldom lost: where each image has one, those without an image were lost. Elsewhere
        the gaps tell, in units of the camera's period: nearly the smallest one that occurs.
        """
        images = np.unique(np.array(self._images, np.int64))
        if len(images) < _FEW:
            return Loss(0, len(images))
        infos = np.unique(np.array(self._infos, np.int64))
        infos = infos[(infos >= images[0]) & (infos <= images[-1])]
        missing = int((~np.isin(infos, images)).sum())
        if len(images) - (len(infos) - missing) <= (1 - _PAIRED) * len(images):
            return Loss(missing, len(images) + missing)
        gaps = np.diff(images)
        gaps = gaps[gaps <= _PAUSE]
        if len(gaps) < _FEW:
            return Loss(0, len(images))
        smallest = np.quantile(gaps, 0.1, method="lower")
        period = float(np.median(gaps[gaps <= 1.5 * smallest]))
        lost = int(np.maximum(np.rint(gaps / period) - 1, 0).sum())
        return Loss(lost, len(images) + lost)
