"""One object's modes from image to image: numbers that stay with them, and one pose that does not flip among them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.geometry.symmetry import Symmetry
from lie_picard.posterior import arrays
from lie_picard.posterior.covariance import at_point
from lie_picard.posterior.hypotheses import MODE_RADIUS, Ambiguity, Hypotheses, poses_of_modes

Array = NDArray[np.float64]

_KEPT = 1 / 4  # of the weight of the heaviest appearance: one of at least that much may go on as the published one
_GATES = (math.radians(30.0), math.radians(15.0), math.radians(8.0))  # of the motion's estimate, coarse to fine
_MAX_TURN = math.radians(35.0)  # turn between two images: below half of an icosahedron's 72 degrees between equal poses


@dataclass(frozen=True)
class Tracked:
    """What the modes of one image are to those of the images before.

    Attributes:
        ids: number of each of the image's modes, in their order; the same as long as the mode is followed.
        best: (3, 3) camera_from_object, a pose that the image supports, as near as can be to the one before.
        best_covariance: (3, 3) of its body-frame tangent, rad^2; NaN where no mode has a covariance.
        best_id: of the mode nearest to `best`.
        best_position: (3,) of the object's frame, as the modes have them. best_pose_covariance: (6, 6), as
            `Mode.pose_covariance`. None where modes have no positions of their own.
    """

    ids: tuple[int, ...]
    best: Array
    best_covariance: Array
    best_id: int
    best_position: Array | None = None
    best_pose_covariance: Array | None = None


@dataclass(frozen=True)
class _Track:
    """A mode that was seen at `seen_s`: its number, and where it is now."""

    number: int
    rotation: Array
    seen_s: float


@dataclass(frozen=True)
class _Appearance:
    """Modes that look the same.

    Attributes:
        members: indices of the modes. weight: the sum of theirs.
        centre: (3, 3) their mean, mapped to one another by the symmetry.
    """

    members: NDArray[np.intp]
    weight: float
    centre: Array


class ModeTracker:
    """Follows the modes of one object. Deterministic; numbers are never used twice.

    The pose is each image's own, not smoothed over time: what is remembered only chooses among equal poses.
    """

    def __init__(self, memory_s: float = 2.0) -> None:
        """`memory_s`: seconds for which a mode is remembered that no sample finds."""
        self.memory_s = memory_s
        self._next = 0
        self.reset()

    def reset(self) -> None:
        """Forget all modes and the pose; numbers go on."""
        self._tracks: list[_Track] = []
        self._best: Array | None = None
        self._axis: Array | None = None
        self._stamp_s = -math.inf

    def update(self, hypotheses: Hypotheses, stamp_s: float, symmetry: Symmetry) -> Tracked:
        """Take in the next image.

        Args:
            stamp_s: time of the image, seconds; earlier than the last, or more than `memory_s` later: start anew.
            symmetry: of the object. Where none is known, the axis that the samples tell stands for it.
        """
        if not 0 <= stamp_s - self._stamp_s <= self.memory_s:
            self.reset()
        modes = torch.stack([mode.rotation for mode in hypotheses.modes]).double().cpu().numpy()
        weights = np.array([mode.weight for mode in hypotheses.modes])
        used = self._symmetry_of_samples(hypotheses) if symmetry.is_trivial else symmetry
        seen = _appearances(modes, [mode.count for mode in hypotheses.modes], used)
        before = self._best
        reference = modes[0] if before is None else before
        shown = seen[0] if before is None else _nearest_appearance(seen, before, used)
        members, pose = shown.members, shown.centre
        if used.axes and used is not symmetry:
            # The samples' axis is a few degrees off: what counts is the mode that needs the least turn about it.
            members = members[_angles(modes[members], reference[None])[:, 0].argmin()][None]
            pose = modes[members[0]]
        best = _nearest(used, pose, reference)
        turn = None if before is None or used.is_trivial else best @ before.T
        if turn is None or _angles(turn[None], np.eye(3)[None])[0, 0] > _MAX_TURN:
            turn = self._common_turn(modes, weights)
        ids = self._follow(modes, turn, stamp_s)
        self._best, self._stamp_s = best, stamp_s
        covariances = torch.stack([hypotheses.modes[k].covariance for k in members]).double().cpu().numpy()
        turns = np.swapaxes(modes[members], -1, -2) @ _nearest(used, modes[members], best)
        mapped = np.swapaxes(turns, -1, -2) @ covariances @ turns
        place = covariance = None
        if hypotheses.positions is not None:
            place, covariance = _whole_pose(hypotheses, members, best, used.centre)
        return Tracked(
            ids=ids,
            best=best,
            best_covariance=np.average(mapped, axis=0, weights=weights[members]),
            best_id=ids[int(_angles(modes, best[None])[:, 0].argmin())],
            best_position=place,
            best_pose_covariance=covariance,
        )

    def _symmetry_of_samples(self, hypotheses: Hypotheses) -> Symmetry:
        """The symmetry that the samples tell: turns about an axis, or none. Too vague an image has the last one's."""
        if hypotheses.axis is not None:
            self._axis = hypotheses.axis.double().cpu().numpy()
        elif hypotheses.ambiguity is not Ambiguity.UNRESOLVED:
            self._axis = None
        return Symmetry.none() if self._axis is None else Symmetry(axes=(self._axis,))

    def _common_turn(self, modes: Array, weights: Array) -> Array:
        """The turn in the camera's frame that brings the old modes nearest to the new ones: R_new = turn R_old.

        Iterated closest points: each mode (M, 3, 3) pulls at the track nearest to it, if near enough. -> (3, 3).
        """
        turn = np.eye(3)
        if not self._tracks:
            return turn
        old = np.stack([track.rotation for track in self._tracks])
        for gate in _GATES:
            moved = turn @ old
            angles = _angles(modes, moved)
            nearest = angles.argmin(1)
            pull = np.where(angles.min(1) <= gate, weights, 0.0)
            if pull.any():
                gaps = arrays.log(modes @ np.swapaxes(moved[nearest], -1, -2))
                turn = arrays.exp(pull / pull.sum() @ gaps) @ turn
        return turn

    def _follow(self, modes: Array, turn: Array, stamp_s: float) -> tuple[int, ...]:
        """Number the modes: pairs of mode and turned track, nearest first; the rest are new. -> (M,)."""
        tracks = [_Track(track.number, turn @ track.rotation, track.seen_s) for track in self._tracks]
        ids: dict[int, int] = {}
        used: set[int] = set()
        if tracks:
            angles = _angles(modes, np.stack([track.rotation for track in tracks]))
            near = np.argwhere(angles <= MODE_RADIUS)
            for mode, track in near[angles[near[:, 0], near[:, 1]].argsort(kind="stable")].tolist():
                if mode not in ids and track not in used:
                    ids[mode] = tracks[track].number
                    used.add(track)
        for mode in range(len(modes)):
            if mode not in ids:
                ids[mode], self._next = self._next, self._next + 1
        lost = [t for k, t in enumerate(tracks) if k not in used and stamp_s - t.seen_s <= self.memory_s]
        self._tracks = [_Track(ids[mode], modes[mode], stamp_s) for mode in range(len(modes))] + lost
        return tuple(ids[mode] for mode in range(len(modes)))


def _whole_pose(hypotheses: Hypotheses, members: NDArray[np.intp], best: Array, centre: Array) -> tuple[Array, Array]:
    """Position and covariance of a pose that looks like some modes: all place the symmetries' centre at one point."""
    rotations, positions, covariances = (part.cpu().numpy()[members] for part in poses_of_modes(hypotheses))
    shares = np.array([mode.weight for mode in hypotheses.modes])[members]
    levers = rotations @ centre
    middle = np.average(positions + levers, axis=0, weights=shares)
    covariance = np.average(at_point(covariances, levers), axis=0, weights=shares)
    return middle - best @ centre, at_point(covariance, -best @ centre)


def _appearances(modes: Array, counts: list[int], symmetry: Symmetry) -> list[_Appearance]:
    """Modes (M, 3, 3), heaviest first, by their appearance: the heaviest one left takes all within 15 degrees."""
    free = np.ones(len(modes), bool)
    appearances = []
    for leader in range(len(modes)):
        if free[leader]:
            left = np.flatnonzero(free)
            mapped = _nearest(symmetry, modes[left], modes[leader])
            near = _angles(mapped, modes[leader][None])[:, 0] <= MODE_RADIUS
            members, mapped = left[near], mapped[near]
            free[members] = False
            samples = np.array(counts)[members]
            centre = modes[leader]
            if len(members) > 1:
                centre = arrays.means(np.repeat(mapped, samples, axis=0), np.zeros(samples.sum(), int), 1)[0]
            appearances.append(_Appearance(members, int(samples.sum()) / sum(counts), centre))
    return appearances


def _nearest_appearance(appearances: list[_Appearance], reference: Array, symmetry: Symmetry) -> _Appearance:
    """Of the appearances with enough weight, the one that changes the pose least: a light stray one is never enough."""
    enough = _KEPT * max(one.weight for one in appearances)
    heavy = [one for one in appearances if one.weight >= enough]
    centres = torch.from_numpy(np.stack([one.centre for one in heavy]))
    return heavy[int(symmetry.distance(centres, torch.from_numpy(reference)).argmin())]


def _nearest(symmetry: Symmetry, rotation: Array, reference: Array) -> Array:
    """`Symmetry.nearest` of arrays."""
    return symmetry.nearest(torch.from_numpy(rotation), torch.from_numpy(reference)).numpy()


def _angles(first: Array, second: Array) -> Array:
    """Angles in radians of all pairs: (N, 3, 3), (M, 3, 3) -> (N, M)."""
    return np.arccos(np.clip(arrays.cosines(first, second), -1, 1))
