"""Which poses look like the true one in an image, of any object: candidates are rendered and compared.

The poses are R_0 Q with Q a turn that carries what is visible onto itself. Candidates come from the symmetries of the
shape and from those of its parts; where only the turn's axis is known, the angles are scanned and arcs found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.catalogue import Object
from lie_picard.objects.view_candidates import motions_of
from lie_picard.objects.view_looks import Look, LookOptions
from lie_picard.rendering.buffers import ViewGeometry

_CIRCLE = 2 * math.pi


@dataclass(frozen=True, eq=False)
class Arc:
    """Poses base Exp(a axis), a from start to start + length, radians; a whole circle where length is 2 pi.

    Attributes:
        base: (3, 3) camera_from_object. axis: (3,) unit, object frame.
    """

    base: Tensor
    axis: Tensor
    start: float
    length: float

    @property
    def whole(self) -> bool:
        """Whether it has no ends."""
        return self.length >= _CIRCLE

    def listed(self, step: float) -> Tensor:
        """Poses at most `step` radians apart, both ends among them. -> (n, 3, 3)."""
        count = max(1, math.ceil(self.length / step - 1e-6))
        angles = self.start + torch.arange(count + (not self.whole), dtype=torch.float64) * (self.length / count)
        return self.base @ so3.about_axis(self.axis.double(), angles).to(self.base)

    def distance(self, rotations: Tensor) -> Tensor:
        """Exact angle to the nearest of its poses. (N, 3, 3) -> (N,) rad."""
        relative = self.base.mT @ rotations
        past = (so3.turn_about(relative, self.axis) - self.start) % _CIRCLE
        # Distance grows with the way from the best angle, so beyond the ends the nearer end is the nearest pose.
        nearer = torch.where(past < (self.length + _CIRCLE) / 2, self.length, 0.0)
        angle = self.start + torch.where(past <= self.length, past, nearer)
        return so3.angle(self.base @ so3.about_axis(self.axis, angle), rotations)


@dataclass(frozen=True, eq=False)
class Found:
    """The true poses of one image: single ones (n, 3, 3), the truth first, and arcs; `open`: a ball shows nothing."""

    single: Tensor
    arcs: tuple[Arc, ...] = ()
    open: bool = False


@dataclass(frozen=True, eq=False)
class ViewPoses:
    """The true poses of B images of one object (`catalogue.TruePoses`). Nothing is computed until it is asked for.

    Attributes:
        body: what they show. truth: (B, 3, 3) of the rendering. view: how they were taken. options: the tolerance.
    """

    body: Object
    truth: Tensor
    view: ViewGeometry
    options: LookOptions = field(default_factory=LookOptions)
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    def seen(self, image: int) -> tuple[bool, ...]:
        """`TruePoses.seen`: no marks are known apart from the surface."""
        return ()

    def axis(self, image: int) -> Tensor | None:
        """(3,) axis in the object's frame along whose turns the true poses of an image form curves, if one is."""
        arcs = self.found(image).arcs
        if not arcs or any(float((one.axis @ arcs[0].axis).abs()) < 0.999 for one in arcs):
            return None
        return arcs[0].axis

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor | None:
        """True poses, arcs on a grid with their ends, the truth first. -> (n, 3, 3); None: a ball shows nothing."""
        found = self.found(image)
        if found.open:
            return None
        return torch.cat([found.single, *(arc.listed(math.radians(step_deg)) for arc in found.arcs)])

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """`TruePoses.distance`: exact on arcs; where a ball shows nothing, an upper bound in steps of 5 degrees."""
        found = self.found(image)
        if found.open:
            return self._until_plain(rotations, image)
        nearest = so3.pairwise_angle(rotations, found.single.to(rotations)).amin(1)
        for arc in found.arcs:
            nearest = torch.minimum(nearest, arc.distance(rotations.to(self.truth)).to(rotations))
        return nearest

    def padded(self, step_deg: float, limit: int) -> tuple[Tensor, Tensor]:
        """True poses of the batch for training. -> (B, K, 3, 3), K <= limit, and (B, K) bool: which are filled.

        More than `limit` are thinned evenly, the truth kept. A ball that shows nothing has its truth alone.

        Raises:
            ValueError: limit is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}: give room for at least one pose an image")
        rows = []
        for image in range(len(self.truth)):
            poses = self.listed(image, step_deg)
            poses = self.truth[image : image + 1] if poses is None else poses
            if len(poses) > limit:
                poses = poses[torch.arange(limit) * len(poses) // limit]
            rows.append(poses)
        most = max((len(row) for row in rows), default=1)
        result = self.truth[:, None].repeat(1, most, 1, 1)
        filled = torch.zeros(len(rows), most, dtype=torch.bool, device=self.truth.device)
        for k, row in enumerate(rows):
            result[k, : len(row)], filled[k, : len(row)] = row, True
        return result, filled

    def describe(self, image: int) -> dict[str, Any]:
        """The ambiguity as data, angles in degrees, and in words (`text`)."""
        found = self.found(image)
        arcs = [
            {
                "base": arc.base.tolist(),
                "axis": arc.axis.tolist(),
                "from_deg": math.degrees(arc.start),
                "to_deg": math.degrees(arc.start + arc.length),
            }
            for arc in found.arcs
        ]
        words = []
        if found.open:
            words.append("every pose that shows one colour only")
        elif len(found.single) > 1 or not arcs:
            words.append(f"{len(found.single)} single pose{'s' * (len(found.single) > 1)}")
        for arc in found.arcs:
            axis = ", ".join(f"{float(x):.2f}" for x in arc.axis)
            span = math.degrees(arc.length)
            ends = f"from {math.degrees(arc.start):.1f} to {math.degrees(arc.start + arc.length):.1f} degrees"
            words.append(
                f"every turn about ({axis})" if arc.whole else f"turns of {span:.1f} degrees about ({axis}), {ends}"
            )
        return {"open": found.open, "single": found.single.tolist(), "arcs": arcs, "text": "; ".join(words)}

    def found(self, image: int) -> Found:
        """The true poses of an image, computed once."""
        if image not in self._kept:
            self._kept[image] = self._search(image)
        result: Found = self._kept[image]
        return result

    def _look(self, image: int) -> Look:
        return Look(self.body, self.truth[image], self.view, image, self.options, motions_of(self.body).reach)

    def _search(self, image: int) -> Found:
        truth, look, motions = self.truth[image], self._look(image), motions_of(self.body)
        if self.body.shape_symmetry.is_ball and bool(look.uniform(truth[None])[0]):
            return Found(truth[None], open=True)
        turns, shifts = motions.turns.to(truth), motions.shifts.to(truth)
        good = look.same(truth @ turns, look.at + shifts @ truth.mT)
        good[0] = True
        single = truth @ turns[good]
        arcs: list[Arc] = []
        for axis, point in motions.lines:
            for turn, shift in zip(turns, shifts, strict=True):
                arcs += self._arcs(look, turn, shift, axis.to(truth), point.to(truth))
        arcs = _unlike(arcs)
        for arc in arcs:
            if math.degrees(arc.length) < self.options.arc_deg:
                # A short arc is what the tolerance leaves of one pose: that of a known motion, where it holds one.
                known = arc.start <= 0 or arc.start + arc.length >= _CIRCLE
                angle = 0.0 if known else arc.start + arc.length / 2
                single = torch.cat([single, arc.base[None] @ so3.about_axis(arc.axis, single.new_tensor([angle]))])
        long = tuple(one for one in arcs if math.degrees(one.length) >= self.options.arc_deg)
        apart = math.radians(self.options.arc_deg) / 2
        kept = [single[0]]
        for one in single[1:]:
            beside = any(float(arc.distance(one[None])) < apart for arc in long)
            if not beside and float(so3.angle(torch.stack(kept), one).amin()) > apart:
                kept.append(one)
        return Found(torch.stack(kept), long)

    def _arcs(self, look: Look, turn: Tensor, shift: Tensor, axis: Tensor, point: Tensor) -> list[Arc]:
        """Of poses truth turn Exp(a axis), the motion about a line through `point`, those that look the same."""
        truth, base = look.truth, look.truth @ turn

        def same(angles: Tensor) -> Tensor:
            about = so3.about_axis(axis, angles)
            places = (point - about @ point) @ turn.mT + shift
            return look.same(base @ about, look.at + places @ truth.mT)

        count = round(360 / self.options.step_deg)
        step = _CIRCLE / count
        good = same(torch.arange(count).to(truth) * step)
        if bool(torch.equal(turn, torch.eye(3).to(turn))):
            good[0] = True
        if bool(good.all()):
            return [Arc(base, axis, 0.0, _CIRCLE)]
        if not bool(good.any()):
            return []
        starts = torch.nonzero(good & ~good.roll(1))[:, 0]
        ends = torch.nonzero(good & ~good.roll(-1))[:, 0]
        ends = torch.stack([ends[(ends >= s)][0] if bool((ends >= s).any()) else ends[0] + count for s in starts])
        inner = torch.cat([starts, ends]).to(truth) * step
        outer = inner + torch.cat([-torch.ones(len(starts)), torch.ones(len(ends))]).to(truth) * step
        for _ in range(max(0, math.ceil(math.log2(self.options.step_deg / self.options.end_deg)))):
            middle = (inner + outer) / 2
            fine = same(middle)
            inner, outer = torch.where(fine, middle, inner), torch.where(fine, outer, middle)
        first, last = inner.chunk(2)
        return [Arc(base, axis, float(s), float(e - s)) for s, e in zip(first, last, strict=True)]

    def _until_plain(self, rotations: Tensor, image: int) -> Tensor:
        """Least turn about axes across the line of sight after which a ball shows one colour. -> (N,) rad."""
        look = self._look(image)
        rotations = rotations.to(self.truth)
        result = torch.zeros(len(rotations)).to(rotations)
        around = torch.arange(12).to(rotations) * (_CIRCLE / 12)
        axes = torch.stack([around.cos(), around.sin(), torch.zeros_like(around)], 1)
        for k in torch.nonzero(~look.uniform(rotations))[:, 0].tolist():
            result[k] = so3.angle(rotations[k], look.truth)
            for degrees in range(5, math.floor(math.degrees(float(result[k]))), 5):
                if bool(look.uniform(so3.exp(math.radians(degrees) * axes) @ rotations[k]).any()):
                    result[k] = math.radians(degrees)
                    break
        return result


def _unlike(arcs: list[Arc]) -> list[Arc]:
    """Longest first, without those that lie on one that is kept."""
    kept: list[Arc] = []
    for arc in sorted(arcs, key=lambda one: -one.length):
        if all(float(one.distance(arc.listed(math.radians(10.0))).amax()) > math.radians(2.0) for one in kept):
            kept.append(arc)
    return kept
