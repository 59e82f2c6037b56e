"""Position of an object's centre from a depth image, instead of from the size of its region.

The centre lies on the region's viewing ray, and the depth image gives the distance: with the shape and its rotation
known, the one at which the shape's near surface fits the measured ranges; without, the ranges themselves plus what
separates surface and centre on average. A region that is too large or too small does little harm to either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.geometry.camera import Camera, Region, View, turn_z_to
from lie_picard.rendering.buffers import Castable

Array = NDArray[np.float64]

# Ranges are looked for this near to the one that the region's size tells; beyond is background or an occluder.
GATE = 0.3
# From the median range in the inner part of the region (share of its radius) to the centre, in radii of the sphere, and
# its spread over six shapes at random poses (tet 0.37, cone 0.55, cube 0.65, cyl 0.71, icosa 0.79, sphere 0.96).
INNER, OFFSET, OFFSET_SIGMA = 0.4, 0.67, 0.20
# What more pixels do not improve: a sensor's bias as a share of the range; of a solid, its model's and rotation's
# errors in radii. An edge of the region is known to some pixels.
BIAS, MODEL_SIGMA, REGION_SIGMA_PX = 0.002, 0.02, 1.0
# The fewest ranges that decide, and the least share of those that the solid should give.
MIN_RANGES, MIN_SHARE = 16, 0.15
_GRID = 48  # pixels a side that are looked at
_OUTLINE = 64  # points of a sphere's image
_ROUNDS = 8
_GRAZING = 0.25  # cosine; depth sensors see little of a surface beyond
# What a range is too long by where it is in another unit than it is read in (metres of 32FC1, mm of 16UC1).
_UNITS = {
    np.dtype(np.float32): {1000.0: "millimetres", 100.0: "centimetres", 39.37: "inches", 1e4: "0.1 mm", 1e-3: "km"},
    np.dtype(np.uint16): {10.0: "0.1 mm", 5.0: "0.2 mm", 4.0: "0.25 mm", 0.1: "centimetres", 1e-3: "metres",
                          1000.0: "micrometres"},
}  # fmt: skip
_MEANT = {np.dtype(np.float32): "32FC1 is read in metres", np.dtype(np.uint16): "16UC1 is read in millimetres"}


def position_from_depth(
    depth: NDArray[np.float32],
    camera: Camera,
    view: View,
    region: Region,
    diameter: float,
    rotation: Array | None = None,
    shape: Castable | None = None,
) -> tuple[Array, Array] | None:
    """The object's centre and its covariance, camera frame; None where too few ranges are valid.

    Args:
        depth: (H, W) metres along the optical axis, NaN where unknown; registered to `camera`, distorted as it is.
        view: `look_at` of the region. region: of the object's circumscribed sphere, pixels.
        diameter: of that sphere, metres.
        rotation: (3, 3) camera_from_object of a hypothesis. shape: the solid; both or the coarser estimate.

    Returns:
        (3,) metres and (3, 3) m^2.

    Raises:
        ValueError: the depth image is not of the camera's size.
    """
    if depth.shape != (camera.height, camera.width):
        raise ValueError(
            f"the depth image is {depth.shape[1]} x {depth.shape[0]} pixels but the camera {camera.width} x "
            f"{camera.height}: register the depth to the colour camera"
        )
    found = range_from_depth(depth, camera, region, view.position(diameter), diameter / 2, rotation, shape)
    if found is None:
        return None
    distance, sigma = found
    return view.camera_from_view[:, 2] * distance, position_covariance(view, camera, distance, sigma)


def range_from_depth(
    depth: NDArray[np.float32],
    camera: Camera,
    region: Region,
    expected: Array,
    radius: float,
    rotation: Array | None = None,
    shape: Castable | None = None,
) -> tuple[float, float] | None:
    """Distance of the object's centre and its standard deviation, metres; None where too few ranges are valid.

    Args:
        region: pixels that are looked at. expected: (3,) where the centre is by all else, metres: it lies on that ray,
            and ranges far from that one are another thing's. Others are as of `position_from_depth`.
    """
    away = float(np.linalg.norm(expected))
    axis = expected / away
    rays, ranges = _ranges(depth, camera, region)
    near = (ranges > (1 - GATE) * away - radius) & (ranges < (1 + GATE) * away)
    rays, ranges = rays[near], ranges[near]
    if len(ranges) < MIN_RANGES:
        return None
    found = _coarse(rays @ axis, ranges, math.asin(min(1.0, radius / away)), radius)
    if shape is not None and rotation is not None:
        found = _fitted(rays, ranges, axis, found, radius, rotation, shape)
    if found is None:
        return None
    distance, sigma = found
    return distance, math.hypot(sigma, BIAS * distance)


def region_of(camera: Camera, centre: Array, radius: float) -> Region | None:
    """Bounding box of a sphere's image, whatever the lens; None where a part of it is not seen. (3,), metres."""
    distance = float(np.linalg.norm(centre))
    if not radius < distance:
        return None
    angles = np.linspace(0, 2 * math.pi, _OUTLINE, endpoint=False)
    sine = radius / distance
    cone = np.stack([sine * np.cos(angles), sine * np.sin(angles), np.full(_OUTLINE, math.sqrt(1 - sine**2))], 1)
    pixels = camera.project_or_nan(cone @ turn_z_to(centre).T) + 0.5
    if not np.isfinite(pixels).all():
        return None
    (left, top), (right, bottom) = pixels.min(0), pixels.max(0)
    return Region(float(left), float(top), float(right - left), float(bottom - top))


def unused_depth(
    depth: NDArray[np.float32], camera: Camera, region: Region, expected: float, stored: Any = np.float32
) -> str:
    """Why `range_from_depth` (whose arguments these are) found too few ranges: one line with the likely cause.

    Args:
        expected: distance of the centre by all else, metres.
        stored: the type of the values that the depth image came in: float32 metres, uint16 millimetres.
    """
    stored = np.dtype(stored)
    _, ranges = _ranges(depth, camera, region)
    if len(ranges) < MIN_RANGES:
        return (
            f"the depth image holds {len(ranges)} ranges where the object is, at least {MIN_RANGES} are needed: "
            "check that the sensor sees it, and that the depth is registered to the image"
        )
    middle = float(np.median(ranges))
    ratio = middle / expected
    # The median may be of the background, or the region too large: an unlikely unit is worse than none.
    units = {name: abs(math.log(ratio / factor)) for factor, name in _UNITS[stored].items()}
    likely = min(units, key=units.__getitem__)
    if units[likely] < math.log(1 + GATE):
        return (
            f"the depth image says {middle:.4g} m where the object is, its size in the image says {expected:.4g} m: "
            f"the depth is likely in {likely}, but {_MEANT[stored]}; convert it"
        )
    return (
        f"the depth image says {middle:.4g} m where the object is, its size in the image says {expected:.4g} m: "
        f"check the object's diameter and region, the depth's unit ({_MEANT[stored]}) and its registration to the image"
    )


def position_covariance(view: View, camera: Camera, distance: float, along: float) -> Array:
    """Of a centre at a distance on the viewing ray of a region known to `REGION_SIGMA_PX`; (3, 3) m^2, camera frame.

    Args:
        along: standard deviation along the ray, metres.
    """
    sideways = distance * REGION_SIGMA_PX / float(camera.matrix[0, 0]) / math.sqrt(2)
    return view.camera_from_view @ np.diag([sideways**2, sideways**2, along**2]) @ view.camera_from_view.T


def _ranges(depth: NDArray[np.float32], camera: Camera, region: Region) -> tuple[Array, Array]:
    """Unit rays (N, 3) and measured ranges (N,) in metres of the region's valid pixels, at most `_GRID` a side."""
    columns = _spaced(region.x, region.width, camera.width)
    rows = _spaced(region.y, region.height, camera.height)
    if not len(columns) or not len(rows):  # only a sliver of the region is in the image
        return np.zeros((0, 3)), np.zeros(0)
    values = depth[np.ix_(rows, columns)].astype(np.float64).reshape(-1)
    u, v = np.meshgrid(columns, rows)
    rays = camera.rays_or_nan(np.stack([u, v], -1).reshape(-1, 2).astype(np.float64))
    valid = np.isfinite(values) & (values > 0) & (rays[:, 2] > 0.1)
    return rays[valid], values[valid] / rays[valid, 2]


def _spaced(start: float, length: float, limit: int) -> NDArray[np.int64]:
    """Pixel indices of an interval inside the image."""
    first, last = max(0, math.ceil(start)), min(limit, math.floor(start + length)) - 1
    if last < first:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(first, last, min(_GRID, last - first + 1)).round().astype(np.int64))


def _coarse(cosines: Array, ranges: Array, angular_radius: float, radius: float) -> tuple[float, float] | None:
    """Distance of the centre and its sigma, metres, from the inner part: its median bears occluders."""
    inner = ranges[cosines > math.cos(INNER * angular_radius)]
    if len(inner) < MIN_RANGES // 4:
        return None
    return float(np.median(inner)) + OFFSET * radius, OFFSET_SIGMA * radius


def _fitted(
    rays: Array,
    ranges: Array,
    axis: Array,
    start: tuple[float, float] | None,
    radius: float,
    rotation: Array,
    shape: Castable,
) -> tuple[float, float] | None:
    """Distance at which the solid's surface fits the ranges, by Gauss-Newton with Tukey's weights; and its sigma.

    A surface with normal n that moves by ds along the axis d meets a ray q at a range longer by ds (n . d) / (n . q).
    """
    distance = start[0] if start else float(np.median(ranges)) + OFFSET * radius
    turn = torch.from_numpy(np.asarray(rotation)).float()[None]
    directions = torch.from_numpy(rays).float()
    tolerance = 1.5 * radius
    for _ in range(_ROUNDS):
        centre = torch.from_numpy(axis * (distance / radius)).float()[None]
        seen = shape.cast(turn, centre, directions)
        normals = seen.normal[0].T.double().numpy()
        facing = -(normals * rays).sum(1)
        hit = seen.hit[0].numpy() & (facing > _GRAZING)
        slope = -(normals[hit] @ axis) / facing[hit]
        error = (ranges[hit] - seen.depth[0].double().numpy()[hit] * radius) / slope
        inside = np.abs(error) < tolerance
        if inside.sum() < MIN_RANGES // 2 or inside.sum() < MIN_SHARE * hit.sum():
            return None
        weights = (1 - (error[inside] / tolerance) ** 2) ** 2
        step = float(np.average(error[inside], weights=weights))
        distance += step
        scatter = 1.4826 * float(np.median(np.abs(error[inside] - step)))
        # Narrower than Tukey's usual 4.7: an occluder may stand close in front.
        tolerance = max(3.0 * scatter, 0.01 * radius, 0.5 * tolerance)
    sigma = scatter / math.sqrt(float(weights.sum()))
    return distance, math.hypot(sigma, MODEL_SIGMA * radius)
