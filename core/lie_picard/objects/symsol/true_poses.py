"""Which poses look like the true one: decided by the markers that an image shows and those that it hides.

A pose R is true where its image would be that of the true pose R_0: a marker that is seen must stay where it is, one
that is hidden must stay hidden, and the bare solid must look the same. So R = R_0 S with S a symmetry of the bare
solid that maps every seen marker onto itself, as long as R hides all the hidden ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.symsol.markers import Marker
from lie_picard.objects.symsol.solids import Solid

SEEN_SHARE = 0.001  # of the image's area from which a marker counts as seen: four pixels of 64 x 64
_GRID_DEG = 1.0


@dataclass(frozen=True)
class Sight:
    """How B images were taken.

    Attributes:
        translations: (B, 3) of the object's centre, in radii. half_tangent: (B, 2) of half the field of view.
        cover: (B, S, S) share of each pixel that something in front hides; None: nothing in front.
    """

    translations: Tensor
    half_tangent: Tensor
    cover: Tensor | None = None

    def share(self, marker: Marker, rotations: Tensor, image: int) -> Tensor:
        """Share of an image's area that a marker covers at poses (N, 3, 3). -> (N,)."""
        cosine, points = marker.facing(rotations, self.translations[image].to(rotations))
        half = self.half_tangent[image].to(rotations)
        places = points[..., :2] / points[..., 2:] / half
        visible = (places.abs() <= 1).all(-1).to(cosine)
        if self.cover is not None:
            cover = self.cover[image][None, None].to(rotations)
            visible = visible * (1 - F.grid_sample(cover, places[None], align_corners=False)[0, 0])
        solid_angle = marker.area.to(rotations) * cosine / points.square().sum(-1)
        return (solid_angle * visible).sum(-1) / (4 * half.prod())


@dataclass(frozen=True)
class TruePoses:
    """The true poses of B images of one solid.

    Attributes:
        solid: what they show. truth: (B, 3, 3) of the rendering. sight: None where the solid has no markers.
    """

    solid: Solid
    truth: Tensor
    sight: Sight | None = None

    def seen(self, image: int) -> tuple[bool, ...]:
        """Which markers an image shows."""
        return tuple(float(self._share(m, self.truth[image : image + 1], image)) >= SEEN_SHARE
                     for m in self.solid.markers)  # fmt: skip

    def axis(self, image: int) -> Tensor | None:
        """(3,) axis in the object's frame along whose turns the true poses of an image form curves, if any."""
        return symmetries(self.solid, self.seen(image))[1]

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """Angle in radians from samples (N, 3, 3) of an image to its nearest true pose. -> (N,).

        Exact for the solids of SYMSOL I. Where a hidden marker cuts a circle of poses into arcs, a grid of 1 degree
        stands for their ends; where a sphere shows nothing, a search for the nearest such pose gives an upper bound.
        """
        truth = self.truth[image]
        if not self.solid.markers:
            return self.solid.distance(rotations, truth)
        seen = self.seen(image)
        group, axis, free = symmetries(self.solid, seen)
        if free:
            return self._until_hidden(rotations, seen, image)
        poses = self._allowed(truth @ _grid(group, axis, _GRID_DEG).to(truth), seen, image)
        nearest = so3.pairwise_angle(rotations, poses).amin(1)
        if axis is None:
            return nearest
        turned = truth @ group.to(truth)  # the nearest point of each whole circle, where it is a true pose
        relative = turned.mT @ rotations[:, None]
        angle = _twist(relative, axis.to(truth))
        closest = turned @ so3.about_axis(axis.to(truth), angle)
        valid = self._hides(closest.flatten(0, 1), seen, image).unflatten(0, closest.shape[:2])
        exact = torch.where(valid, so3.angle(closest, rotations[:, None]), math.inf).amin(1)
        return torch.minimum(nearest, exact)

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor | None:
        """True poses of an image, continuous ones on a grid. -> (n, 3, 3); None where they fill all of SO(3)."""
        seen = self.seen(image)
        group, axis, free = symmetries(self.solid, seen)
        if free:
            return None
        truth = self.truth[image]
        return self._allowed(truth @ _grid(group, axis, step_deg).to(truth), seen, image)

    def _share(self, marker: Marker, rotations: Tensor, image: int) -> Tensor:
        if self.sight is None:
            raise ValueError(f"'{self.solid.name}' has markers: say how its images were taken")
        return self.sight.share(marker, rotations, image)

    def _hides(self, rotations: Tensor, seen: tuple[bool, ...], image: int) -> Tensor:
        """Whether poses (N, 3, 3) hide what is hidden. -> (N,) bool."""
        hidden = [m for m, shown in zip(self.solid.markers, seen, strict=True) if not shown]
        result = torch.ones(len(rotations), dtype=torch.bool, device=rotations.device)
        for marker in hidden:
            result &= self._share(marker, rotations, image) < SEEN_SHARE
        return result

    def _allowed(self, rotations: Tensor, seen: tuple[bool, ...], image: int) -> Tensor:
        """Of poses (N, 3, 3), the first of them true, those that hide what is hidden."""
        keep = self._hides(rotations, seen, image)
        keep[0] = True
        return rotations[keep]

    def _until_hidden(self, rotations: Tensor, seen: tuple[bool, ...], image: int) -> Tensor:
        """Least turn, about axes across the line of sight, that hides every marker. -> (N,) rad."""
        result = torch.zeros(len(rotations), dtype=rotations.dtype, device=rotations.device)
        angles = torch.deg2rad(torch.arange(1.0, 181.0)).to(rotations)
        around = torch.arange(36).to(rotations) * (math.pi / 18)
        axes = torch.stack([around.cos(), around.sin(), torch.zeros_like(around)], 1)
        turns = so3.exp(angles[:, None, None] * axes)  # (180, 36, 3, 3), camera frame
        for k in torch.nonzero(~self._hides(rotations, seen, image))[:, 0].tolist():
            hides = self._hides((turns @ rotations[k]).flatten(0, 1), seen, image).unflatten(0, turns.shape[:2])
            some = hides.any(1)
            result[k] = angles[int(some.int().argmax())] if bool(some.any()) else math.pi
        return result


def symmetries(solid: Solid, seen: tuple[bool, ...]) -> tuple[Tensor, Tensor | None, bool]:
    """Symmetries of the bare solid that keep the seen markers in place.

    Returns:
        (G, 3, 3) discrete ones, identity first; (3,) unit axis about which every turn is one too, or None; and whether
        every rotation is one.
    """
    markers = [m for m, shown in zip(solid.markers, seen, strict=True) if shown]
    along = torch.tensor([0.0, 0.0, 1.0])
    if not markers:
        return solid.group, along if solid.axial else None, solid.ball
    if solid.ball:
        if len(markers) > 1:  # one leaves turns about its own normal, which the other forbids
            return solid.group, None, False
        normal = markers[0].frame[:, 2]
        if not markers[0].turns:
            return solid.group, normal, False
        angles = torch.arange(markers[0].turns) * (2 * math.pi / markers[0].turns)
        return so3.about_axis(normal, angles), None, False
    kept = torch.ones(len(solid.group), dtype=torch.bool)
    for marker in markers:
        kept &= (solid.group @ marker.centre - marker.centre).norm(dim=1) < 1e-3
    return solid.group[kept], None, False


def _grid(group: Tensor, axis: Tensor | None, step_deg: float) -> Tensor:
    """Discrete symmetries and turns about an axis as one list. -> (n, 3, 3)."""
    if axis is None:
        return group
    angles = torch.arange(round(360 / step_deg)) * math.radians(step_deg)
    return (group[:, None] @ so3.about_axis(axis, angles)[None]).flatten(0, 1)


def _twist(rotations: Tensor, axis: Tensor) -> Tensor:
    """Angle about a unit axis (3,) of the turn nearest to each rotation (..., 3, 3). -> (...) rad."""
    # trace(Rot(axis, a)^T R) = cos a (tr R - axis^T R axis) + sin a (axis . vee(R - R^T)) + const
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1)
    along = ((rotations @ axis) * axis).sum(-1)
    skew = rotations - rotations.mT
    vee = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    return torch.atan2((vee * axis).sum(-1), trace - along)
