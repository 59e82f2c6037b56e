"""The finite groups of rotations as matrices: names, axes, subgroups, and how they lie among found axes."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry import Symmetry
from lie_picard.geometry.symmetry_search.refine import about

Array = NDArray[np.float64]

SIZES = {"I": 60, "O": 24, "T": 12}
_CLOSE = math.radians(1.0)


@lru_cache
def polyhedral(name: str) -> Array:
    """T, O or I, identity first: (K, 3, 3)."""
    from scipy.spatial.transform import Rotation

    return _identity_first(np.asarray(Rotation.create_group(name).as_matrix()))


def cyclic(axis: Array, order: int) -> Array:
    """C_n about an axis, identity first: (n, 3, 3)."""
    return np.stack([about(axis, 2 * math.pi * k / order) for k in range(order)])


def dihedral(axis: Array, order: int, flip: Array) -> Array:
    """D_n about an axis, with a half turn about a perpendicular one: (2 n, 3, 3)."""
    turns = cyclic(axis, order)
    return np.concatenate([turns, turns @ about(flip, math.pi)])


def axes_of(elements: Array) -> list[tuple[Array, int]]:
    """Each axis of a group's elements (K, 3, 3) once, with its order."""
    found: list[tuple[Array, int]] = []
    for element in elements:
        axis, angle = axis_angle(element)
        if angle < _CLOSE:
            continue
        for k, (other, order) in enumerate(found):
            if abs(float(axis @ other)) > math.cos(_CLOSE):
                found[k] = other, order + 1
                break
        else:
            found.append((axis, 2))
    return found


def axis_angle(rotation: Array) -> tuple[Array, float]:
    """Unit axis and angle in [0, pi]."""
    from scipy.spatial.transform import Rotation

    vector = Rotation.from_matrix(rotation).as_rotvec()
    angle = float(np.linalg.norm(vector))
    return (vector / angle if angle > 1e-9 else np.array([0.0, 0.0, 1.0])), angle


def held_subgroup(elements: Array, held: NDArray[np.bool_]) -> Array:
    """The largest subgroup of a group (K, 3, 3), identity first, all of whose elements are held (K,)."""
    if held.all():
        return elements
    count = len(elements)
    product = np.einsum("aij,bjk->abik", elements, elements).reshape(-1, 9) @ elements.reshape(count, 9).T
    table = product.argmax(1).reshape(count, count)
    best = {0}
    good = np.flatnonzero(held)
    for a, b in itertools.combinations_with_replacement(good.tolist(), 2):
        if a in best and b in best:
            continue
        closed, level = {0}, {0}
        while level:
            level = {int(table[x, y]) for x in level for y in (a, b)} - closed
            closed |= level
            if not all(held[one] for one in level):
                break
        else:
            if len(closed) > len(best):
                best = closed
    # Two rotations generate every finite group of them.
    return np.asarray(elements[sorted(best)])


def aligned(name: str, axes: list[tuple[Array, int]]) -> list[Array]:
    """Frames (3, 3) that lay T, O or I onto two of the found axes (unit vector, prime order of a turn about it)."""
    own = axes_of(polyhedral(name))
    frames: list[Array] = []
    for (first, n), (second, m) in itertools.combinations(axes, 2):
        between = math.acos(min(1.0, abs(float(first @ second))))
        if between < math.radians(10):
            continue
        starts = [next((axis for axis, order in own if order == many), None) for many in (2, 3, 4, 5)]
        for start, many in zip(starts, (2, 3, 4, 5), strict=True):
            if start is None or many % n:
                continue
            for axis, order in own:
                angle = math.acos(min(1.0, abs(float(start @ axis))))
                if order % m or abs(angle - between) > math.radians(5):
                    continue
                to = axis * math.copysign(1.0, float(start @ axis))
                target = second * math.copysign(1.0, float(first @ second))
                frames.append(_laid(start, to, first, target))
                if angle > math.radians(89):  # the sign is open
                    frames.append(_laid(start, -to, first, target))
    return frames


def name_of(symmetry: Symmetry) -> str:
    """Schoenflies' name: C1, C6, D3, T, O, I; C∞ and D∞ about an axis; ball."""
    if symmetry.is_ball:
        return "ball"
    if symmetry.axes:
        return "D∞" if len(symmetry.rotations) > 1 else "C∞"
    count = len(symmetry.rotations)
    orders = sorted((order for _, order in axes_of(symmetry.rotations)), reverse=True)
    if count == 1:
        return "C1"
    if len(orders) == 1:
        return f"C{count}"
    several = sum(order > 2 for order in orders) > 1
    return {size: name for name, size in SIZES.items()}[count] if several else f"D{count // 2}"


def in_words(symmetry: Symmetry) -> str:
    """Its name, and the axis of the highest order where it has one: "none", "C6 about (0, 0, 1)", "O", "ball"."""
    name = name_of(symmetry)
    if symmetry.is_trivial:
        return "none"
    if name[0] not in "CD":
        return name
    axis = symmetry.axes[0] if symmetry.axes else max(axes_of(symmetry.rotations), key=lambda one: one[1])[0]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    return f"{name} about ({', '.join(f'{value:.3g}' for value in np.round(axis, 3) + 0.0)})"


def _laid(a: Array, b: Array, onto_a: Array, onto_b: Array) -> Array:
    """The rotation that takes the bisector of a and b, and their plane, onto those of two others."""

    def frame(x: Array, y: Array) -> Array:
        middle, normal = x + y, np.cross(x, y)
        middle, normal = middle / np.linalg.norm(middle), normal / np.linalg.norm(normal)
        return np.stack([middle, normal, np.cross(middle, normal)], 1)

    return np.asarray(frame(onto_a, onto_b) @ frame(a, b).T)


def _identity_first(elements: Array) -> Array:
    return np.asarray(elements[np.argsort(-np.trace(elements, axis1=1, axis2=2), kind="stable")])
