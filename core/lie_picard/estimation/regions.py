"""Where the objects are: masks and 2D detections to regions, the boxes of the objects' circumscribed spheres.

A mask or a detector's box bounds the object, which fills its sphere only in part: where and how large the sphere is
depends on the object's shape and pose. What is done here is right on average for six shapes at random poses
(constants below; D is the sphere's diameter). The error of the size is one of the range, which a depth image mends.
The object is taken to be seen whole: one that is hidden or cut off in part gives too small a region.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lie_picard.estimation.estimator import ImageError
from lie_picard.geometry.camera import Region

# D over the diameter of the smallest circle around the silhouette: 1.04 +- 0.07 (tet 1.14, cone 1.06, cube 1.03, cyl
# and icosa 1.02, sphere 0.98); the circle's centre is off by 0.04 D (rms; tet 0.07, cone 0.06, the others 0.01).
SPHERE_PER_CIRCLE = 1.04
# D over the longer side of the silhouette's box: 1.12 +- 0.12 (tet 1.31, cone 1.17, cube 1.12, cyl and icosa 1.06,
# sphere 0.99); the box's centre is off by 0.06 D (rms; tet and cone 0.09, the others 0.02).
SPHERE_PER_SIDE = 1.12
# Less of one label is noise of the segmentation, and so are its pieces of less than this share of the largest.
MIN_PIXELS, MIN_SHARE = 16, 0.1


class Detected(NamedTuple):
    """A detection's best hypothesis."""

    object_id: str
    score: float
    region: Region


def regions_of_mask(labels: NDArray[np.int32], objects: Sequence[str]) -> dict[str, Region]:
    """Regions of the objects that a label image shows; an object that it does not show has none.

    Args:
        labels: (H, W), 0 where there is no object. One object: it is where the labels are not 0. Several: label k is
            the k-th of `objects`.

    Raises:
        ImageError: a label beyond the objects, as in a mask of 0 and 255, which cannot tell several objects apart.
    """
    if len(objects) == 1:
        masks = {objects[0]: labels != 0}
    else:
        if (largest := int(labels.max(initial=0))) > len(objects):
            raise ImageError(
                f"the mask holds label {largest} but there are {len(objects)} objects: give the k-th of "
                f"{', '.join(objects)} the label k, or a mask of one object to each node"
            )
        masks = {name: labels == index + 1 for index, name in enumerate(objects)}
    regions = {name: _around(mask) for name, mask in masks.items()}
    return {name: region for name, region in regions.items() if region is not None}


def regions_of_detections(message: Any) -> tuple[list[Detected], list[str]]:
    """The usable detections of a vision_msgs/Detection2DArray, and why the others are skipped, one line each.

    The region is a square about the box's centre, from the longer side: it does not depend on how the box is turned.
    Pixel (0, 0) has its corner at (0, 0), as in detectors.
    """
    found, skipped = [], []
    for index, detection in enumerate(message.detections):
        box, best = detection.bbox, _best(detection.results)
        x, y = float(box.center.position.x), float(box.center.position.y)
        sides = float(box.size_x), float(box.size_y)
        if best is None:
            skipped.append(f"detection {index} has no hypothesis with a class and a score")
        elif not all(math.isfinite(value) for value in (x, y, *sides)) or min(sides) <= 0:
            skipped.append(
                f"detection {index} ('{best.class_id}') has the box {sides[0]:g} x {sides[1]:g} at ({x:g}, {y:g}): "
                "sizes must be positive pixels"
            )
        else:
            region = _square(x, y, SPHERE_PER_SIDE * max(sides))
            found.append(Detected(best.class_id, float(best.score), region))
    return found, skipped


def region_of_box(x: float, y: float, width: float, height: float) -> Region:
    """The region of an object from the box around its silhouette: a square about its middle, from its longer side."""
    return _square(x + width / 2, y + height / 2, SPHERE_PER_SIDE * max(width, height))


def misnamed(detected: Sequence[Detected], objects: Sequence[str]) -> str | None:
    """Why no detection is of an object that is looked for, where its name seems to be spelt otherwise; else None.

    A detector that sees other things only, or nothing, is no fault.
    """
    names = {one.object_id for one in detected}
    if not names or names & set(objects):
        return None
    folded = {name.casefold(): name for name in objects}
    for name in sorted(names):
        near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.75)
        if near or (name.isdigit() and not any(one.isdigit() for one in objects)):
            there, wanted = (", ".join(map(repr, some)) for some in (sorted(names), objects))
            return f"the detections name {there}, but looked for is {wanted}: name the objects as the detector does"
    return None


def _best(results: Sequence[Any]) -> Any | None:
    """The hypothesis with the highest score."""
    known = [one.hypothesis for one in results if one.hypothesis.class_id and math.isfinite(one.hypothesis.score)]
    return max(known, key=lambda hypothesis: hypothesis.score, default=None)


def _around(mask: NDArray[np.bool_]) -> Region | None:
    """The region of the silhouette's smallest circle, without specks; None where there are too few pixels."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    if not areas.size or areas.max() < MIN_PIXELS:
        return None
    kept = np.isin(pieces, 1 + np.flatnonzero(areas >= MIN_SHARE * areas.max()))
    rows, columns = np.nonzero(kept)
    (x, y), radius = cv2.minEnclosingCircle(cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32)))
    # From the pixels' centres to their borders.
    return _square(x + 0.5, y + 0.5, SPHERE_PER_CIRCLE * (2 * radius + 1))


def _square(x: float, y: float, side: float) -> Region:
    return Region(x - side / 2, y - side / 2, side, side)
