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
_LOOSE = 1e-5  # of the extent: enough for a plane to be none
_CELLS = 0, 400, 200, 100, 50, 25  # of a grid, to a diameter; 0: none
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


def collapsed(surface: Surface, triangles: int, loose: float = 0.0) -> Surface:
    """Its shape in about so many triangles, however far away that is; without colours.

    Args:
        loose: vertices are moved at random by so much of the extent (standard deviation). The best place of a vertex
            within a plane is not unique, and fine flat meshes stay as they are where they are exactly flat.
    """
    import fast_simplification

    extent = max(float(np.ptp(surface.vertices, axis=0).max()), 1e-300)
    noise = np.random.default_rng(0).normal(size=surface.vertices.shape)
    vertices, faces = fast_simplification.simplify(
        np.asarray(surface.vertices + loose * extent * noise, np.float32),
        np.asarray(surface.triangles, np.int32),
        target_count=triangles,
        agg=_CARE,
    )
    return Surface(np.asarray(vertices, float), np.asarray(faces, np.int64))


def reduced(surface: Surface, diameter: float, triangles: int, limit: int) -> tuple[Surface, float]:
    """A surface of at most `limit` triangles with colours of its corners alone, to be kept in little room.

    Vertices at one place become one. One of more is collapsed to about `triangles`; where slivers or scraps withstand
    that, vertices in one cell of a grid become one first. One with textures and few triangles is divided, so that
    colours of the corners can say what the pictures did.

    Returns:
        The surface, and the distance between the two in diameters, as of `simplified`.
    """
    surface = _welded(surface)
    if surface.texture is not None and len(surface.triangles) <= limit:
        surface = _baked(_divided(surface, triangles))
    if len(surface.triangles) <= limit:
        return surface, 0.0
    best, least = None, np.inf
    for cells in _CELLS:
        plain = _clustered(surface, diameter / cells) if cells else surface
        if len(plain.triangles) > limit:
            plain = _welded(collapsed(plain, triangles, _LOOSE))
        if not 0 < len(plain.triangles) <= limit:
            continue
        distance = _distance(surface, plain) / diameter
        if distance < least:
            best, least = plain, distance
        if least <= TOLERANCE or cells:
            break
    if best is None:  # scraps that nothing joins: the largest say most
        corners = surface.corners
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        keep = np.zeros(len(area), bool)
        keep[np.argsort(-area, kind="stable")[:triangles]] = True
        best = _welded(Surface(surface.vertices, surface.triangles[keep]))
        least = _distance(surface, best) / diameter
    return (_painted(best, surface) if surface.is_coloured else best), float(least)


def _clustered(surface: Surface, size: float) -> Surface:
    """With one vertex, their mean, in each cell of a grid (Rossignac and Borrel 1993); without colours."""
    cell = np.floor(surface.vertices / size).astype(np.int64)
    _, place = np.unique(cell, axis=0, return_inverse=True)
    place = place.reshape(-1)
    sums = np.zeros((int(place.max()) + 1, 3))
    np.add.at(sums, place, surface.vertices)
    triangles = place[surface.triangles]
    proper = (triangles != np.roll(triangles, 1, 1)).all(1)
    _, once = np.unique(np.sort(triangles[proper], axis=1), axis=0, return_index=True)
    return Surface(sums / np.bincount(place)[:, None], triangles[proper][np.sort(once)])


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
