"""The solids of SYMSOL I and II: geometry inside the unit sphere, markers, and rotational symmetry groups.

Every solid is convex: the part of space inside all its planes and, for cone, cylinder and sphere, inside one
quadric about the z axis. The circumscribed sphere has radius 1 and is centred at the origin.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.symsol.markers import Marker, cross, dot, painted_face

_RED, _BLACK = (0.85, 0.08, 0.08), (0.05, 0.05, 0.05)


@dataclass(frozen=True)
class Solid:
    """A convex solid and the rotations that leave it unchanged.

    Attributes:
        name: SYMSOL's file name of the shape.
        planes: (F, 4) rows (n, h): inside means ``n . x <= h``, n of unit length; (B, F, 4) where each pose has a
            solid of its own.
        slope, radius: round wall about z: inside means ``hypot(x, y) <= radius - slope * z`` (None: no wall).
        group: (G, 3, 3) discrete symmetries S (the bare solid turned by S looks the same), identity first.
        axial: whether every rotation about z is a symmetry too (then `group` holds what is left: flips).
        corners: (E, 2, 3) line segments that draw the solid's outline.
        ball: whether it is the unit sphere (then every rotation is a symmetry of the bare solid).
        markers: paint that takes symmetry away; `symsol.truth` says which poses then look the same.
    """

    name: str
    planes: Tensor
    group: Tensor
    corners: Tensor
    axial: bool = False
    radius: float | None = None
    slope: float = 0.0
    ball: bool = False
    markers: tuple[Marker, ...] = ()

    @property
    def modes(self) -> int | None:
        """Number of indistinguishable poses of the bare solid; None where they form a continuum."""
        return None if self.axial or self.ball else len(self.group)

    def equivalents(self, rotation: Tensor, axial_step_deg: float = 1.0) -> Tensor:
        """All rotations that look like `rotation`; axial ones on a grid. (..., 3, 3) -> (..., n, 3, 3)."""
        group = self.group
        if self.axial:
            count = round(360 / axial_step_deg)
            angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
            turns = so3.about_axis(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), angles).to(group)
            group = (group[:, None] @ turns[None]).flatten(0, 1)
        return rotation[..., None, :, :] @ group.to(rotation)

    def distance(self, rotation: Tensor, truth: Tensor) -> Tensor:
        """Angle in radians to the nearest indistinguishable pose. (..., 3, 3), (..., 3, 3) -> (...).

        Exact also for axial solids: the least angle over all turns about z is the tilt between the axes.
        """
        return self.distances(rotation, truth).amin(-1)

    def distances(self, rotation: Tensor, truth: Tensor) -> Tensor:
        """Angle in radians to each element of `group` applied to the truth. -> (..., G)."""
        targets = truth[..., None, :, :] @ self.group.to(truth)
        if not self.axial:
            return so3.angle(targets, rotation[..., None, :, :])
        relative = targets.mT @ rotation[..., None, :, :]
        return torch.atan2(relative[..., :2, 2].norm(dim=-1), relative[..., 2, 2])


def solid(name: str) -> Solid:
    """The solid of that SYMSOL name (see `SOLIDS`).

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SOLIDS:
        raise ValueError(f"unknown solid '{name}': choose from {', '.join(SOLIDS)}")
    return _BUILDERS[name]()


@functools.cache
def _tetrahedron() -> Solid:
    vertices = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64) / 3**0.5
    return _polyhedron("tet", vertices, -vertices)


@functools.cache
def _cube() -> Solid:
    vertices = torch.tensor(list(itertools.product((1, -1), repeat=3)), dtype=torch.float64) / 3**0.5
    normals = torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    return _polyhedron("cube", vertices, normals)


@functools.cache
def _icosahedron() -> Solid:
    golden = (1 + 5**0.5) / 2
    short = [(0.0, a, b * golden) for a in (1, -1) for b in (1, -1)]
    vertices = torch.tensor([p[k:] + p[:k] for p in short for k in range(3)], dtype=torch.float64)
    vertices = vertices / vertices.norm(dim=1, keepdim=True)
    touching = (vertices @ vertices.T - 1 / 5**0.5).abs() < 1e-6
    faces = [
        vertices[[i, j, k]].mean(0)
        for i, j, k in itertools.combinations(range(12), 3)
        if touching[i, j] and touching[j, k] and touching[i, k]
    ]
    normals = torch.stack(faces)
    return _polyhedron("icosa", vertices, normals / normals.norm(dim=1, keepdim=True))


@functools.cache
def _cone() -> Solid:
    # Apex (0, 0, 1), base disc at z = -1/2 whose rim lies on the unit sphere.
    base, rim = -0.5, 3**0.5 / 2
    slope = rim / (1 - base)
    apex = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    circle = _circle(rim, base)
    ribs = torch.stack([torch.stack([apex, p]) for p in circle[::9]])
    return Solid(
        name="cone",
        planes=torch.tensor([[0, 0, -1, -base]], dtype=torch.float64).float(),
        group=torch.eye(3)[None],
        corners=torch.cat([_loop(circle), ribs]).float(),
        axial=True,
        radius=slope,
        slope=slope,
    )


@functools.cache
def _cylinder() -> Solid:
    half, rim = 0.8, 0.6
    top, bottom = _circle(rim, half), _circle(rim, -half)
    ribs = torch.stack([top[::9], bottom[::9]], 1)
    return Solid(
        name="cyl",
        planes=torch.tensor([[0, 0, 1, half], [0, 0, -1, half]], dtype=torch.float64).float(),
        group=torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0]))]),
        corners=torch.cat([_loop(top), _loop(bottom), ribs]).float(),
        axial=True,
        radius=rim,
    )


@functools.cache
def _tetrahedron_with_red_face() -> Solid:
    bare = _tetrahedron()
    normal, height = bare.planes[0, :3], bare.planes[0, 3]
    vertices = bare.corners.flatten(0, 1)
    corners = torch.unique(vertices[(vertices @ normal - height).abs() < 1e-4], dim=0)
    return dataclasses.replace(bare, name="tetX", markers=(painted_face(_RED, corners),))


@functools.cache
def _cylinder_with_dot() -> Solid:
    bare = _cylinder()
    assert bare.radius is not None
    centre = torch.tensor([bare.radius, 0.0, 0.35])  # neither half-way up nor on the axis: nothing is symmetric
    return dataclasses.replace(bare, name="cylO", markers=(dot(_BLACK, centre, 0.25, (1 / bare.radius, 0.0)),))


@functools.cache
def _sphere_with_cross_and_dot() -> Solid:
    away = math.radians(60)
    circle = _circle(1.0, 0.0)
    circles = [_loop(circle), _loop(circle[:, [0, 2, 1]]), _loop(circle[:, [2, 0, 1]])]
    return Solid(
        name="sphereX",
        planes=torch.zeros(0, 4),
        group=torch.eye(3)[None],
        corners=torch.cat(circles).float(),
        ball=True,
        markers=(
            cross(_BLACK, torch.tensor([0.0, 0.0, 1.0]), 0.45, 0.10),
            dot(_RED, torch.tensor([math.sin(away), 0.0, math.cos(away)]), 0.22, (1.0, 1.0)),
        ),
    )


_BUILDERS = {
    "tet": _tetrahedron,
    "cube": _cube,
    "icosa": _icosahedron,
    "cone": _cone,
    "cyl": _cylinder,
    "tetX": _tetrahedron_with_red_face,
    "cylO": _cylinder_with_dot,
    "sphereX": _sphere_with_cross_and_dot,
}
SOLIDS = tuple(_BUILDERS)


def _polyhedron(name: str, vertices: Tensor, normals: Tensor) -> Solid:
    offsets = (normals @ vertices.T).amax(1)
    on_face = (normals @ vertices.T - offsets[:, None]).abs() < 1e-6
    pairs = itertools.combinations(range(len(vertices)), 2)
    # Two vertices span an edge where they share two faces.
    edges = [torch.stack([vertices[i], vertices[j]]) for i, j in pairs if (on_face[:, i] & on_face[:, j]).sum() == 2]
    return Solid(
        name=name,
        planes=torch.cat([normals, offsets[:, None]], 1).float(),
        group=_rotations_of(vertices).float(),
        corners=torch.stack(edges).float(),
    )


def _rotations_of(vertices: Tensor) -> Tensor:
    """The rotation group of a vertex set: every proper rotation that maps two of its vertices onto two others."""
    first = vertices[0]
    second = next(v for v in vertices[1:] if v.cross(first, dim=0).norm() > 1e-6)
    frame = _frame(first, second)
    elements = []
    for a, b in itertools.permutations(range(len(vertices)), 2):
        if (vertices[a] @ vertices[b] - first @ second).abs() > 1e-6:
            continue
        rotation = _frame(vertices[a], vertices[b]) @ frame.T
        image = vertices @ rotation.T
        if torch.cdist(image, vertices).amin(1).amax() < 1e-6:
            elements.append(rotation)
    group = torch.stack(elements)
    return group[so3.angle(torch.eye(3, dtype=group.dtype), group).argsort()]


def _frame(first: Tensor, second: Tensor) -> Tensor:
    x = first / first.norm()
    z = torch.linalg.cross(first, second)
    z = z / z.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z], 1)


def _circle(radius: float, height: float, points: int = 36) -> Tensor:
    angles = torch.arange(points, dtype=torch.float64) * (2 * math.pi / points)
    return torch.stack([radius * angles.cos(), radius * angles.sin(), torch.full_like(angles, height)], 1)


def _loop(points: Tensor) -> Tensor:
    return torch.stack([points, points.roll(-1, 0)], 1)
