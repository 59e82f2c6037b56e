"""Which poses look like the true one: decided by the markers that an image shows and those that it hides.

A pose R is true where its image would be that of the true pose R_0: a marker that is seen must stay where it is, one
that is hidden must stay hidden, and the bare solid must look the same. So R = R_0 S with S a symmetry of the bare
solid that maps every seen marker onto itself, as long as R hides all the hidden ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.symsol.markers import Marker
from lie_picard.rendering.buffers import ViewGeometry

if TYPE_CHECKING:
    from lie_picard.objects.symsol.solids import Solid

SEEN_SHARE = 0.001  # of the image's area from which a marker counts as seen: four pixels of 64 x 64
_GRID_DEG = 1.0


def seen_share(view: ViewGeometry, marker: Marker, rotations: Tensor, image: int) -> Tensor:
    """Share of an image's area that a marker covers at poses (N, 3, 3). -> (N,)."""
    return seen_shares(view[image : image + 1], marker, rotations[None])[0]


def seen_shares(view: ViewGeometry, marker: Marker, rotations: Tensor) -> Tensor:
    """Share of each image's area that a marker covers at M poses an image. (B, M, 3, 3) -> (B, M)."""
    cosine, points = marker.facing(rotations, view.translations[:, None].to(rotations))
    half = view.half_tangent.to(rotations)
    places = points[..., :2] / points[..., 2:] / half[:, None, None]
    visible = (places.abs() <= 1).all(-1).to(cosine)
    if view.cover is not None:
        cover = view.cover[:, None].to(rotations)
        visible = visible * (1 - F.grid_sample(cover, places, align_corners=False)[:, 0])
    solid_angle = marker.area.to(rotations) * cosine / points.square().sum(-1)
    return (solid_angle * visible).sum(-1) / (4 * half.prod(1, keepdim=True))


@dataclass(frozen=True)
class SolidPoses:
    """The true poses of B images of one solid (`catalogue.TruePoses`).

    Attributes:
        solid: what they show. truth: (B, 3, 3) of the rendering. view: how the images were taken.
    """

    solid: Solid
    truth: Tensor
    view: ViewGeometry

    def seen(self, image: int) -> tuple[bool, ...]:
        """Which markers an image shows."""
        truth = self.truth[image : image + 1]
        return tuple(float(seen_share(self.view, marker, truth, image)) >= SEEN_SHARE for marker in self.solid.markers)

    def axis(self, image: int) -> Tensor | None:
        """(3,) axis in the object's frame along whose turns the true poses of an image form curves, if any."""
        symmetry = symmetry_seen(self.solid, self.seen(image))
        return torch.from_numpy(symmetry.axes[0]).to(self.truth) if len(symmetry.axes) == 1 else None

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """Angle in radians from samples (N, 3, 3) of an image to its nearest true pose. -> (N,).

        Exact for the solids of SYMSOL I. Where a hidden marker cuts a circle of poses into arcs, a grid of 1 degree
        stands for their ends; where a sphere shows nothing, a search for the nearest such pose gives an upper bound.
        """
        truth = self.truth[image]
        if not self.solid.markers:
            return self.solid.symmetry.distance(truth, rotations)
        seen = self.seen(image)
        symmetry = symmetry_seen(self.solid, seen)
        if symmetry.is_ball:
            return self._until_hidden(rotations, seen, image)
        poses = self._allowed(symmetry.equivalents(truth, _GRID_DEG), seen, image)
        nearest = so3.pairwise_angle(rotations, poses).amin(1)
        if not symmetry.axes:
            return nearest
        closest = symmetry.candidates(truth, rotations)  # on each whole circle, where it is a true pose
        valid = self._hides(closest.flatten(0, 1), seen, image).unflatten(0, closest.shape[:2])
        exact = torch.where(valid, so3.angle(closest, rotations[:, None]), math.inf).amin(1)
        return torch.minimum(nearest, exact)

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor | None:
        """True poses of an image, continuous ones on a grid. -> (n, 3, 3); None where they fill all of SO(3)."""
        seen = self.seen(image)
        symmetry = symmetry_seen(self.solid, seen)
        if symmetry.is_ball:
            return None
        return self._allowed(symmetry.equivalents(self.truth[image], step_deg), seen, image)

    def _hides(self, rotations: Tensor, seen: tuple[bool, ...], image: int) -> Tensor:
        """Whether poses (N, 3, 3) hide what is hidden. -> (N,) bool."""
        hidden = [m for m, shown in zip(self.solid.markers, seen, strict=True) if not shown]
        result = torch.ones(len(rotations), dtype=torch.bool, device=rotations.device)
        for marker in hidden:
            result &= seen_share(self.view, marker, rotations, image) < SEEN_SHARE
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


def symmetry_seen(solid: Solid, seen: tuple[bool, ...]) -> Symmetry:
    """The symmetry of the bare solid that keeps the seen markers in place."""
    markers = [m for m, shown in zip(solid.markers, seen, strict=True) if shown]
    bare = solid.bare
    if not markers:
        return bare
    if bare.is_ball:
        if len(markers) > 1:  # one leaves turns about its own normal, which the other forbids
            return Symmetry.none()
        normal = markers[0].frame[:, 2].double()
        if not markers[0].turns:
            return Symmetry(axes=(normal.numpy(),))
        angles = torch.arange(markers[0].turns, dtype=torch.float64) * (2 * math.pi / markers[0].turns)
        return Symmetry(so3.about_axis(normal, angles).numpy())
    kept = np.ones(len(bare.rotations), bool)
    for marker in markers:
        centre = marker.centre.double().numpy()
        kept &= np.linalg.norm(bare.rotations @ centre - centre, axis=1) < 1e-3
    return Symmetry(bare.rotations[kept])
