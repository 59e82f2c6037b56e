"""The solids of SYMSOL I and II: geometry inside the unit sphere, markers, and rotational symmetry groups.

Every solid is convex: the part of space inside all its planes and, for cone, cylinder and sphere, inside one
quadric about the z axis. The circumscribed sphere has radius 1 and is centred at the origin.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.geometry.mesh import Mesh, ring
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.alike import Family, Shares
from lie_picard.objects.catalogue import Object
from lie_picard.objects.symsol import caster, marked, true_poses
from lie_picard.objects.symsol.markers import Marker, cross, dot, painted_face
from lie_picard.rendering.buffers import Buffers, ViewGeometry

_Z = np.array([0.0, 0.0, 1.0])
_RED, _BLACK = (0.85, 0.08, 0.08), (0.05, 0.05, 0.05)


@dataclass(frozen=True, eq=False)
class Solid(Object):
    """A convex solid and the rotations that leave it unchanged.

    Attributes:
        name: SYMSOL's file name of the shape.
        planes: (F, 4) rows (n, h): inside means ``n . x <= h``, n of unit length; (B, F, 4) where each pose has a
            solid of its own.
        bare: symmetry of the solid without its markers.
        slope, radius: round wall about z: inside means ``hypot(x, y) <= radius - slope * z`` (None: no wall).
        corners: (E, 2, 3) line segments that draw the solid's outline.
        ball: whether it is the unit sphere.
        markers: paint that takes symmetry away; `true_poses` says which poses then look the same.
    """

    name: str
    planes: Tensor
    corners: Tensor
    bare: Symmetry = field(default_factory=Symmetry.none)
    radius: float | None = None
    slope: float = 0.0
    ball: bool = False
    markers: tuple[Marker, ...] = ()
    symmetry: Symmetry = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symmetry", true_poses.symmetry_seen(self, (True,) * len(self.markers)))

    @property
    def shape_symmetry(self) -> Symmetry:
        """Of the bare solid."""
        return self.bare

    @property
    def landmarks(self) -> Tensor:
        """(K, 3) directions of the markers, and across two of them, unit length."""
        normals = [F.normalize(marker.centre, dim=0) for marker in self.markers]
        if len(normals) > 1:
            normals.append(F.normalize(torch.linalg.cross(normals[0], normals[1]), dim=0))
        return torch.stack(normals) if normals else torch.zeros(0, 3)

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor | None = None) -> Buffers:
        """`rendering.buffers.Castable.cast`."""
        return caster.cast(self, rotations, translations, rays, zoom)

    def mesh(self, diameter: float) -> Mesh:
        """Its surface, the circumscribed sphere of a diameter in metres around the origin."""
        if self.ball:
            return Mesh.ball(diameter)
        if self.radius is not None:
            ends = np.unique(self.corners[..., 2].numpy().round(9))
            points = np.concatenate([ring(max(0.0, self.radius - self.slope * z), z) for z in ends])
        else:
            points = self.corners.reshape(-1, 3).double().numpy()
        return Mesh.hull(points.round(9) * (diameter / 2))

    def true_poses(self, truth: Tensor, view: ViewGeometry) -> true_poses.SolidPoses:
        """The true poses of images (B, 3, 3) that were taken so."""
        return true_poses.SolidPoses(self, truth, view)

    @property
    def depends_on_view(self) -> bool:
        """Whether it has markers."""
        return bool(self.markers)

    @functools.cached_property
    def family(self) -> Family:
        """The motions that may leave an image of it as it is."""
        return marked.family(self) if self.markers else Family.of(self.symmetry)

    def alike(self, truth: Tensor, view: ViewGeometry | None) -> Shares | None:
        """`Object.alike`: those that keep the markers seen in place and the others hidden."""
        return marked.shares(self, truth, view) if self.markers else None


def solid(name: str) -> Solid:
    """The solid of that SYMSOL name (see `SOLIDS`).

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SOLIDS:
        raise ValueError(f"unknown solid '{name}': choose from {', '.join(SOLIDS)}")
    return BUILDERS[name]()


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
        bare=Symmetry(axes=(_Z,)),
        corners=torch.cat([_loop(circle), ribs]).float(),
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
        bare=Symmetry(np.stack([np.eye(3), np.diag([1.0, -1.0, -1.0])]), (_Z,)),
        corners=torch.cat([_loop(top), _loop(bottom), ribs]).float(),
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
        bare=Symmetry(axes=tuple(np.eye(3))),
        corners=torch.cat(circles).float(),
        ball=True,
        markers=(
            cross(_BLACK, torch.tensor([0.0, 0.0, 1.0]), 0.45, 0.10),
            dot(_RED, torch.tensor([math.sin(away), 0.0, math.cos(away)]), 0.22, (1.0, 1.0)),
        ),
    )


BUILDERS = {
    "tet": _tetrahedron,
    "cube": _cube,
    "icosa": _icosahedron,
    "cone": _cone,
    "cyl": _cylinder,
    "tetX": _tetrahedron_with_red_face,
    "cylO": _cylinder_with_dot,
    "sphereX": _sphere_with_cross_and_dot,
}
SOLIDS = tuple(BUILDERS)


def _polyhedron(name: str, vertices: Tensor, normals: Tensor) -> Solid:
    offsets = (normals @ vertices.T).amax(1)
    on_face = (normals @ vertices.T - offsets[:, None]).abs() < 1e-6
    pairs = itertools.combinations(range(len(vertices)), 2)
    # Two vertices span an edge where they share two faces.
    edges = [torch.stack([vertices[i], vertices[j]]) for i, j in pairs if (on_face[:, i] & on_face[:, j]).sum() == 2]
    return Solid(
        name=name,
        planes=torch.cat([normals, offsets[:, None]], 1).float(),
        bare=Symmetry(_rotations_of(vertices).numpy()),
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
