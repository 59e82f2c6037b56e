"""Fewer triangles for a surface of many, with its colours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.surface import Surface, places

Array = NDArray[np.float64]

MAX_TRIANGLES = 20_000  # of what is rendered in training; more are simplified
TOLERANCE = 0.002  # largest distance of the two surfaces (99.9% of points), of the diameter: a tenth of a pixel at 64
_POINTS, _DENSE = 20_000, 200_000
_CARE = 3  # of fast-simplification, 1 to 10: low is slower and truer


def simplified(surface: Surface, diameter: float, triangles: int = MAX_TRIANGLES) -> tuple[Surface, float]:
    """The surface itself where it is small enough, else one of about so many triangles, or more where these are needed.

    Quadric error metrics (Garland and Heckbert 1997), by fast-simplification. Colours and textures become colours of
    the corners: about as fine as the triangles are small.

    Returns:
        The surface, and the distance between the two in diameters (99.9% of points on either).
    """
    if len(surface.triangles) <= triangles:
        return surface, 0.0
    target = triangles
    while True:
        found = collapsed(surface, target)
        distance = _distance(surface, found) / diameter
        target *= 2
        if distance <= TOLERANCE or target >= len(surface.triangles):
            break
    if distance > TOLERANCE:
        return surface, 0.0
    return (_painted(found, surface) if surface.is_coloured else found), distance


def collapsed(surface: Surface, triangles: int) -> Surface:
    """Its shape in about so many triangles, however far away that is; without colours."""
    import fast_simplification

    vertices, faces = fast_simplification.simplify(
        np.asarray(surface.vertices, np.float32),
        np.asarray(surface.triangles, np.int32),
        target_count=triangles,
        agg=_CARE,
    )
    return Surface(np.asarray(vertices, float), np.asarray(faces, np.int64))


def reduced(surface: Surface, diameter: float, triangles: int, limit: int) -> Surface:
    """A surface of at most `limit` triangles with colours of its corners alone, to be kept in little room.

    One of more is `simplified` to about `triangles`, if need be farther away than training allows; one with textures
    and few triangles is divided first, so that colours of the corners can say what the pictures did. Vertices at one
    place become one.
    """
    surface = _welded(surface)
    if surface.texture is not None and len(surface.triangles) <= limit:
        surface = _baked(_divided(surface, triangles))
    if len(surface.triangles) <= limit:
        return surface
    found = _welded(simplified(surface, diameter, triangles)[0])
    if len(found.triangles) > limit:  # a truthful one is too large
        plain = collapsed(surface, triangles)
        found = _painted(plain, surface) if surface.is_coloured else plain
    if len(found.triangles) > limit:  # scraps that nothing joins: the largest say most
        corners = found.corners
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        keep = np.zeros(len(area), bool)
        keep[np.argsort(-area, kind="stable")[:triangles]] = True
        found = _welded(found.some(keep))
    return found


def apart(first: Surface, second: Surface, points: int = 2_000) -> float:
    """Distance of two surfaces in one frame: of points on either to the other, 99.9% of them, in their unit."""
    return _distance(first, second, points)


def _welded(surface: Surface) -> Surface:
    """Vertices at one place are one; those that no triangle has are left out."""
    first, place = places(surface.vertices)
    used, triangles = np.unique(place[surface.triangles], return_inverse=True)
    return replace(surface, vertices=surface.vertices[first[used]], triangles=triangles.reshape(-1, 3).astype(np.int64))


def _divided(surface: Surface, most: int) -> Surface:
    """Each triangle as four, again and again, as long as there are at most so many."""
    while 4 * len(surface.triangles) <= most:
        corners, colours, uv = (
            None if one is None else _quartered(one) for one in (surface.corners, surface.colours, surface.uv)
        )
        assert corners is not None and surface.texture is not None
        triangles = np.arange(3 * len(corners)).reshape(-1, 3)
        texture = np.tile(surface.texture, 4)
        surface = Surface(corners.reshape(-1, 3), triangles, colours, uv, surface.textures, texture)
        surface = _welded(surface)
    return surface


def _quartered(values: NDArray[Any]) -> NDArray[Any]:
    """Of corners (T, 3, K), those of four triangles each. -> (4 T, 3, K)."""
    middle = (values + np.roll(values, -1, 1)) / 2  # after each corner
    outer = [np.stack([values[:, k], middle[:, k], middle[:, k - 1]], 1) for k in range(3)]
    return np.concatenate([*outer, middle])


def _baked(surface: Surface) -> Surface:
    """With what its textures show at the corners, a little inside, as colours."""
    count = len(surface.triangles)
    shares = np.tile(0.98 * np.eye(3) + 0.02 / 3, (count, 1))
    colours = surface.colour_at(np.repeat(np.arange(count), 3), shares).reshape(-1, 3, 3)
    return Surface(surface.vertices, surface.triangles, colours)


def _distance(first: Surface, second: Surface, points: int = _POINTS) -> float:
    """Of points on each to the other, 99.9% of them."""
    one, other = (surface.mesh.points(points, 0) for surface in (first, second))
    return max(float(np.quantile(_to(one, second), 0.999)), float(np.quantile(_to(other, first), 0.999)))


def _to(points: Array, surface: Surface) -> Array:
    """Distance from points (N, 3) to the surface. -> (N,).

    That to the plane of the nearest triangle found: among slivers another one, beside it, may hold the point.
    """
    triangle, _, place = _nearest(points, surface)
    corners = surface.corners[triangle]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    away = points - place
    off_plane, whole = np.abs((away * normal).sum(1)), np.linalg.norm(away, axis=1)
    near = whole <= 0.005 * float(np.linalg.norm(np.ptp(surface.vertices, axis=0)))
    return np.asarray(np.where(near, off_plane, whole))


def _nearest(points: Array, surface: Surface) -> tuple[NDArray[np.int64], Array, Array]:
    """The nearest place on a surface: triangle (N,), barycentric shares (N, 3) and the place (N, 3)."""
    from scipy.spatial import cKDTree
    from trimesh.triangles import closest_point, points_to_barycentric

    corners = surface.corners
    samples, owner = surface.mesh.sampled(_DENSE, 1)  # large triangles have several, and every one its middle
    samples = np.concatenate([samples, corners.mean(1)])
    owner = np.concatenate([owner, np.arange(len(corners))])
    _, index = cKDTree(samples).query(points, k=6)
    best = np.full(len(points), np.inf)
    found, place = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
    for column in np.asarray(index).T:
        there = closest_point(corners[owner[column]], points)
        distance = np.linalg.norm(there - points, axis=1)
        closer = distance < best
        best[closer], found[closer], place[closer] = distance[closer], owner[column][closer], there[closer]
    shares = np.clip(np.nan_to_num(points_to_barycentric(corners[found], place)), 0, 1)
    return found, shares / np.maximum(shares.sum(1, keepdims=True), 1e-12), place


def _painted(plain: Surface, painted: Surface) -> Surface:
    """With the colours of another surface near by: at each corner that of the nearest place, a little inside."""
    corners = plain.corners
    inside = 0.98 * corners + 0.02 * corners.mean(1, keepdims=True)
    triangle, shares, _ = _nearest(inside.reshape(-1, 3), painted)
    colours = painted.colour_at(triangle, shares).reshape(-1, 3, 3)
    return Surface(plain.vertices, plain.triangles, colours)
