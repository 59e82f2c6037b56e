"""Objects from one image to the next: where to look for each, which of them is which, and when one is lost.

An object that was seen is looked for where it should be now, which costs nothing. The locator looks for those that
are not there, and now and then for more of them. What it proposes counts once the pose model agrees (`presence`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lie_picard.estimation.locate import LEAST_SCORE, Proposal, overlap
from lie_picard.estimation.poses import ObjectPoses, Target
from lie_picard.estimation.position import region_of
from lie_picard.geometry.camera import Camera, Region

Array = NDArray[np.float64]

GIVEN, LOCATED, FOLLOWED, LOST = "given", "located", "followed", "lost"
LEAST_PRESENCE = 0.5  # where the parameters name none: an object of which the model is less sure is not there
_LEAST_LIKENESS = 0.3  # objects of one shape share what the model believes; anything else is another object
_LEAST_SCORE = 0.5  # of a proposal, where the model does not tell presence
# How likely a proposal is right, given what locator and pose model say of it: fitted on the proposals in 200 scenes by
# the embedded model (logistic regression; docs/results.md).
_OF_SCORE, _OF_PRESENCE, _OF_LIKENESS, _BEFORE = 2.0, 0.2, 0.3, -0.3
LEAST_CONFIDENCE = 0.5
SMALLEST_PX = 40.0  # of a region; the locator was not trained on smaller ones, in images of 640 pixels
_DARK, _BRIGHT = 15.0, 245.0  # mean brightness beyond which an image shows little
_SPARE = 1  # proposals of each object that are looked at beyond those that are missing
_SAME = 0.5  # overlap of regions from which two finds are one
_BESIDE = 0.6  # the same of objects of different names, which may stand before one another
_JUMP = 0.6  # of the region's side: farther from where it should be, it is another instance
_JUMP_MOVING = 0.3  # the same, where its velocity is known
_REACH = 1.0  # m/s: how fast something moves that is found again elsewhere
_FOOLED = 3  # images for which the place of another instance that was taken for one is not its own
_RESIZED = 1.6  # the same, of its distance
_MEMORY_S = 0.5  # after which a velocity says nothing any more
_SMOOTH = 0.5  # share of the newest velocity
_CONFIRMED = 0.3  # overlap of a proposal with what is followed that confirms it
_DOUBTS = 3  # checks without such a proposal after which it is lost
_KEEN = 30  # images after a loss in which the locator looks at each


class Candidate(NamedTuple):
    """Where to look. state: FOLLOWED or LOCATED. score: of the locator; NaN where it was not asked."""

    target: Target
    state: str
    score: float


class Missing(NamedTuple):
    """A target that is not there, and why.

    presence: at its last place, or how likely the best proposal is it by locator and pose model; NaN: there was none.
    """

    target: Target
    presence: float
    why: str


@dataclass
class _Known:
    """What is known of an object: centre of its sphere, metres, and its velocity, camera frame."""

    position: Array
    stamp: float
    velocity: Array | None = None

    def at(self, stamp: float) -> Array:
        """Where it should be, at constant velocity."""
        ahead = stamp - self.stamp
        if self.velocity is None or not 0 < ahead <= _MEMORY_S:
            return self.position
        return self.position + ahead * self.velocity

    def move(self, position: Array, stamp: float) -> None:
        """It was seen there."""
        passed = stamp - self.stamp
        if 0 < passed <= _MEMORY_S:
            velocity = (position - self.position) / passed
            self.velocity = velocity if self.velocity is None else self.velocity + _SMOOTH * (velocity - self.velocity)
        else:
            self.velocity = None
        self.position, self.stamp = position, stamp


class Following:
    """Follows targets: `candidates` says where to look in an image, `learned` what of it counts.

    Targets of one `sought` name are instances of one object; they are told apart by where they are.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Known] = {}  # of each instance that was ever seen
        self.reset()

    def reset(self) -> None:
        """Forget the images before."""
        self._there: dict[str, _Known] = {}
        self._last.clear()
        self._image, self._looked = 0, -(10**9)
        self._lost_at: dict[str, int] = {}
        self._best: dict[str, float] = {}  # highest score of each object in the last image that was searched
        self._brightness = math.nan  # of that image
        self._checked = 0  # image in which the locator was last asked about those that are followed
        self._doubts: dict[str, int] = {}  # times that it has not seen one since
        self._fooled: dict[str, int] = {}  # image in which another instance was taken for one
        self._dropped: set[str] = set()  # those that are lost for that, in this image

    def candidates(
        self,
        image: NDArray[np.uint8],
        camera: Camera,
        targets: Sequence[Target],
        stamp: float,
        locate: Callable[[NDArray[np.uint8], Sequence[str]], list[Proposal]],
        every: int,
    ) -> list[Candidate]:
        """Where to look in the next image.

        Args:
            stamp: of the image, seconds. locate: proposals in an image, of objects by name.
            every: images from one search for further instances to the next, in which those that are followed must be
                proposed again now and then. While no instance of an object is followed, each image is searched.
        """
        self._image += 1
        found, missing = [], []
        for target in targets:
            known = self._there.get(target.object_id)
            region = None if known is None else region_of(camera, known.at(stamp), target.diameter / 2)
            if region is not None and _centre_inside(region, camera):
                found.append(Candidate(dataclasses.replace(target, region=region), FOLLOWED, math.nan))
            else:
                if target.object_id in self._there:
                    self._lose(target.object_id)
                missing.append(target)
        self._dropped.clear()
        seen = {one.target.sought for one in found}
        keen = any(
            one.sought not in seen or self._image - self._lost_at.get(one.object_id, -(10**9)) <= _KEEN
            for one in missing
        )
        if not keen and self._image - self._looked < every:
            return found
        self._looked = self._image
        names = list(dict.fromkeys(one.sought for one in targets))
        proposals, self._brightness = locate(image, names), float(image[::8, ::8].mean())
        if self._image - self._checked >= every:
            self._checked = self._image
            self._check(found, proposals, _smallest(camera))
            missing += [one.target for one in found if one.target.object_id in self._dropped]
            found = [one for one in found if one.target.object_id not in self._dropped]
        followed = list(found)
        for name in dict.fromkeys(one.sought for one in missing):
            mine = [one for one in proposals if one.name == name]
            self._best[name] = max((one.score for one in mine), default=0.0)
            waiting = [one for one in missing if one.sought == name]
            free = [one for one in mine if all(overlap(one.region, there.target.region) < _limit(name, there.target)
                                               for there in followed if there.target.region is not None)]  # fmt: skip
            for index, one in enumerate(free[: len(waiting) + _SPARE]):
                target = dataclasses.replace(waiting[min(index, len(waiting) - 1)], region=one.region)
                found.append(Candidate(target, LOCATED, one.score))
        return found

    def _check(self, followed: Sequence[Candidate], proposals: Sequence[Proposal], smallest: float) -> None:
        """Drop what the locator does not see for several checks: that the pose model goes on agreeing proves little."""
        for one in followed:
            name, region = one.target.object_id, one.target.region
            assert region is not None
            if region.width < smallest or any(
                two.name == one.target.sought and overlap(two.region, region) > _CONFIRMED for two in proposals
            ):
                self._doubts.pop(name, None)
                continue
            self._doubts[name] = self._doubts.get(name, 0) + 1
            if self._doubts[name] >= _DOUBTS:
                self._lose(name)
                self._dropped.add(name)

    def _lose(self, name: str) -> None:
        """It is no longer followed."""
        del self._there[name]
        self._doubts.pop(name, None)
        self._lost_at[name] = self._image

    def learned(
        self,
        candidates: Sequence[Candidate],
        found: Sequence[ObjectPoses],
        targets: Sequence[Target],
        camera: Camera,
        stamp: float,
        least_presence: float,
    ) -> tuple[list[ObjectPoses], list[Missing]]:
        """Which of the estimates count, under the names of their instances, and which targets are missing.

        Args:
            found: one for each candidate. least_presence: of an object that is there; 0: `LEAST_PRESENCE`.
        """
        least = least_presence or LEAST_PRESENCE
        kept: list[tuple[Target, ObjectPoses]] = []
        unseen = f"the locator did not see it in {_DOUBTS} searches"
        why: dict[str, tuple[float, str]] = dict.fromkeys(self._dropped, (math.nan, unseen))
        followed = [(one, poses) for one, poses in zip(candidates, found, strict=True) if one.state == FOLLOWED]
        # Where two become one, as when they pass each other, it is the one that was expected there.
        for one, poses in sorted(followed, key=lambda pair: self._surprise(pair[0], pair[1], stamp)):
            name, presence = one.target.object_id, poses.hypotheses.presence
            known, place = self._there[name], _centre(poses)
            if presence < least:
                why[name] = presence, f"presence fell to {presence:.2f} (at least {least:g})"
            elif poses.hypotheses.likeness < _LEAST_LIKENESS:
                why[name] = presence, "what is there looks like another object"
            elif place is not None and _jumped(known, stamp, place, one.target, camera):
                why[name] = presence, "it is not where it should be: what is seen there is another instance"
                self._fooled[name] = self._image
            elif any(_one_thing(poses, other) and two.sought == one.target.sought for two, other in kept):
                why[name] = presence, "it became one with another instance"
                self._fooled[name] = self._image
            else:
                kept.append((one.target, dataclasses.replace(poses, state=FOLLOWED)))
                continue
            self._lose(name)
        searched = [(one, poses) for one, poses in zip(candidates, found, strict=True) if one.state == LOCATED]
        kept += self._new(searched, kept, targets, least, stamp)
        there = {target.object_id for target, _ in kept}
        for target in targets:
            if target.object_id not in there and target.object_id not in why:
                mine = [pair for pair in searched if pair[0].target.sought == target.sought]
                why[target.object_id] = self._unfound(target.sought, mine, least, camera)
        for target, poses in kept:
            if (place := _centre(poses)) is None:
                continue
            if target.object_id not in self._there:
                self._there[target.object_id] = _Known(place, stamp)
            else:
                self._there[target.object_id].move(place, stamp)
            self._last[target.object_id] = self._there[target.object_id]
        order = {target.object_id: index for index, target in enumerate(targets)}
        kept.sort(key=lambda pair: order[pair[0].object_id])
        there = {target.object_id for target, _ in kept}
        lost = [Missing(one, *why.get(one.object_id, (math.nan, "not searched in this image"))) for one in targets
                if one.object_id not in there]  # fmt: skip
        return [poses for _, poses in kept], lost

    def _surprise(self, one: Candidate, poses: ObjectPoses, stamp: float) -> float:
        """How far from where it should be a followed object is seen, in its distances."""
        expected, place = self._there[one.target.object_id].at(stamp), _centre(poses)
        return 0.0 if place is None else float(np.linalg.norm(place - expected) / np.linalg.norm(expected))

    def _new(
        self,
        searched: Sequence[tuple[Candidate, ObjectPoses]],
        kept: Sequence[tuple[Target, ObjectPoses]],
        targets: Sequence[Target],
        least: float,
        stamp: float,
    ) -> list[tuple[Target, ObjectPoses]]:
        """What of the proposals counts, under the names that are free; the surest first, as one thing is one object."""
        taken = {target.object_id for target, _ in kept}
        result: list[tuple[Target, ObjectPoses]] = []
        sure = [(one, poses) for one, poses in searched
                if not poses.hypotheses.likeness < _LEAST_LIKENESS and _sure(one, poses, least)]  # fmt: skip
        for one, poses in sorted(sure, key=lambda pair: -_confidence(*pair)):
            name = one.target.sought
            free = [target for target in targets if target.sought == name and target.object_id not in taken]
            # Which of two names a thing has, as a solid's with a mark or without, the pose model tells best.
            better = any(two.target.sought != name and other.hypotheses.likeness > poses.hypotheses.likeness
                         and _one_thing(poses, other, _BESIDE) for two, other in sure)  # fmt: skip
            if not free or better:
                continue
            if any(_one_thing(poses, other, _limit(name, two)) for two, other in (*kept, *result)):
                continue
            target = self._nearest(free, _centre(poses), stamp)
            taken.add(target.object_id)
            seen = dataclasses.replace(poses, object_id=target.object_id, state=LOCATED, score=one.score)
            result.append((target, seen))
        return result

    def _nearest(self, free: Sequence[Target], place: Array | None, stamp: float) -> Target:
        """The instance that was last seen nearest to a place, and can have come there; else one that was never seen."""
        if place is None:
            return free[0]

        def far(one: Target) -> float:
            return float(np.linalg.norm(self._last[one.object_id].position - place))

        def near(one: Target) -> bool:
            # What was seen in its stead a moment ago is not it.
            fooled = self._image - self._fooled.get(one.object_id, -(10**9)) <= _FOOLED
            return not fooled and far(one) <= one.diameter + _REACH * abs(stamp - self._last[one.object_id].stamp)

        seen = [one for one in free if one.object_id in self._last]
        if possible := [one for one in seen if near(one)]:
            return min(possible, key=far)
        never = [one for one in free if one.object_id not in self._last]
        return never[0] if never else min(seen, key=far)

    def _unfound(
        self,
        name: str,
        mine: Sequence[tuple[Candidate, ObjectPoses]],
        least: float,
        camera: Camera,
    ) -> tuple[float, str]:
        """How likely it is there at best, and why an object that was searched is not."""
        score = self._best.get(name, 0.0)
        highest = max((poses.hypotheses.presence for _, poses in mine), default=math.nan)
        why = f"the locator's highest score is {score:.2f}"
        if mine:
            both = max(_confidence(one, poses) for one, poses in mine)
            why += f", presence there {highest:.2f} (at least {least:g}), both together {both:.2f} (at least "
            why += f"{LEAST_CONFIDENCE:g})"
        else:
            why += f" (at least {LEAST_SCORE:g})"
        if self._brightness < _DARK:
            why += f"; the image is dark (mean {self._brightness:.0f} of 255): more light, or a longer exposure"
        elif self._brightness > _BRIGHT:
            why += f"; the image is overexposed (mean {self._brightness:.0f} of 255): a shorter exposure"
        if (doubt := camera.doubt) is not None:
            why += f"; the calibration hardly fits the image: {doubt}"
        small = min((one.target.region.width for one, _ in mine if one.target.region is not None), default=math.inf)
        least_px = _smallest(camera)
        if small < least_px:
            why += f"; what looks like it is {small:.0f} pixels wide: below {least_px:.0f} little is found, go nearer"
        sure = [min(poses.hypotheses.presence, _confidence(one, poses)) for one, poses in mine]
        likely = max(sure, default=math.nan)
        return likely, why


def confidence(score: float, presence: float, likeness: float) -> float:
    """How likely a find is right, by the locator's score and the pose model's presence and likeness. In (0, 1).

    What the model does not tell (NaN) counts for nothing.
    """
    inner = lambda p: min(max(p, 1e-4), 1 - 1e-4)  # noqa: E731
    logit = lambda p: math.log(inner(p) / (1 - inner(p)))  # noqa: E731
    odds = _BEFORE + _OF_SCORE * logit(score)
    if not math.isnan(presence):
        odds += _OF_PRESENCE * logit(presence)
    if not math.isnan(likeness):
        odds += _OF_LIKENESS * math.log(inner(likeness))
    return 1 / (1 + math.exp(-odds))


def _confidence(one: Candidate, poses: ObjectPoses) -> float:
    return confidence(one.score, poses.hypotheses.presence, poses.hypotheses.likeness)


def _sure(one: Candidate, poses: ObjectPoses, least: float) -> bool:
    """Whether a proposal counts."""
    presence = poses.hypotheses.presence
    told = not math.isnan(presence)
    return (presence >= least and _confidence(one, poses) >= LEAST_CONFIDENCE) if told else one.score >= _LEAST_SCORE


def _limit(name: str, other: Target) -> float:
    return _SAME if other.sought == name else _BESIDE


def _smallest(camera: Camera) -> float:
    """Side of a region below which little is found in a camera's images, pixels."""
    return SMALLEST_PX * max(camera.width, camera.height) / 640


def _centre(poses: ObjectPoses) -> Array | None:
    """Of its sphere, metres, where the model tells it."""
    place = poses.hypotheses.best.position
    return None if place is None else place.double().cpu().numpy()


def _centre_inside(region: Region, camera: Camera) -> bool:
    x, y = region.x + region.width / 2, region.y + region.height / 2
    return 0 <= x < camera.width and 0 <= y < camera.height


def _one_thing(poses: ObjectPoses, other: ObjectPoses, limit: float = _SAME) -> bool:
    return poses.region is not None and other.region is not None and overlap(poses.region, other.region) > limit


def _jumped(known: _Known, stamp: float, place: Array, target: Target, camera: Camera) -> bool:
    """Whether a place is too far from where the object should be for it to have come there."""
    expected, limit = known.at(stamp), _JUMP if known.velocity is None else _JUMP_MOVING
    before, after = (region_of(camera, one, target.diameter / 2) for one in (expected, place))
    if before is None or after is None:
        return True
    off = max(abs(after.x + after.width / 2 - before.x - before.width / 2),
              abs(after.y + after.height / 2 - before.y - before.height / 2))  # fmt: skip
    ratio = float(np.linalg.norm(place) / np.linalg.norm(expected))
    return off > limit * max(before.width, before.height) or not 1 / _RESIZED < ratio < _RESIZED
