"""What a shape is without a name: its harmonic description in its own frame, for training to regress on.

A surface of radius 1 gives functions on the sphere, each as real spherical-harmonic coefficients up to degree 6. A
turned surface has the coefficients D(R) c, so the description of what an image shows is D(R) c of its pose R: the same
for all poses that look alike, and known for any surface, without a search for symmetries.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.geometry.surface import Surface

Array = NDArray[np.float64]

DEGREE = 6
CHANNELS = ("normals", "directions", "second moment", "support")
_STEP = 0.3  # radii that one point of a quadrature stands for, at most half its distance from the origin
_NEAR, _LEVELS = 0.4, 6  # of triangles' sides that they are away from the origin at least; halvings until that is so
_SMALL = 0.3  # of that, across which one point will do
_MAX_ORDER = 8
_LATITUDES = 32  # of the grid for the support function, and twice as many meridians
# Root mean square of a coefficient by degree 1 ... 6 and channel, over 500 parts:
# python -c "from lie_picard.data.random_parts.signature import reference_rms; print(reference_rms().round(4))"
# The normals of a closed surface have no degree 1: 1 stands for 0.
_RMS = (
    (1.0, 0.7199, 0.431, 0.1991),
    (0.8815, 0.8715, 0.5696, 0.3331),
    (0.2829, 0.2957, 0.197, 0.07466),
    (1.405, 0.3423, 0.2451, 0.06977),
    (0.1716, 0.1445, 0.09811, 0.01705),
    (0.6488, 0.176, 0.1247, 0.01429),
)


def signature(surface: Surface) -> Tensor:
    """Coefficients of four functions on the sphere, degree by degree as in `model.harmonics`.

    With Y of unit energy a degree, sum over m of Y_lm(v)^2 = 1, dA the area and n the normal:

    - the extended Gaussian image, integral of Y(n) dA (Horn, Extended Gaussian images, Proc. IEEE 1984);
    - where the surface lies, integral of Y(x / |x|) dA;
    - how far out, integral of |x|^2 Y(x / |x|) dA;
    - the support function, integral over the sphere of Y(v) max_x <x, v> dv.

    Degree 0 is zero. Each degree of each function is divided by its root mean square over a population of random
    parts, the same for all shapes.

    Args:
        surface: in the object's frame, radius 1 about the origin.

    Returns:
        (49, 4) float32.

    Raises:
        ValueError: the surface has no triangles.
    """
    return torch.from_numpy((raw(surface) / _scale()).astype(np.float32))


def raw(surface: Surface) -> Array:
    """`signature` without its division. -> (49, 4)."""
    if not len(surface.triangles):
        raise ValueError("a surface of 0 triangles has no signature: give one that has an area")
    corners = np.asarray(surface.corners, float)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    twice = np.linalg.norm(normals, axis=1)
    points, areas = quadrature(corners)
    squares = (points**2).sum(1)
    found = np.zeros(((DEGREE + 1) ** 2, len(CHANNELS)))
    found[:, 0] = harmonics(normals / np.maximum(twice, 1e-300)[:, None]).T @ (twice / 2)
    directions = points / np.sqrt(np.maximum(squares, 1e-24))[:, None]
    found[:, 1:3] = harmonics(directions).T @ np.stack([areas, areas * squares], 1)
    grid, values, weights = _grid()
    used = surface.vertices[np.unique(surface.triangles)]
    reach = (grid.astype(np.float32) @ used.T.astype(np.float32)).max(1)  # single precision: much the largest product
    found[:, 3] = values.T @ (weights * reach)
    found[0] = 0.0
    return found


def harmonics(directions: Array, degree: int = DEGREE) -> Array:
    """Y_lm of unit directions (N, 3), sum over m of Y_lm^2 = 1; m = -l ... l, sines first, no Condon-Shortley phase.

    With x + i y = sin(b) e^(i a), Y_l,+-m = sqrt(2 (l-m)! / (l+m)!) (d/dz)^m P_l(z) Re or Im of (x + i y)^m: the
    Legendre polynomials' derivatives by recurrence, so that nothing is singular at the poles. -> (N, (L + 1)^2).
    """
    x, y, z = directions.T
    result = np.empty(((degree + 1) ** 2, len(directions)))
    cosine, sine = np.ones_like(x), np.zeros_like(x)
    lowest = 1.0  # (2m - 1)!!
    for m in range(degree + 1):
        before, now = np.zeros_like(z), np.full_like(z, lowest)
        norm = 1.0
        for k in range(1, 2 * m + 1):
            norm /= k  # (l-m)! / (l+m)! at l = m
        for n in range(m, degree + 1):
            factor = np.sqrt((2.0 if m else 1.0) * norm)
            middle = n * n + n
            result[middle + m] = factor * now * cosine
            if m:
                result[middle - m] = factor * now * sine
            before, now = now, ((2 * n + 1) * z * now - (n + m) * before) / (n - m + 1)
            norm *= (n - m + 1) / (n + m + 1)
        lowest *= 2 * m + 1
        cosine, sine = cosine * x - sine * y, cosine * y + sine * x
    return result.T


def quadrature(corners: Array) -> tuple[Array, Array]:
    """Points on triangles (T, 3, 3) and the area that each stands for. -> (N, 3), (N,).

    Gauss-Legendre rules along two ways, from the corner opposite the shortest side to that side and along it, with as
    many points as the lengths ask for: long thin triangles take few, those near the origin are cut up first.
    """
    corners, lengths, away = _split(corners)
    step = np.minimum(_STEP, 0.5 * away + 1e-3)
    order = (lengths.argmin(1)[:, None] + np.arange(3)) % 3
    corners = np.take_along_axis(corners, order[:, :, None], 1)
    apex, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    twice = np.linalg.norm(np.cross(first, second), axis=1)
    along = np.clip(np.ceil(lengths.max(1) / step) + 1, 2, _MAX_ORDER).astype(int)
    across = np.clip(np.ceil(lengths.min(1) / step) + (lengths.min(1) > _SMALL * step), 1, _MAX_ORDER).astype(int)
    points, areas = [], []
    for key in np.unique(along * (_MAX_ORDER + 1) + across):
        chosen = along * (_MAX_ORDER + 1) + across == key
        u, u_weight = _rule(int(key) // (_MAX_ORDER + 1))
        v, v_weight = _rule(int(key) % (_MAX_ORDER + 1))
        one, other = (u[:, None] * (1 - v)).ravel(), (u[:, None] * v).ravel()
        weight = (u_weight[:, None] * u[:, None] * v_weight).ravel()
        at = apex[chosen, None] + one[:, None] * first[chosen, None] + other[:, None] * second[chosen, None]
        points.append(at.reshape(-1, 3))
        areas.append((twice[chosen, None] * weight).ravel())
    return np.concatenate(points), np.concatenate(areas)


def _split(corners: Array) -> tuple[Array, Array, Array]:
    """Triangles (T, 3, 3), those near the origin in quarters again and again, their sides opposite each corner
    (N, 3), and how far away they are at least (N,).

    x / |x| turns quickly there: a triangle is at least 0.4 times as far away as it is long.
    """
    kept, sides, away = [], [], []
    for level in range(_LEVELS + 1):
        lengths = np.linalg.norm(np.roll(corners, -1, 1) - np.roll(corners, 1, 1), axis=2)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        # No point is nearer than its plane, or than the nearest corner less the longest side.
        plane = np.abs((normals * corners[:, 0]).sum(1)) / np.maximum(np.linalg.norm(normals, axis=1), 1e-300)
        corner = np.linalg.norm(corners, axis=2).min(1) - lengths.max(1)
        distance = np.maximum(plane, corner)
        far = (distance >= _NEAR * lengths.max(1)) | (level == _LEVELS)
        kept.append(corners[far])
        sides.append(lengths[far])
        away.append(distance[far])
        near = corners[~far]
        middles = (near + np.roll(near, -1, 1)) / 2  # of sides 01, 12, 20
        ends = [np.stack([near[:, k], middles[:, k], middles[:, k - 1]], 1) for k in range(3)]
        corners = np.concatenate([*ends, middles])
        if not len(corners):
            break
    return np.concatenate(kept), np.concatenate(sides), np.concatenate(away)


@functools.cache
def _rule(order: int) -> tuple[Array, Array]:
    """Gauss-Legendre on [0, 1]: places and weights."""
    place, weight = np.polynomial.legendre.leggauss(order)
    return (place + 1) / 2, weight / 2


@functools.cache
def _grid() -> tuple[Array, Array, Array]:
    """Directions (N, 3) over the sphere, their harmonics (N, 49), and the solid angles (N,) they stand for."""
    height, weight = np.polynomial.legendre.leggauss(_LATITUDES)
    angle = np.arange(2 * _LATITUDES) * (np.pi / _LATITUDES)
    z, a = (part.ravel() for part in np.meshgrid(height, angle, indexing="ij"))
    across = np.sqrt(1 - z * z)
    directions = np.stack([across * np.cos(a), across * np.sin(a), z], 1)
    return directions, harmonics(directions), np.repeat(weight, 2 * _LATITUDES) * (np.pi / _LATITUDES)


@functools.cache
def _scale() -> Array:
    """What coefficients are divided by. -> (49, 4)."""
    result = np.ones(((DEGREE + 1) ** 2, len(CHANNELS)))
    for degree in range(1, DEGREE + 1):
        result[degree**2 : (degree + 1) ** 2] = _RMS[degree - 1]
    return result


def reference_rms(count: int = 500) -> Array:
    """Root mean square of the coefficients by degree and channel over the first training parts. -> (6, 4)."""
    from lie_picard.data.random_parts.parts import described_part

    each = np.stack([raw(described_part(k).surface) for k in range(count)])
    squares = (each**2).mean(0)
    found = np.sqrt(np.stack([squares[n * n : (n + 1) ** 2].mean(0) for n in range(1, DEGREE + 1)]))
    return np.where(found < 1e-9, 1.0, found)
