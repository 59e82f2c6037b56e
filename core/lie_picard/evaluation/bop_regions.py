"""Where to look in an image of a BOP data set: at the truth, at what is seen of it, or where a detector says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lie_picard.data.bop import BopError, Image, Instance, Model
from lie_picard.data.bop.annotations import box, mask_of_runs, read_json
from lie_picard.estimation.regions import region_of_box, regions_of_mask
from lie_picard.geometry.camera import Camera, Region, sphere_region

TRUTH, VISIBLE = "gt", "gt-visib"
_OVERLAP = 0.5  # of a detection's half side: how far off its middle the object that it means may be


@dataclass(frozen=True)
class Request:
    """One region to look at.

    Attributes:
        region: of the object's sphere, pixels. score: of the detection; 1 where the truth says it.
        index: of the true pose that it is of; None where it is of none.
    """

    region: Region
    score: float = 1.0
    index: int | None = None


class Detections:
    """A detector's results in COCO's form, as the BOP challenge has them, by image and object."""

    def __init__(self, path: Path) -> None:
        """Raises:
        BopError: the file is missing or damaged.
        """
        content = read_json(path)
        if not isinstance(content, list):
            raise BopError(f"{path} must be a list of detections (scene_id, image_id, category_id, bbox, score)")
        self.times: dict[tuple[int, int], float] = {}
        self._found: dict[tuple[int, int, int], list[tuple[Region, float]]] = {}
        for number, one in enumerate(content):
            where = f"{path}, detection {number}"
            if not isinstance(one, dict):
                raise BopError(f"{where}: expected scene_id, image_id, category_id, bbox and score")
            key = tuple(one.get(name) for name in ("scene_id", "image_id", "category_id"))
            score = one.get("score", 1.0)
            good = all(type(value) is int for value in key) and isinstance(score, (int, float))
            if not good or not math.isfinite(score):
                raise BopError(f"{where} needs whole numbers scene_id, image_id, category_id, and a finite score")
            self._found.setdefault(key, []).append((self._region(one, where), float(score)))  # type: ignore[arg-type]

    @staticmethod
    def _region(one: Mapping[str, Any], where: str) -> Region:
        if one.get("segmentation") is not None:
            labels = mask_of_runs(one["segmentation"], where).astype(np.int32)
            found = regions_of_mask(labels, ["one"]).get("one")
            if found is not None:
                return found
        around = box(one.get("bbox"), where)
        if around is None:
            raise BopError(f"{where} has neither a bbox nor a segmentation of some pixels")
        # A detector's box ends at the border of its last pixel, an annotation's at the last pixel.
        return region_of_box(around.x, around.y, around.width - 1, around.height - 1)

    def of(self, image: Image, number: int) -> list[Request]:
        """What is said of an object in an image, best first."""
        found = self._found.get((image.scene_id, image.image_id, number), [])
        return [Request(region, score) for region, score in sorted(found, key=lambda one: -one[1])]


def requests(
    source: str | Detections, image: Image, camera: Camera, model: Model, wanted: Sequence[Instance]
) -> list[Request]:
    """The regions to look at for one object.

    Args:
        source: `TRUTH`, `VISIBLE` or a detector's results. wanted: true poses of the object.

    Raises:
        BopError: a mask is damaged.
    """
    if isinstance(source, Detections):
        return [_assigned(one, camera, model, wanted) for one in source.of(image, model.object_id)]
    found = []
    for one in wanted:
        region = sphere_of(one, camera, model) if source == TRUTH else _seen(one, image)
        if region is not None:
            found.append(Request(region, index=one.index))
    return found


def sphere_of(one: Instance, camera: Camera, model: Model) -> Region | None:
    """Of the object's sphere at its true pose; None where that is not in front of the camera."""
    centre = model.object_pose(one.pose)[:3, 3]
    return None if centre[2] <= model.radius else sphere_region(camera, centre, model.radius)


def _seen(one: Instance, image: Image) -> Region | None:
    mask = image.mask(one.index)
    if mask is not None:
        return regions_of_mask(mask.astype(np.int32), ["one"]).get("one")
    around = one.box_visible or one.box
    return None if around is None else region_of_box(around.x, around.y, around.width, around.height)


def _assigned(request: Request, camera: Camera, model: Model, wanted: Sequence[Instance]) -> Request:
    """The same with the true pose that lies nearest to the middle of the region, where one is near."""
    region = request.region
    middle = np.array([region.x + region.width / 2, region.y + region.height / 2])
    best, least = None, _OVERLAP * region.width / 2
    for one in wanted:
        sphere = sphere_of(one, camera, model)
        if sphere is None:
            continue
        away = float(np.linalg.norm(middle - (sphere.x + sphere.width / 2, sphere.y + sphere.height / 2)))
        if away < least:
            best, least = one.index, away
    return Request(region, request.score, best)
