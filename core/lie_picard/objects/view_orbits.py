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
    """The rays of images that are compared, as `Look` compares them, but for colours: at every ray, not each second.

    Attributes:
        size: pixels along each side. rays: (F^2, 3), F = 2 size + 1, row by row; pixels' centres in odd rows, columns.
        pixels: (P,) indices of the rays through those that may see something. coarse: (Q,) a quarter of them.
        painted: (R,) indices of all rays that may.
    """

    size: int
    rays: Tensor
    pixels: Tensor
    coarse: Tensor
    painted: Tensor
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
        near = rays[..., :2].norm(dim=-1) / rays.norm(dim=-1) * distance < 1.1 * reach
        row, column = torch.meshgrid(*[torch.arange(2 * size + 1)] * 2, indexing="ij")
        middle = near & (row % 2 == 1) & (column % 2 == 1)
        coarse = near & (row % 4 == 1) & (column % 4 == 1)
        pixels, quarter, painted = (one.flatten().nonzero()[:, 0] for one in (middle, coarse, near))
        return cls(size, rays.flatten(0, 1), pixels, quarter, painted, options)

    @property
    def _cosine(self) -> float:
        return math.cos(math.radians(self.options.normal_deg))

    @property
    def _beside(self) -> list[int]:
        """From the ray through a pixel's centre to the 3 x 3 rays half a pixel around, as indices; itself first."""
        row = 2 * self.size + 1
        return sorted((row * i + j for i in (-1, 0, 1) for j in (-1, 0, 1)), key=abs)

    def pairs(self, body: Object, turns: Tensor, at: Tensor) -> Tensor:
        """Which of the images of poses (b, n, 3, 3), (b, n, 3) look alike. -> (b, n, n) bool, symmetric."""
        shape = turns.shape[:2]
        seen = body.cast(turns.flatten(0, 1), at.flatten(0, 1), self.rays)
        hit = seen.hit[:, None].float()
        # The product of two such vectors is the cosine between normals, 1 where both see nothing, 0 where one does.
        form = torch.cat([seen.normal * hit, 1 - hit], 1).unflatten(0, shape)
        paint = (seen.albedo * hit).unflatten(0, shape) if body.is_coloured else None
        share = self.options.share * self.options.size**2  # in pixels
        maybe = self._clear(form, paint) < share  # four times the share, of a quarter of the pixels
        maybe = (maybe & maybe.mT).triu(1)
        result = torch.zeros_like(maybe)
        for some in maybe.nonzero().split(_PAIRS):
            image, one, other = some.unbind(1)
            differs = self._formed(form, image, one, other)
            if paint is not None:
                left = (differs < share).nonzero()[:, 0]
                differs = differs.float()
                differs[left] += self._painted(form, paint, image[left], one[left], other[left]) / 4
            result[image, one, other] = differs < share
        return result | result.mT

    def _clear(self, form: Tensor, paint: Tensor | None) -> Tensor:
        """Number of coarse pixels that differ between all pairs of images: (b, n, 4, F^2) -> (b, n, n)."""
        middle = form[..., self.coarse].permute(0, 3, 2, 1).contiguous()  # (b, Q, 4, n)
        best = None
        for away in self._beside:
            cosines = form[..., self.coarse + away].permute(0, 3, 1, 2) @ middle
            best = cosines if best is None else torch.maximum(best, cosines, out=best)
        assert best is not None
        differs = best <= self._cosine
        if paint is not None:
            there = middle[:, :, 3] == 0  # (b, Q, n)
            apart = torch.zeros_like(differs)
            for channel in paint[..., self.coarse].permute(2, 0, 3, 1):
                apart |= (channel[..., None] - channel[..., None, :]).abs_() >= self.options.colour
            differs |= apart & there[..., None] & there[..., None, :]
        return differs.sum(1)

    def _formed(self, form: Tensor, image: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """Number of pixels whose surfaces differ between N pairs, by the way that differs more. -> (N,)."""
        whole = form[..., self.pixels]  # (b, n, 4, P)
        differs = (whole[image, one] * whole[image, other]).sum(1) <= self._cosine
        pair, pixel = differs.nonzero(as_tuple=True)
        places = self.pixels[pixel]
        around = places[:, None] + torch.tensor(self._beside)
        worst = torch.zeros(len(image), dtype=torch.long)
        for near, far in ((one, other), (other, one)):
            beside = form[image[pair, None], near[pair, None], :, around]  # (M, 9, 4)
            found = form[image[pair], far[pair], :, places]
            left = (beside @ found[..., None])[..., 0].amax(1) <= self._cosine
            worst = torch.maximum(worst, torch.zeros_like(worst).index_add_(0, pair, left.long()))
        return worst

    def _painted(self, form: Tensor, paint: Tensor, image: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """Number of rays at which the surfaces of N pairs have colours that differ. -> (N,)."""
        there = form[:, :, 3, self.painted] == 0
        colours = paint[..., self.painted]
        apart = torch.zeros(len(image), len(self.painted), dtype=torch.bool)
        for channel in colours.unbind(2):
            apart |= (channel[image, one] - channel[image, other]).abs_() >= self.options.colour
        return (apart & there[image, one] & there[image, other]).sum(1)
