"""Groups of motions of an object, and which images of an orbit look alike: every image is compared with every other.

The poses R g of a closed group of motions g are one another's candidates. So an orbit is rendered once, and its images
are compared in pairs: n images tell what n views leave open, n^2 answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.alike import GRID
from lie_picard.objects.catalogue import Object
from lie_picard.objects.view_candidates import Motions, distinct
from lie_picard.objects.view_looks import LookOptions
from lie_picard.rendering.clean import Crop

_SAME = math.cos(math.radians(1.0))
_PLACE = 0.01  # of the radius, between motions that count as one
_IMAGES = 96  # rendered at a time
_PAIRS = 1024  # compared at a time in all pixels
_SAMPLES = 2000  # directions by which orbits are spread


@dataclass(frozen=True, eq=False)
class Group:
    """Motions x -> turn x + shift that form a group, up to the tolerance of symmetries; lengths in radii.

    Attributes:
        turns: (n, 3, 3) and shifts: (n, 3) float64, the identity first. products: (n, n) of i after j, as an index.
        lines: whether turns by any angle are among them, on a grid.
    """

    turns: Tensor
    shifts: Tensor
    products: Tensor
    lines: bool

    @property
    def centre(self) -> Tensor:
        """The point that all of them leave in place; of turns about an axis the one nearest to the origin. -> (3,)."""
        return self.shifts.mean(0)

    def indices(self, turns: Tensor, shifts: Tensor) -> Tensor:
        """Which of them motions (N, 3, 3), (N, 3) are, -1 where none. -> (N,)."""
        return _found(turns, shifts, self.turns, self.shifts)


@dataclass(frozen=True, eq=False)
class Circle:
    """Motions base Exp(a axis), the turn about a line. base: (3, 3), shift: (3,); axis, point: (3,) of the line."""

    base: Tensor
    shift: Tensor
    axis: Tensor
    point: Tensor

    def motions(self) -> tuple[Tensor, Tensor]:
        """Those on the grid. -> (GRID, 3, 3), (GRID, 3)."""
        angles = torch.arange(GRID, dtype=torch.float64) * (2 * math.pi / GRID)
        about = so3.about_axis(self.axis, angles)
        return self.base @ about, (self.point - about @ self.point) @ self.base.mT + self.shift


def circles_of(motions: Motions) -> list[list[Circle]]:
    """For each line its circles: those motions before a turn about it that carry the line onto itself."""
    result = []
    for axis, point in motions.lines:
        onto = []
        for turn, shift in zip(motions.turns, motions.shifts, strict=True):
            aside = turn @ point + shift - point
            level = float((axis @ turn @ axis).abs()) >= _SAME
            if level and float((aside - axis * (axis @ aside)).norm()) <= _PLACE:
                onto.append((turn, shift))
        result.append([Circle(turn, shift, axis, point) for turn, shift in distinct(onto, [(axis, point)])])
    return result


def groups_of(motions: Motions) -> list[Group]:
    """Groups that hold the motions: one for each line, and those of single motions that no other group holds.

    A group is as large as it can be; where all motions form one, it is that. A motion between two groups' members that
    is in neither is left out: a finer relation is right as well.
    """
    groups: list[Group] = []
    for circles in circles_of(motions):
        parts = [circle.motions() for circle in circles]
        group = _closed(torch.cat([turns for turns, _ in parts]), torch.cat([shifts for _, shifts in parts]), True)
        group = group or _closed(*parts[0], True)
        groups += [] if group is None else [group]
    held = torch.zeros(len(motions.turns), dtype=torch.bool)
    for group in groups:
        held |= group.indices(motions.turns, motions.shifts) >= 0
    held[0] = bool(groups)
    for members in _subgroups(_products(motions.turns, motions.shifts), held):
        found = _closed(motions.turns[members], motions.shifts[members], False)
        if found is not None:
            groups.append(found)
    return groups or [_alone()]


def _alone() -> Group:
    return Group(torch.eye(3).double()[None], torch.zeros(1, 3).double(), torch.zeros(1, 1).long(), False)


def _subgroups(products: Tensor, held: Tensor) -> list[list[int]]:
    """Sets of indices that are closed, as large as they get one by one, until all are held."""
    held, result = held.clone(), []
    while not bool(held.all()):
        first = int(held.logical_not().nonzero()[0])
        members = _generated(products, {0, first})
        if members is None:  # its powers are no motions of the object's
            held[first] = True
            continue
        for one in range(len(held)):
            if one not in members:
                members = _generated(products, members | {one}) or members
        result.append(sorted(members))
        held[result[-1]] = True
    return result


def _generated(products: Tensor, members: set[int]) -> set[int] | None:
    """The least closed set that holds some; None: there is none."""
    while True:
        listed = torch.tensor(sorted(members))
        more = set(products[listed][:, listed].flatten().tolist())
        if -1 in more:
            return None
        if more <= members:
            return members
        members = members | more


def _closed(turns: Tensor, shifts: Tensor, lines: bool) -> Group | None:
    """The group of motions; None: they are none."""
    products = _products(turns, shifts)
    return None if bool((products < 0).any()) else Group(turns, shifts, products, lines)


def _products(turns: Tensor, shifts: Tensor) -> Tensor:
    """Of each after each, as an index, -1 where it is none of them. -> (n, n)."""
    rows = [_found(turn @ turns, shifts @ turn.mT + shift, turns, shifts)
            for turn, shift in zip(turns, shifts, strict=True)]  # fmt: skip
    return torch.stack(rows)


def _found(turns: Tensor, shifts: Tensor, among: Tensor, places: Tensor) -> Tensor:
    cosines = (turns.flatten(1) @ among.flatten(1).mT - 1) / 2
    away = torch.cdist(shifts, places)
    cosines = torch.where(away <= _PLACE, cosines, -2.0)
    best = cosines.max(1)
    return torch.where(best.values >= _SAME, best.indices, -1)


def spread(group: Group, directions: int) -> Tensor:
    """Directions whose orbits cover the sphere as evenly as so many directions would. -> (m, 3), float64."""
    count = len(group.turns)
    if group.lines:  # rings, as far apart as the directions would be
        many = math.ceil(math.sqrt(math.pi * directions) / 2 * GRID / count)
    else:
        many = math.ceil(directions / count)
    samples = lattice(max(_SAMPLES, 4 * many))
    # The farthest first, then the middles of the parts that are nearest to each (Lloyd).
    chosen = [samples[len(samples) // 3]]
    near = _near(samples, chosen[0][None], group).amax((1, 2))
    while len(chosen) < many:
        chosen.append(samples[int(near.argmin())])
        near = torch.maximum(near, _near(samples, chosen[-1][None], group).amax((1, 2)))
    result = torch.stack(chosen)
    for _ in range(10 if many > 1 else 0):
        best = _near(samples, result, group).flatten(1).argmax(1)
        owner, turn = best // count, group.turns[best % count]
        folded = (turn.mT @ samples[..., None])[..., 0]
        total = torch.zeros_like(result).index_add_(0, owner, folded)
        result = torch.where(total.norm(dim=1, keepdim=True) > 0, total, result)
        result = result / result.norm(dim=1, keepdim=True)
    return result


def _near(samples: Tensor, chosen: Tensor, group: Group) -> Tensor:
    """Cosines between samples and the orbits of directions. -> (S, m, n)."""
    orbits = torch.einsum("nij,mj->mni", group.turns, chosen)
    return (samples @ orbits.flatten(0, 1).mT).unflatten(1, orbits.shape[:2])


def lattice(count: int) -> Tensor:
    """Directions that are spread evenly (a Fibonacci lattice). -> (count, 3), float64."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    height, angle = 1 - 2 * k / count, math.pi * (1 + 5**0.5) * k
    around = (1 - height**2).sqrt()
    return torch.stack([around * angle.cos(), around * angle.sin(), height], 1)


def compared(
    body: Object, group: Group, places: Tensor, distance: float, options: LookOptions
) -> tuple[Tensor, Tensor]:
    """Which motions of a group leave views as they are.

    Args:
        places: (m, 3) unit, from the group's centre to the camera; their orbits are the views.
        distance: from there, radii.

    Returns:
        (m, n, 3) unit directions from the object's centre to the camera, and (m, n, n) bool: motion after view.
    """
    count = len(group.turns)
    facing = torch.stack([so3.frame_of(-place.float()).mT for place in places]).double()  # camera_from_object
    turns = facing[:, None] @ group.turns
    at = places.new_tensor([0.0, 0.0, distance]) - (turns @ group.centre)
    directions = -(turns.mT @ at[..., None])[..., 0]
    directions = directions / directions.norm(dim=-1, keepdim=True)
    camera = _Camera.around(body, group.centre, distance, options)
    step = max(1, _IMAGES // count)
    found = [camera.pairs(body, a.float(), b.float()) for a, b in zip(turns.split(step), at.split(step), strict=True)]
    same = torch.cat(found)
    same |= torch.eye(count, dtype=torch.bool)
    return directions.float(), same.gather(2, group.products.expand(len(same), count, count))


@dataclass(frozen=True, eq=False)
class _Camera:
    """The rays of images that are compared, as `Look` compares them.

    Attributes:
        size: pixels along each side. rays: ((2 size + 1)^2, 3), every second one through a pixel's centre.
        pixels: (P,) indices of those that may see something. coarse: (P,) bool, a quarter of them.
    """

    size: int
    rays: Tensor
    pixels: Tensor
    coarse: Tensor
    options: LookOptions

    @classmethod
    def around(cls, body: Object, centre: Tensor, distance: float, options: LookOptions) -> _Camera:
        """That sees the object however it is turned about a point; its pixels are as large as those about its own."""
        vertices = torch.from_numpy(body.mesh(2.0).vertices)
        reach = float((vertices - centre).norm(dim=1).max()) if len(vertices) else 1.0
        half = math.tan(math.asin(min(0.95, reach / distance))) / Crop.fill
        size = 2 * math.ceil(options.size / 2 * half / Crop(distance).half_angle_tangent)
        fine = (torch.arange(2 * size + 1) / size - 1) * half
        y, x = torch.meshgrid(fine, fine, indexing="ij")
        rays = torch.stack([x, y, torch.ones_like(x)], -1)
        middle = rays[1::2, 1::2].flatten(0, 1)
        away = (middle[:, :2].norm(dim=1) / middle.norm(dim=1)) * distance  # of a ray from the centre
        grid = torch.arange(size * size)[away < 1.1 * reach]
        return cls(size, rays.flatten(0, 1), grid, ((grid // size) % 2 == 0) & ((grid % size) % 2 == 0), options)

    def pairs(self, body: Object, turns: Tensor, at: Tensor) -> Tensor:
        """Which of the images of poses (b, n, 3, 3), (b, n, 3) look alike. -> (b, n, n) bool, symmetric."""
        shape, fine = turns.shape[:2], 2 * self.size + 1
        seen = body.cast(turns.flatten(0, 1), at.flatten(0, 1), self.rays)
        hit = seen.hit[:, None].float()
        # The product of two such vectors is the cosine between normals, 1 where both see nothing, 0 where one does.
        form = torch.cat([seen.normal * hit, 1 - hit], 1).unflatten(2, (fine, fine))
        ends = [(i, i + 2 * self.size - 1) for i in range(3)]
        around = torch.stack([form[:, :, a:b:2, c:d:2].flatten(2)[..., self.pixels] for a, b in ends for c, d in ends])
        around = around.unflatten(1, shape)  # (9, b, n, 4, P)
        paint = None
        if body.is_coloured:
            paint = (seen.albedo * hit).unflatten(2, (fine, fine))[:, :, 1::2, 1::2].flatten(2)[..., self.pixels]
            paint = paint.unflatten(0, shape)
        total, share = self.size**2, self.options.share * (self.options.size / self.size) ** 2
        clear = self._clear(around[..., self.coarse], None if paint is None else paint[..., self.coarse])
        maybe = clear < 4 * share * (total // 4)
        result = maybe & maybe.mT
        result &= torch.ones(shape[1], shape[1], dtype=torch.bool).triu(1)
        for some in result.nonzero().split(_PAIRS):
            image, one, other = some.unbind(1)
            differs = self._differing(around, paint, image, one, other)
            result[image, one, other] = differs < share * total
        return result | result.mT

    def _clear(self, around: Tensor, paint: Tensor | None) -> Tensor:
        """Number of pixels that differ between all pairs of images: (9, b, n, 4, P) -> (b, n, n)."""
        around = around.permute(0, 1, 4, 2, 3)  # (9, b, P, n, 4)
        middle = around[4].mT.contiguous()
        best = around[4] @ middle
        for k in (0, 1, 2, 3, 5, 6, 7, 8):
            best = torch.maximum(best, around[k] @ middle)
        differs = best <= math.cos(math.radians(self.options.normal_deg))
        if paint is not None:
            colours = paint.permute(0, 2, 3, 1)  # (b, 3, P, n)
            there = around[4][..., 3] == 0
            apart = torch.zeros_like(differs)
            for channel in colours.unbind(1):
                apart |= (channel[..., None] - channel[..., None, :]).abs() >= self.options.colour
            differs |= apart & there[..., None] & there[..., None, :]
        return differs.sum(1)

    def _differing(self, around: Tensor, paint: Tensor | None, image: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """The same of some pairs in all pixels, by the way that differs more. -> (N,)."""
        cosine = math.cos(math.radians(self.options.normal_deg))
        painted = torch.zeros(len(image), around.shape[-1], dtype=torch.bool)
        first, second = around[4, image, one], around[4, image, other]  # (N, 4, P)
        if paint is not None:
            apart = (paint[image, one] - paint[image, other]).abs().amax(1) >= self.options.colour
            painted = apart & (first[:, 3] == 0) & (second[:, 3] == 0)
        formed = (first * second).sum(1) <= cosine
        pair, pixel = formed.nonzero(as_tuple=True)
        worst = torch.zeros(len(image), dtype=torch.long)
        for near, far in ((one, second), (other, first)):
            beside = around[:, image[pair], near[pair], :, pixel]  # (N, 9, 4)
            left = formed.clone()
            left[pair, pixel] = (beside * far[pair, :, pixel][:, None]).sum(-1).amax(1) <= cosine
            worst = torch.maximum(worst, (left | painted).sum(1))
        return worst
