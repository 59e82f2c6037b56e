"""The images on which the estimator did worst, kept for the report while the recordings go by."""

from __future__ import annotations

import contextlib
import heapq
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lie_picard.drawing.overlay import enlarged
from lie_picard.geometry.camera import CameraError
from lie_picard.node import pictures
from lie_picard.node.pipeline import Shot
from lie_picard.node.settings import Settings
from lie_picard.recording.scoring import Image, Recording
from lie_picard.view.scene import Scene, scene

_EACH = 3  # of one object
_SIDE_PX = 520  # of the picture, about
_APART_NS = 1_000_000_000  # neighbours show the same


@dataclass(frozen=True)
class Picture:
    """What went wrong in one image.

    Attributes:
        record: of the object in question. seconds: since the recording's begin.
        overlay: (H, W, 3) RGB, the part around the object. distribution: (H, W, 3) RGB.
        scene: the same to be turned in a browser.
    """

    record: dict[str, Any]
    seconds: float
    overlay: NDArray[np.uint8]
    distribution: NDArray[np.uint8]
    scene: Scene = field(default_factory=dict)


@dataclass(order=True)
class _Entry:
    error: float
    number: int
    image: Image = field(compare=False)
    record: dict[str, Any] = field(compare=False)
    seconds: float = field(compare=False)


class Worst:
    """The images of each object whose samples are farthest from the truth in the mean, no two within a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._heaps: dict[str, list[_Entry]] = {target.object_id: [] for target in settings.targets}
        self._count = 0

    def add(self, recording: Recording, image: Image) -> None:
        """Take in the next image."""
        seconds = (image.done.log_ns - recording.start_ns) * 1e-9
        for record in image.records:
            if record["state"] == "scored" and image.frame is not None:
                self._count += 1
                self._offer(_Entry(record["mean_deg"], self._count, image, record, seconds))

    def _offer(self, entry: _Entry) -> None:
        heap = self._heaps[entry.record["object"]]
        near = [one for one in heap if one.record["bag"] == entry.record["bag"]
                and abs(one.record["stamp_ns"] - entry.record["stamp_ns"]) < _APART_NS]  # fmt: skip
        if any(one.error >= entry.error for one in near):
            return
        for one in near:
            heap.remove(one)
        heapq.heapify(heap)
        heapq.heappush(heap, entry)
        if len(heap) > _EACH:
            heapq.heappop(heap)

    def pictures(self) -> list[Picture]:
        """Of every object, the worst first."""
        found = []
        for entry in [entry for heap in self._heaps.values() for entry in sorted(heap, reverse=True)]:
            # A pose beside the image, or at a distance of 0, cannot be drawn; its figures are there.
            with contextlib.suppress(ArithmeticError, ValueError, CameraError, cv2.error):
                found.append(self._drawn(entry))
        return found

    def _drawn(self, entry: _Entry) -> Picture:
        image, name = entry.image, entry.record["object"]
        assert image.shot is not None and image.result is not None
        camera = image.shot.camera
        poses = next(poses for poses in image.result.poses if poses.object_id == name)
        size = next(target.diameter for target in self._settings.targets if target.object_id == name)
        edge = poses.position + np.array([0.75 * size, 0.0, 0.0])
        (x, y), (right, _) = camera.project_or_nan(np.stack([poses.position, edge]))
        factor = round(float(np.clip(_SIDE_PX / (2 * max(1.0, right - x)), 1, 4)))
        large = Shot(*enlarged(image.shot.image, camera, factor))
        overlay = pictures.overlay(large, image.result, self._settings, image.truth)
        half, centre = int(factor * max(8.0, right - x)), (np.array([x, y]) * factor).astype(int)
        low = np.clip(centre - half, 0, None)
        part = overlay[low[1] : centre[1] + half, low[0] : centre[0] + half]
        known, around = self._settings, (float(x), float(y), float(right - x))
        shown = scene(image.shot, image.result, known.targets, known.meshes, image.truth, only=name, around=around)
        return Picture(entry.record, entry.seconds, part, pictures.distribution(poses, image.truth[name]), shown)
