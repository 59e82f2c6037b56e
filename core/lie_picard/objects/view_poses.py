"""True poses of a view: which poses give the same image as the true one, of any object that can be cast.

The idea is that of BOP-Distrib (Vanherle et al. 2024): an object's own symmetries are not what an image leaves open. A
mug whose handle is hidden may be turned about its axis until the handle shows; a die is settled by the faces that are
seen. Candidates are the symmetries of the shape without its colours and those of its parts; each is rendered as the
image was taken, behind the same occluder, and compared with the true pose (`same_view`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.same_view import Comparison, Tolerance
from lie_picard.rendering.buffers import ViewGeometry

if TYPE_CHECKING:
    from lie_picard.objects.catalogue import Object

GRID_DEG = 5.0  # on which turns about an axis are looked through
END_DEG = 0.5  # to which the end of an arc is found
_SAME = math.radians(1.0)
_FULL = 2 * math.pi
_BALL_AXES, _BALL_STEP_DEG = 12, 5.0


@dataclass(frozen=True)
class Arc:
    """Poses ``base Exp(t axis)`` that look alike.

    Attributes:
        base: (3, 3) camera_from_object. axis: (3,) object frame. spans: (lowest, highest) t in radians, each at most
            one turn long; a whole circle is (0, 2 pi).
    """

    base: Tensor
    axis: Tensor
    spans: tuple[tuple[float, float], ...]

    def distance(self, rotations: Tensor) -> Tensor:
        """Angle from (N, 3, 3) to the nearest pose of the arc. Exact. -> (N,)."""
        relative = self.base.mT @ rotations
        along = ((relative @ self.axis) * self.axis).sum(-1)
        across = relative.diagonal(dim1=-2, dim2=-1).sum(-1) - along
        turn = torch.atan2(2 * (so3.vee(relative) * self.axis).sum(-1), across)
        best = torch.full_like(turn, math.inf)
        for low, high in self.spans:  # the distance grows with the turn from the nearest one of the circle
            ahead = torch.remainder(turn - low, _FULL)
            inside = ahead <= high - low
            to_end = torch.where(ahead - (high - low) < _FULL - ahead, high - turn, low - turn)
            chosen = turn + torch.where(inside, torch.zeros_like(turn), to_end)
            there = self.base @ so3.about_axis(self.axis, chosen)
            best = torch.minimum(best, so3.angle(there, rotations))
        return best

    def listed(self, step_deg: float) -> Tensor:
        """Poses on a grid, the ends among them. -> (n, 3, 3)."""
        turns: list[Tensor] = []
        for low, high in self.spans:
            whole = high - low >= _FULL - 1e-9
            count = max(1, math.ceil((high - low) / math.radians(step_deg) - 1e-9))
            turns.append(torch.linspace(low, high, count + 1)[: count if whole else None])
        return self.base @ so3.about_axis(self.axis, torch.cat(turns).to(self.base))


@dataclass(frozen=True)
class _Found:
    """Of one image: true poses one by one (n, 3, 3), the true one first, and arcs of them; ball: all are, nearly."""

    poses: Tensor
    arcs: tuple[Arc, ...] = ()
    ball: bool = False


class ViewPoses:
    """The true poses of B images of one object (`catalogue.TruePoses`), found when they are asked for."""

    def __init__(self, shape: Object, truth: Tensor, view: ViewGeometry, tolerance: Tolerance | None = None) -> None:
        """Args:
        shape: what the images show. truth: (B, 3, 3) of the rendering. view: how they were taken.
        """
        self.shape, self.view, self._truth = shape, view, truth
        self.tolerance = tolerance or Tolerance()
        self._found: dict[int, _Found] = {}
        self._comparisons: dict[int, Comparison] = {}

    @property
    def truth(self) -> Tensor:
        """(B, 3, 3) camera_from_object of the rendering."""
        return self._truth

    def seen(self, image: int) -> tuple[bool, ...]:
        """No marks are known."""
        return ()

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """Angle in radians from samples (N, 3, 3) of an image to its nearest true pose. -> (N,)."""
        found = self._of(image)
        nearest = so3.pairwise_angle(rotations, found.poses.to(rotations)).amin(1)
        for arc in found.arcs:
            nearest = torch.minimum(nearest, arc.distance(rotations))
        if found.ball:
            nearest = torch.minimum(nearest, self._until_same(rotations, image))
        return nearest

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor | None:
        """True poses of an image, arcs on a grid. -> (n, 3, 3); None where they fill nearly all of SO(3)."""
        found = self._of(image)
        if found.ball:
            return None
        return torch.cat([found.poses, *(arc.listed(step_deg) for arc in found.arcs)])

    def axis(self, image: int) -> Tensor | None:
        """(3,) axis in the object's frame along whose turns the true poses of an image form curves, if any."""
        arcs = self._of(image).arcs
        one = len(arcs) > 0 and all(abs(float(arc.axis @ arcs[0].axis)) > 0.999 for arc in arcs)
        return arcs[0].axis if one else None

    def padded(self, step_deg: float = 5.0, limit: int = 256) -> tuple[Tensor, Tensor]:
        """The true poses of all images as one tensor, for training.

        Args:
            step_deg: of arcs. limit: poses of an image; of more, every n-th.

        Returns:
            (B, K, 3, 3), the true one first, and (B, K) weights that add to 1; where all of SO(3) is
            true, the true one.
        """
        lists = []
        for image in range(len(self._truth)):
            poses = self.listed(image, step_deg)
            poses = self._truth[image][None] if poses is None else poses
            lists.append(poses[:: math.ceil(len(poses) / limit)])
        most = max((len(poses) for poses in lists), default=1)
        weights = torch.stack([F.pad(poses.new_full((len(poses),), 1 / len(poses)), (0, most - len(poses)))
                               for poses in lists])  # fmt: skip
        filled = [torch.cat([poses, poses[:1].expand(most - len(poses), 3, 3)]) for poses in lists]
        return torch.stack(filled), weights

    def describe(self, image: int) -> dict[str, Any]:
        """The ambiguity of an image: how many single poses, which arcs in degrees, and in words."""
        found = self._of(image)
        arcs = [
            {"axis": [round(float(x), 4) for x in arc.axis],
             "spans_deg": [[round(math.degrees(low), 1), round(math.degrees(high), 1)] for low, high in arc.spans]}
            for arc in found.arcs
        ]  # fmt: skip
        if found.ball:
            words = "nearly every pose looks the same"
        else:
            alone = f"{len(found.poses)} poses" if len(found.poses) > 1 else "one pose"
            length = sum(high - low for arc in found.arcs for low, high in arc.spans)
            words = f"{len(arcs)} arcs of {math.degrees(length):.0f} degrees in all" if arcs else alone
        return {"poses": len(found.poses), "arcs": arcs, "all": found.ball, "words": words}

    def _of(self, image: int) -> _Found:
        if image not in self._found:
            self._found[image] = self._search(image)
        return self._found[image]

    def _comparison(self, image: int) -> Comparison:
        if image not in self._comparisons:
            if len(self._comparisons) > 8:  # each keeps two renderings
                self._comparisons.clear()
            self._comparisons[image] = Comparison(self.shape, self.view, image, self._truth[image], self.tolerance)
        return self._comparisons[image]

    def _search(self, image: int) -> _Found:
        shape, truth = self.shape.shape_symmetry, self._truth[image]
        comparison = self._comparison(image)
        if shape.is_ball:
            return self._of_ball(comparison, truth)
        scale = 1.0 if self.shape.diameter is None else 2 / self.shape.diameter
        turns = torch.from_numpy(shape.rotations).to(truth)
        centre = torch.from_numpy(shape.centre * scale).to(truth)
        own = [(turn, centre - turn @ centre) for turn in turns]  # motions of the object's frame
        lines = [(torch.from_numpy(axis).to(truth), centre) for axis in shape.axes]
        for one in self.shape.partial:
            axis, point = (torch.from_numpy(np.asarray(v, float)).to(truth) for v in (one.axis, one.point))
            if one.angle is None:
                lines.append((axis, point))
            else:
                count = max(1, round(_FULL / abs(one.angle)) - 1) if abs(one.angle) > 0.01 else 0
                for power in range(1, count + 1):
                    turn = so3.about_axis(axis, torch.tensor(power * one.angle).to(truth))
                    own.append((turn, point - turn @ point))
        motions = torch.stack([turn for turn, _ in own]), torch.stack([move for _, move in own])
        rotations, moves = truth @ motions[0], (truth @ motions[1][..., None])[..., 0]
        keep = comparison.coarse(rotations, moves)
        keep[keep.clone()] = comparison.same(rotations[keep], moves[keep])
        keep[0] = True
        poses, arcs = [truth], list[Arc]()
        for line in lines:
            arcs += self._arcs(comparison, truth, own, line)
        for pose in rotations[keep]:
            alone = all(float(so3.angle(pose, other)) > _SAME for other in poses)
            if alone and all(float(arc.distance(pose[None])) > _SAME for arc in arcs):
                poses.append(pose)
        return _Found(torch.stack(poses), tuple(arcs))

    def _arcs(
        self, comparison: Comparison, truth: Tensor, own: list[tuple[Tensor, Tensor]], line: tuple[Tensor, Tensor]
    ) -> list[Arc]:
        """The true poses among the turns about a line, after each motion of the shape onto itself."""
        axis, point = line
        count = round(360 / GRID_DEG)
        grid = torch.arange(count).to(truth) * math.radians(GRID_DEG)
        found: list[Arc] = []
        for turn, move in own:
            base = truth @ turn

            def posed(t: Tensor, base: Tensor = base, move: Tensor = move) -> tuple[Tensor, Tensor]:
                about = so3.about_axis(axis, t)
                return base @ about, truth @ move + (base @ (point - about @ point)[..., None])[..., 0]

            if any(float(arc.distance(base[None])) < _SAME and abs(float(arc.axis @ axis)) > 0.999 for arc in found):
                continue  # this circle was looked through
            rotations, moves = posed(grid)
            good = comparison.coarse(rotations, moves)
            spans = _spans(good, lambda t, posed=posed: comparison.same(*posed(t)), truth)
            if spans:
                found.append(Arc(base, axis, spans))
        return found

    def _of_ball(self, comparison: Comparison, truth: Tensor) -> _Found:
        """Of a ball: turns about the middle of what stands out in the image, or nearly all where nothing does."""
        points, colours = comparison.seen()
        if not len(points):
            return _Found(truth[None], ball=True)
        usual = colours.median(0).values
        odd = ((colours - usual).abs() > self.tolerance.colour).any(1)
        middle = points[odd].sum(0)
        if not bool(odd.any()) or float(middle.norm()) < 1e-6:
            return _Found(truth[None], ball=True)
        line = F.normalize(middle, dim=0), torch.zeros_like(middle)
        none = [(torch.eye(3).to(truth), torch.zeros(3).to(truth))]
        arcs = self._arcs(comparison, truth, none, line)
        whole = [arc for arc in arcs if sum(high - low for low, high in arc.spans) > math.radians(2 * GRID_DEG)]
        if whole or not arcs:
            return _Found(truth[None], tuple(whole))
        return _Found(torch.cat([truth[None], *(arc.listed(360.0) for arc in arcs)]))

    def _until_same(self, rotations: Tensor, image: int) -> Tensor:
        """Least turn about axes across the line of sight that makes poses (N, 3, 3) look the same. -> (N,)."""
        comparison = self._comparison(image)
        none = rotations.new_zeros(len(rotations), 3)
        good = comparison.coarse(rotations, none)
        result = torch.where(good, 0.0, math.pi).to(rotations)
        angles = torch.arange(_BALL_STEP_DEG, 181.0, _BALL_STEP_DEG).to(rotations).deg2rad()
        around = torch.arange(_BALL_AXES).to(rotations) * (_FULL / _BALL_AXES)
        axes = torch.stack([around.cos(), around.sin(), torch.zeros_like(around)], 1)
        turns = so3.exp(angles[:, None, None] * axes).flatten(0, 1)
        for k in torch.nonzero(~good)[:, 0].tolist():
            fine = comparison.coarse(turns @ rotations[k], none.new_zeros(len(turns), 3))
            if bool(fine.any()):
                result[k] = angles[int(fine.int().argmax()) // _BALL_AXES]
        return result


def _spans(good: Tensor, same: Any, like: Tensor) -> tuple[tuple[float, float], ...]:
    """Where turns on a grid are good, their ends found by bisection.

    Args:
        good: (n,) bool of turns at multiples of 2 pi / n, not ruled out. same: decides about turns (m,) -> (m,) bool.
    """
    count, step = len(good), _FULL / len(good)
    values: list[bool] = good.tolist()
    if not any(values):
        return ()

    def true_at(t: float) -> bool:
        return bool(same(like.new_tensor([t]))[0])

    if all(values):
        fine = same(torch.arange(count).to(like) * step).tolist()
        if all(fine):
            return ((0.0, _FULL),)
        values = fine
        if not any(values):
            return ()
    start = values.index(False)
    spans, run = list[tuple[float, float]](), list[int]()
    for k in range(start, start + count + 1):
        if values[k % count]:
            run.append(k)
        elif run:
            spans += _ends(run, step, true_at)
            run = []
    return tuple(spans)


def _ends(run: list[int], step: float, true_at: Any) -> list[tuple[float, float]]:
    """One run of likely turns with exact ends; nothing if none of it is true."""
    first = next((k for k in run if true_at(k * step)), None)
    if first is None:
        return []
    last = next(k for k in reversed(run) if k == first or true_at(k * step))

    def end(inside: float, outside: float) -> float:
        while abs(outside - inside) > math.radians(END_DEG):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if true_at(middle) else (inside, middle)
        return inside

    return [(end(first * step, (first - 1) * step), end(last * step, (last + 1) * step))]
