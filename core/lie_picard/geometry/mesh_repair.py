"""Surfaces as files hold them, mended where that changes nothing of the shape; what cannot be mended is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.mesh_files import MeshError
from lie_picard.geometry.surface import Surface, places

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_LIMIT = 1e9  # of a coordinate, in any unit; beyond, the difference of corners is lost


def mended(surface: Surface) -> tuple[Surface, tuple[str, ...]]:
    """The same surface, ready for use, and what was done or found, for people.

    Done: corners that are no finite numbers, degenerate and double triangles are dropped, corners at one place share a
    vertex, triangles face outwards. Found: holes, edges of more than two triangles, several bodies, twisted surfaces.

    Raises:
        MeshError: nothing is left.
    """
    said: list[str] = []
    corners = surface.corners
    finite = np.asarray((np.abs(corners) < _LIMIT).all((1, 2)))
    surface = _kept(surface, finite, "without finite corners", said)
    surface = _merged(surface)
    a, b, c = surface.triangles.T
    corners = surface.corners
    across = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).max(1, initial=0)
    flat = (a == b) | (b == c) | (c == a) | (across <= 1e-9 * longest**2)
    surface = _kept(surface, ~flat, "without area", said)
    single = _first_of_equal(np.sort(surface.triangles, 1))
    surface = _kept(surface, single, "that were there twice", said)
    if not len(surface.triangles):
        raise MeshError("no triangle with an area is left: export the surface again")
    flip = _edges(surface, said)
    if flip.any():
        surface = surface.turned(flip)
        said.append(f"turned {int(flip.sum())} of {len(flip)} triangles that faced inwards")
    return _compact(surface), tuple(said)


def _kept(surface: Surface, keep: NDArray[np.bool_], why: str, said: list[str]) -> Surface:
    if keep.all():
        return surface
    said.append(f"dropped {int((~keep).sum())} of {len(keep)} triangles {why}")
    return surface.some(keep)


def _merged(surface: Surface) -> Surface:
    """One vertex for each place; the paint is the corners' and stays."""
    surface = _compact(surface)
    if not len(surface.vertices):
        raise MeshError("no triangle with finite corners is left: export the surface again")
    first, place = places(surface.vertices)
    return replace(surface, vertices=surface.vertices[first], triangles=place[surface.triangles])


def _first_of_equal(rows: Indices) -> NDArray[np.bool_]:
    """Of rows (N, 3) that are equal, the first. -> (N,)."""
    order = np.lexsort(rows.T)
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[order[1:]] != rows[order[:-1]]).any(1)
    result = np.zeros(len(rows), bool)
    result[order] = fresh
    return result


def _compact(surface: Surface) -> Surface:
    """Without vertices that no triangle has."""
    used = np.zeros(len(surface.vertices), bool)
    used[surface.triangles] = True
    number = np.cumsum(used) - 1
    return replace(surface, vertices=surface.vertices[used], triangles=number[surface.triangles])


def _edges(surface: Surface, said: list[str]) -> NDArray[np.bool_]:
    """Which triangles to turn, so that neighbours agree and bodies face outwards. -> (T,) bool; says what else is odd.

    Each triangle stands twice in a graph, as it is and turned. Neighbours are joined where they agree: so a component
    holds one orientation of a whole body, and both of a triangle only where the surface is twisted.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(surface.triangles)
    start = surface.triangles.reshape(-1)
    end = np.roll(surface.triangles, -1, 1).reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    number = low * len(surface.vertices) + high
    order = np.argsort(number, kind="stable")
    key = np.stack([low[order], high[order]], 1)
    begin = np.flatnonzero(np.diff(number[order], prepend=-1))
    times = np.diff(np.append(begin, len(key)))
    owner, ahead = order // 3, (start < end)[order]
    pair = begin[times == 2]
    one, other = owner[pair], owner[pair + 1]
    agree = ahead[pair] != ahead[pair + 1]
    left = np.concatenate([one, one + count])
    right = np.concatenate([np.where(agree, other, other + count), np.where(agree, other + count, other)])
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(2 * count, 2 * count))
    _, label = connected_components(graph, directed=False)
    straight, turned = label[:count], label[count:]
    body = np.minimum(straight, turned)
    twisted = straight == turned
    flip = (straight > turned) & ~twisted
    _, body = np.unique(body, return_inverse=True)
    body = body.reshape(-1)
    open_edges = times == 1
    borders = np.zeros(int(body.max()) + 1, bool)
    borders[body[owner[begin[open_edges]]]] = True
    flip ^= _inward(surface, flip, body, borders)[body] & ~twisted
    # Where about half of a body was turned by the graph, the smaller part is what was wrong.
    if twisted.any():
        said.append(
            f"{int(twisted.sum())} triangles are of a surface with one side, as a Moebius strip: kept as they are"
        )
    several = int((times > 2).sum())
    if several:
        said.append(f"{several} edges have more than two triangles: kept")
    if open_edges.any():
        said.append(_holes(surface.vertices, key[begin[open_edges]]))
    if len(borders) > 1:
        said.append(f"{len(borders)} bodies, which are one object")
    return flip


def _inward(surface: Surface, flip: NDArray[np.bool_], body: Indices, open_: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which bodies face inwards once some triangles are turned. A cavity may: it lies within another body."""
    corners = surface.corners
    sign = np.where(flip, -1.0, 1.0)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * sign[:, None]
    area = np.linalg.norm(normal, axis=1)
    middle, bodies = corners.mean(1), len(open_)

    def total(values: Array) -> Array:
        return np.asarray(np.bincount(body, values, bodies), float)

    centre = np.stack([total(middle[:, k] * area) for k in range(3)], 1) / np.maximum(total(area), 1e-300)[:, None]
    outward = total(np.einsum("td,td->t", middle - centre[body], normal))
    inward = outward < 0
    low, high = np.full((bodies, 3), np.inf), np.full((bodies, 3), -np.inf)
    np.minimum.at(low, body, corners.min(1))
    np.maximum.at(high, body, corners.max(1))
    hollow = np.flatnonzero(inward & ~open_)
    if len(hollow) <= 1000:
        for one in hollow:
            within = (low < low[one]).all(1) & (high > high[one]).all(1) & ~open_
            inward[one] = not within.any()
    return inward


def _holes(vertices: Array, edges: Indices) -> str:
    """How many rims the open edges (E, 2) make, and how wide the widest is."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    used, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(used), len(used)))
    rims, label = connected_components(graph, directed=False)
    low, high = np.full((rims, 3), np.inf), np.full((rims, 3), -np.inf)
    np.minimum.at(low, label, vertices[used])
    np.maximum.at(high, label, vertices[used])
    widest = float(np.linalg.norm(high - low, axis=1).max())
    extent = float(np.linalg.norm(np.ptp(vertices, axis=0)))
    share = f"{100 * widest / extent:.2g}% of its size"
    return f"open: {rims} hole{'s' if rims > 1 else ''} or rims, the widest {share}; kept, both sides are drawn"
