"""Solids and what is done with them, on the CSG kernel Manifold; lengths in any unit.

Manifold was chosen since its results are closed by construction, it offsets plane sections, and it is fast enough
to make parts while a training runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = Sequence[float] | Array
Solid = Any  # manifold3d.Manifold; the package is imported where it is used
T = TypeVar("T")

ROUND = 48  # sides of a circle
Z = (0.0, 0.0, 1.0)


class PartsError(ValueError):
    """Random parts cannot be made; the message says why."""


@dataclass(frozen=True)
class Built:
    """A solid about its own axes.

    Attributes:
        group: rotations that leave it as it is, by its construction: C1; Cs (a mirror plane alone); Cn, Dn, C∞, D∞
            about z, and half turns about x. Chance may have made it more symmetric.
    """

    solid: Solid
    group: str = "C1"


class Dice:
    """Random choices from one generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        """Uniform."""
        return float(self.generator.uniform(low, high))

    def ratio(self, low: float, high: float) -> float:
        """Uniform in its logarithm, both positive."""
        return float(math.exp(self.generator.uniform(math.log(low), math.log(high))))

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends among them."""
        return int(self.generator.integers(low, high + 1))

    def happens(self, share: float) -> bool:
        """Whether something of a probability does."""
        return bool(self.generator.random() < share)

    def one(self, of: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of some."""
        p = None if weights is None else np.asarray(weights) / np.sum(weights)
        return of[int(self.generator.choice(len(of), p=p))]

    def direction(self) -> Array:
        """(3,) unit."""
        vector = self.generator.normal(size=3)
        return np.asarray(vector / np.linalg.norm(vector))


def kernel() -> Any:
    """The module manifold3d.

    Raises:
        PartsError: it is not installed.
    """
    try:
        import manifold3d
    except ImportError as error:
        raise PartsError(f"random parts need the package manifold3d ({error}): pip install manifold3d") from None
    return manifold3d


def sides(order: int) -> int:
    """Of a circle that a turn by 360 degrees / order leaves as it is, and a half turn across."""
    return ROUND if ROUND % order == 0 else 2 * order * math.ceil(ROUND / 2 / order)


def box(size: Vector, at: Vector = (0, 0, 0)) -> Solid:
    """A block about a point."""
    return kernel().Manifold.cube(tuple(size), True).translate(tuple(at))


def rod(
    radius: float,
    height: float,
    at: Vector = (0, 0, 0),
    axis: Vector = Z,
    top: float = -1.0,
    around: int = 32,
) -> Solid:
    """A cylinder, or a cone whose upper radius is another, about a point and along an axis."""
    return aligned(kernel().Manifold.cylinder(height, radius, top, around, True), axis).translate(tuple(at))


def ball(radius: float, at: Vector = (0, 0, 0), around: int = 24) -> Solid:
    """A sphere."""
    return kernel().Manifold.sphere(radius, around).translate(tuple(at))


def torus(radius: float, thickness: float, at: Vector = (0, 0, 0), axis: Vector = Z) -> Solid:
    """A ring of a round wire of radius `thickness`."""
    wire = kernel().CrossSection.circle(thickness, 14).translate((radius, 0))
    return aligned(wire.revolve(36), axis).translate(tuple(at))


def aligned(solid: Solid, axis: Vector) -> Solid:
    """With its z along an axis."""
    x, y, z = (float(v) for v in axis)
    if abs(x) < 1e-12 and abs(y) < 1e-12:
        return solid if z > 0 else solid.rotate((180, 0, 0))
    length = math.sqrt(x * x + y * y + z * z)
    return solid.rotate((0, math.degrees(math.acos(z / length)), 0)).rotate((0, 0, math.degrees(math.atan2(y, x))))


def joined(*solids: Solid) -> Solid:
    """Their union."""
    module = kernel()
    return module.Manifold.batch_boolean(list(solids), module.OpType.Add)


def cut(solid: Solid, *tools: Solid) -> Solid:
    """Without what lies in the tools."""
    module = kernel()
    return module.Manifold.batch_boolean([solid, *tools], module.OpType.Subtract)


def ring(solid: Solid, count: int) -> Solid:
    """Repeated about z."""
    return joined(*(solid.rotate((0, 0, 360 * k / count)) for k in range(count)))


def both(solid: Solid) -> Solid:
    """With its copy by a half turn about x."""
    return solid + solid.rotate((180, 0, 0))


def mirrored(solid: Solid) -> Solid:
    """With its mirror image across the plane y = 0."""
    return solid + solid.mirror((0, 1, 0))


def hulled(*solids: Solid) -> Solid:
    """The convex hull of all."""
    return kernel().Manifold.batch_hull(list(solids))


def bounds(solid: Solid) -> Array:
    """(2, 3) lowest and highest corner.

    Raises:
        ValueError: it is empty.
    """
    if solid.is_empty():
        raise ValueError("a solid of nothing has no bounds: draw it again")
    return np.asarray(solid.bounding_box(), float).reshape(2, 3)


def swept(path: Array, section: Array, closed: bool = False) -> Solid:
    """A section (M, 2), counter-clockwise, carried along a path (N, 3) without turning about it.

    The frames are parallel transported. Where the path bends more sharply than the section is wide, or the path
    returns to itself, the surface would cross itself: callers keep away from that.
    """
    ahead = np.roll(path, -1, 0) - path
    if closed:
        tangent = ahead + np.roll(ahead, 1, 0)
    else:
        ahead = ahead[:-1]
        tangent = np.concatenate([ahead[:1], ahead[1:] + ahead[:-1], ahead[-1:]])
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    helper = np.eye(3)[np.abs(tangent[0]).argmin()]
    across = np.cross(tangent[0], helper)
    rings = []
    for place, along in zip(path, tangent, strict=True):
        across = across - (across @ along) * along
        across /= np.linalg.norm(across)
        rings.append(place + section[:, :1] * across + section[:, 1:] * np.cross(along, across))
    many, count = len(section), len(path)
    at = np.arange(count * many).reshape(count, many)
    after = np.roll(at, -1, 0) if closed else at[1:]
    before = at if closed else at[:-1]
    quads = np.stack([before, np.roll(before, -1, 1), np.roll(after, -1, 1), after], -1).reshape(-1, 4)
    triangles = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    if not closed:
        fan = np.asarray(kernel().triangulate([section]))
        triangles += [fan[:, ::-1], fan + at[-1, 0]]
    return of_mesh(np.concatenate(rings), np.concatenate(triangles))


def of_mesh(vertices: Array, triangles: NDArray[np.integer]) -> Solid:
    """From a closed mesh, (V, 3) and (T, 3)."""
    module = kernel()
    mesh = module.Mesh(np.asarray(vertices, np.float32), np.asarray(triangles, np.uint32))
    return module.Manifold(mesh).as_original()


def circle(radius: float, count: int = 14) -> Array:
    """A section for `swept`. -> (count, 2)."""
    angles = np.arange(count) * (2 * math.pi / count)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)
