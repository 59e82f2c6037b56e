"""Random parts: one of many kinds, of random proportions, made whole: centred, of radius 1, painted, numbered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.data.random_parts import combined
from lie_picard.data.random_parts.bodies import Array, Built, Dice, PartsError, Solid, bounds, box, cut, rod
from lie_picard.data.random_parts.signature import harmonics, quadrature
from lie_picard.data.seeds import HALF, test_place, train_place
from lie_picard.geometry.enclosing import smallest_ball
from lie_picard.geometry.surface import Floats, Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.mesh_object import MeshObject

KINDS = {**combined.SIMPLE, **combined.KINDS}
MIN_TRIANGLES, MAX_TRIANGLES = 100, 4000
MIN_ASPECT = 0.08  # least to largest extent
MAX_EXCESS = 1e-3  # of the radius above the smallest ball's, where the centre is that of the symmetries
_BROKEN = 0.35  # share of symmetric parts that get a feature that breaks the symmetry
_PAINTED = 0.3
_TRIES = 100
_SAME_LOOK = 0.03  # of a colour's moments: tessellation, not paint


@dataclass(frozen=True, eq=False)
class RandomPart:
    """A part and how it was made.

    Attributes:
        kind: name of its maker. surface: about the centre of its smallest ball, of radius 1.
        group: of its shape by construction, as in `bodies.Built`. look: the same, or C1 where colours break it.
    """

    kind: str
    surface: Surface
    group: str
    look: str

    @property
    def symmetry(self) -> Symmetry:
        """Turns after which its shape is the same, by construction; chance may have added some."""
        return symmetry_of(self.group)

    @property
    def painted(self) -> bool:
        """Whether it has several colours."""
        return self.surface.colours is not None


def symmetry_of(group: str) -> Symmetry:
    """Of a group by name: C1, Cs, Cn, Dn, C∞, D∞ about z, with half turns about x.

    Raises:
        ValueError: there is no such name.
    """
    kind, order = group[:1], group[1:]
    if group in ("C1", "Cs"):
        return Symmetry.none()
    if kind not in ("C", "D") or not (order == "∞" or order.isdigit()):
        raise ValueError(f"there is no symmetry group '{group}': give C1, Cs, Cn, Dn, C∞ or D∞")
    over = [np.diag([1.0, -1.0, -1.0])] if kind == "D" else []
    if order == "∞":
        return Symmetry.generated(over, [(0.0, 0.0, 1.0)])
    cos, sin = math.cos(2 * math.pi / int(order)), math.sin(2 * math.pi / int(order))
    return Symmetry.generated([np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]]), *over])


def random_surface(generator: np.random.Generator) -> Surface:
    """The surface of a random part: closed, radius 1 about the centre of its smallest ball, 100 to 4,000 triangles.

    Raises:
        PartsError: manifold3d is not installed, or no part came out at all.
    """
    return drawn_part(generator).surface


def random_part(index: int, seed: int = 0, split: str = "train") -> MeshObject:
    """A part by its number: the same whenever it is asked for; none of a test split is one of training.

    Args:
        index: below 1,000,000 in training, below 1,000 in testing. split: train or test.

    Raises:
        PartsError: as `random_surface`. ValueError: there is no such part or split.
    """
    return as_object(described_part(index, seed, split), f"{split} part {index} of seed {seed}")


def described_part(index: int, seed: int = 0, split: str = "train") -> RandomPart:
    """`random_part` with how it was made."""
    most = {"train": 1_000_000, "test": 1_000}.get(split, 0)
    if not 0 <= index < most:
        raise ValueError(
            f"there is no part {index} of a split '{split}': give train and a number below 1,000,000, or test and one "
            "below 1,000"
        )
    place = train_place("parts", seed, index) if split == "train" else HALF + test_place("parts", seed, index)
    return drawn_part(np.random.default_rng(place))


def as_object(part: RandomPart, name: str) -> MeshObject:
    """An object that can be rendered, of diameter 2."""
    return MeshObject(name, part.surface, symmetry_of(part.look), part.symmetry, diameter=2.0)


def drawn_part(generator: np.random.Generator) -> RandomPart:
    """A random part. What comes out empty, torn, in crumbs, or too thin to see is drawn again."""
    dice = Dice(generator)
    for _ in range(_TRIES):
        make = dice.one(tuple(KINDS), tuple(KINDS.values()))
        try:
            built = _broken(make(dice), dice)
            found = _mesh(built)
        except PartsError:
            raise
        except (ValueError, RuntimeError, ArithmeticError, IndexError, np.linalg.LinAlgError):
            continue  # a construction that its random numbers made impossible
        if found is None:
            continue
        vertices, triangles, body = found
        colours = _painted(vertices, triangles, body, dice) if dice.happens(_PAINTED) else None
        surface = Surface(vertices, triangles, colours)
        look = built.group if colours is None or looks_alike(surface, built.group) else "C1"
        return RandomPart(make.__name__, surface, built.group, look)
    raise PartsError(f"no part came out in {_TRIES} tries: is manifold3d damaged?")


def _broken(built: Built, dice: Dice) -> Built:
    """With a hole, notch or boss off the axis, or as it is."""
    if built.group == "C1" or not dice.happens(_BROKEN):
        return built
    low, high = bounds(built.solid)
    size, volume = high - low, built.solid.volume()
    for _ in range(4):
        scale = float(np.sort(size)[1])
        at = low + size * dice.generator.uniform(0.1, 0.9, 3)
        axis = dice.count(0, 2)
        at[axis] = (low, high)[dice.count(0, 1)][axis]
        if dice.happens(0.5):
            lengths = dice.generator.uniform(0.15, 0.5, 3) * scale
            other = box(lengths, at)
        else:
            length = dice.between(0.2, 1.5) * scale
            other = rod(dice.between(0.06, 0.2) * scale, length, at, np.eye(3)[axis], around=20)
        solid = built.solid + other if dice.happens(0.35) else cut(built.solid, other)
        if 0.01 < abs(solid.volume() / volume - 1) < 0.5:
            return Built(solid)
    return built


def _mesh(built: Built) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]] | None:
    """Vertices about the smallest ball, of radius 1, triangles, and which body each was of; None: not a good part."""
    solid: Solid = built.solid
    if solid.is_empty() or solid.num_tri() > 5 * MAX_TRIANGLES:
        return None
    pieces = solid.decompose()
    if len(pieces) > 1:
        volumes = [abs(one.volume()) for one in pieces]
        solid = pieces[int(np.argmax(volumes))]
        if max(volumes) < 0.97 * sum(volumes):
            return None
    extent = np.sort(np.ptp(bounds(solid), axis=0))
    if not (np.isfinite(extent).all() and extent[0] > MIN_ASPECT * extent[2] > 0):
        return None
    # Slivers and steps of 0.1% are noise of the booleans.
    solid = solid.simplify(float(extent[2]) * (1e-3 if solid.num_tri() <= MAX_TRIANGLES else 4e-3))
    count = solid.num_tri()
    if not 4 <= count <= MAX_TRIANGLES:
        return None
    if count < MIN_TRIANGLES:
        solid = solid.refine(math.ceil(math.sqrt(MIN_TRIANGLES / count)))
    mesh = solid.to_mesh()
    vertices, triangles = np.asarray(mesh.vert_properties, float)[:, :3], np.asarray(mesh.tri_verts, np.int64)
    ends = np.asarray(mesh.run_index) // 3
    _, which = np.unique(np.asarray(mesh.run_original_id), return_inverse=True)
    body = np.repeat(which.reshape(-1), np.diff(ends))
    centre, least = smallest_ball(vertices)
    # Of a disc the ball's centre follows tessellation along the axis; symmetries hold about one point exactly.
    if built.group not in ("C1", "Cs"):
        centre[:2] = 0.0
    if built.group.startswith("D"):
        centre[2] = (vertices[:, 2].min() + vertices[:, 2].max()) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    if radius > least * (1 + MAX_EXCESS):
        return None
    vertices = (vertices - centre) / radius
    if solid.volume() < 0.004 * radius**3:
        return None
    return vertices, triangles, body


def _painted(vertices: Array, triangles: NDArray[np.int64], body: NDArray[np.int64], dice: Dice) -> Floats | None:
    """Colours of corners, (T, 3, 3): by the body that a triangle was of, or ends of another colour; None: all one."""
    tones = dice.generator.uniform(0.05, 1.0, (int(body.max()) + 2, 3))
    if dice.happens(0.5):  # paint is often grey or pale
        tones = 0.3 * tones + 0.7 * tones.mean(1, keepdims=True)
    which = body
    if body.max() == 0 or dice.happens(0.3):
        corners = vertices[triangles]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        along = np.abs(normal[:, 2]) > 0.995 * np.linalg.norm(normal, axis=1)
        which = np.where(along, len(tones) - 1, body)
    if which.min() == which.max():
        return None
    return np.repeat(tones[which][:, None], 3, 1).astype(np.float32)


def looks_alike(surface: Surface, group: str) -> bool:
    """Whether the turns of a group about z leave each colour in its place: its harmonic moments tell."""
    symmetry = symmetry_of(group)
    if surface.colours is None or symmetry.is_trivial:
        return True
    # The turn by the least angle, and the half turn across, make all others; about an axis, a turn of no fraction.
    turns = list(symmetry.rotations[1:2]) + [r for r in symmetry.rotations[1:] if r[2, 2] < 0][:1]
    if symmetry.axes:
        turns.append(so3.about_axis(torch.tensor([0.0, 0.0, 1.0]).double(), torch.tensor(1.0).double()).numpy())
    for colour in np.unique(surface.colours[:, 0], axis=0):
        chosen = (surface.colours[:, 0] == colour).all(1)
        points, areas = quadrature(surface.corners[chosen])
        moments = areas @ harmonics(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))
        for turn in turns:
            moved = points @ turn.T
            other = areas @ harmonics(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12))
            if np.linalg.norm(other - moments) > _SAME_LOOK * np.linalg.norm(moments):
                return False
    return True
