"""Poses of a marked solid that look alike, for many images at once (`objects.alike`).

The rule is that of `true_poses`: a marker that is seen stays where it is, one that is hidden stays hidden.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.alike import Family, Shares, circle_turns
from lie_picard.objects.symsol.true_poses import SEEN_SHARE, seen_shares, symmetry_seen
from lie_picard.rendering.buffers import ViewGeometry

if TYPE_CHECKING:
    from lie_picard.objects.symsol.solids import Solid

_SAME = 1e-4


def family(solid: Solid) -> Family:
    """All motions that some view of a solid may allow."""
    if not solid.bare.is_ball:
        bare = Family.of(solid.bare)
        return Family(torch.from_numpy(solid.bare.rotations), bare.bases, bare.axes)
    # Of a ball each marker alone leaves the turns about its own normal.
    turns, axes = [torch.eye(3)[None].double()], [torch.zeros(0, 3)]
    for marker in solid.markers:
        normal = F.normalize(marker.frame[:, 2], dim=0)
        if marker.turns:
            angles = torch.arange(1, marker.turns, dtype=torch.float64) * (2 * math.pi / marker.turns)
            turns.append(so3.about_axis(normal.double(), angles))
        else:
            axes.append(normal[None])
    circles = torch.cat(axes)
    return Family(torch.cat(turns), torch.eye(3).repeat(len(circles), 1, 1), circles)


def shares(solid: Solid, truth: Tensor, view: ViewGeometry | None) -> Shares:
    """Which motions of `family` images of the true poses (B, 3, 3) allow."""
    motions = solid.family
    turns = motions.turns.to(truth)
    result = Shares.alone(motions, len(truth), truth)
    if view is None:
        return result
    seen = torch.stack([seen_shares(view, m, truth[:, None])[:, 0] >= SEEN_SHARE for m in solid.markers], 1)
    about = circle_turns(motions, truth)
    for pattern in itertools.product((True, False), repeat=len(solid.markers)):
        chosen = (seen == seen.new_tensor(pattern)).all(1).nonzero()[:, 0]
        if not len(chosen) or all(pattern):
            continue
        symmetry = symmetry_seen(solid, pattern)
        if symmetry.is_ball:  # nothing is seen: the truth alone, as the poses that hide everything are no such family
            continue
        hidden = [m for m, shown in zip(solid.markers, pattern, strict=True) if not shown]
        if symmetry.axes:
            axis = torch.from_numpy(symmetry.axes[0]).to(truth)
            circles = [k for k, one in enumerate(motions.axes.to(truth)) if (one - axis).norm() < _SAME]
            poses = truth[chosen, None] @ about[circles].flatten(0, 1)
            good = _hides(hidden, poses, view[chosen])
            result.turns[chosen, 0] = 0.0
            for place, circle in enumerate(circles):
                result.circles[chosen, circle] = good[:, place * about.shape[1] : (place + 1) * about.shape[1]]
            result.circles[chosen, circles[0], 0] = 1.0  # the truth itself, however narrow the arc
        else:
            kept = so3.pairwise_angle(torch.from_numpy(symmetry.rotations).to(truth), turns).argmin(1)
            good = _hides(hidden, truth[chosen, None] @ turns[kept], view[chosen])
            result.turns[chosen[:, None], kept] = good
            result.turns[chosen, 0] = 1.0
    return result


def _hides(markers: list, poses: Tensor, view: ViewGeometry) -> Tensor:  # type: ignore[type-arg]
    """Whether poses (B, M, 3, 3) hide all of these markers. -> (B, M) of 0 and 1."""
    hidden = [seen_shares(view, marker, poses) < SEEN_SHARE for marker in markers]
    return torch.stack(hidden).all(0).to(poses)
