"""How well objects are followed: rendered videos in which one leaves the image and comes back.

Two instances of one object and another object move freely before a photograph, ten images a second. The first instance
crosses the others and leaves the image; the node must say so, find it again, and never take one for the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.data.bop.render import Placement, render
from lie_picard.data.random_parts.parts import random_part
from lie_picard.data.seeds import stream_generator
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.estimation.following import Following
from lie_picard.estimation.poses import Target
from lie_picard.evaluation import metrics
from lie_picard.evaluation.locating import CAMERA, HEIGHT, WIDTH, look, matched, searched
from lie_picard.geometry.camera import Region, sphere_region
from lie_picard.objects import Object
from lie_picard.rendering.randomisation import photograph_of

RATE_HZ = 10.0
IMAGES = 120  # of a video
SOON = 3  # images in which an object is to be found again, or said to be lost
_DIAMETER = 0.1  # metres, of objects of any size
_THERE, _GONE = 0.6, 0.02  # share that is seen from which an object is there, and below which it is not
_SIZES = 80.0, 160.0  # pixels, of the objects' spheres
_REACH = (0.8, 0.25), (0.3, 0.3), (0.35, 0.2)  # of the movements, in widths and heights; the first leaves the image
_PERIODS_S = (8.0, 11.0), (13.0, 9.0), (15.0, 12.0)
_SEARCH_EVERY = 15


@dataclass
class _Shown:
    """An image: what it shows of each of the three."""

    image: NDArray[np.uint8]
    regions: list[Region]
    shares: list[float]


def _video(sought: Object, other: Object, diameter: float, generator: Any) -> Iterator[_Shown]:
    """Two instances of what is sought and one of the other, which is so large."""
    numbers = np.random.default_rng(int(so3.uniform(1, generator=generator).sum() * 1e6) % (1 << 31))
    shapes, time = (sought, sought, other), np.arange(IMAGES) / RATE_HZ
    sizes = *[sought.diameter or _DIAMETER] * 2, diameter
    backdrop = photograph_of("test", WIDTH, HEIGHT, generator)
    paths, turns, radii = [], [], []
    for size, reach, periods in zip(sizes, _REACH, _PERIODS_S, strict=True):
        radius = size / 2
        phase = numbers.uniform(0, 2 * math.pi, 3)
        across, up, near = (
            np.sin(2 * math.pi * time / period + p) for period, p in zip((*periods, 7.0), phase, strict=True)
        )
        pixels = np.stack([WIDTH * (0.5 + reach[0] * across), HEIGHT * (0.5 + reach[1] * up)], 1)
        rays = CAMERA.rays(pixels)
        side = math.exp(numbers.uniform(math.log(_SIZES[0]), math.log(_SIZES[1])))
        far = CAMERA.matrix[0, 0] * 2 * radius / side * (1 + 0.2 * near)
        paths.append(far[:, None] * rays / np.linalg.norm(rays, axis=1, keepdims=True))
        axis = numbers.normal(size=3)
        turns.append((so3.uniform(1, generator=generator)[0].double(), axis / np.linalg.norm(axis)))
        radii.append(radius)
    for k in range(IMAGES):
        placements = []
        for number, (shape, radius, path, (first, axis)) in enumerate(zip(shapes, radii, paths, turns, strict=True), 1):
            pose = np.eye(4)
            turn = so3.exp(first.new_tensor(axis * math.radians(25) * time[k]))
            pose[:3, :3], pose[:3, 3] = (turn @ first).numpy(), path[k]
            placements.append(Placement(shape, number, radius, pose))
        view = render(CAMERA, placements, backdrop)
        regions = [sphere_region(CAMERA, one.pose[:3, 3], one.radius) for one in placements]
        shares = [
            float(seen.sum()) / max(1.0, float(whole.sum())) * _inside(region)
            for seen, whole, region in zip(view.visible, view.masks, regions, strict=True)
        ]
        yield _Shown(view.picture, regions, shares)


def _inside(region: Region) -> float:
    """Share of a region that is in the image."""
    width = min(region.x + region.width, WIDTH) - max(region.x, 0.0)
    height = min(region.y + region.height, HEIGHT) - max(region.y, 0.0)
    return max(0.0, width) * max(0.0, height) / (region.width * region.height)


@dataclass
class Tally:
    """What following did over the videos of one object.

    Attributes:
        there, found: instances that are seen, and those that were found, from the fourth image on. false: finds where
            nothing is. jumps: finds under the other instance's name. refound, lost: images that it took, of each
            return and departure; NaN: it was not before it left or came back again. presence: of the first instance
            where it is seen, and where it is not.
    """

    there: int = 0
    found: int = 0
    false: int = 0
    images: int = 0
    jumps: int = 0
    refound: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    presence: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def join(self, other: Tally) -> None:
        """Add another object's."""
        for name in ("there", "found", "false", "images", "jumps"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refound += other.refound
        self.lost += other.lost
        for mine, theirs in zip(self.presence, other.presence, strict=True):
            mine.extend(theirs)

    def row(self) -> dict[str, Any]:
        """The figures."""
        soon = lambda spans: float(np.mean([one <= SOON for one in spans])) if spans else math.nan  # noqa: E731
        there, gone = (torch.tensor(some) for some in self.presence)
        return {
            "images": self.images,
            "recall": self.found / self.there if self.there else math.nan,
            "precision": self.found / (self.found + self.false) if self.found + self.false else math.nan,
            "returns": len(self.refound),
            "refound_soon": soon(self.refound),
            "departures": len(self.lost),
            "lost_soon": soon(self.lost),
            "jumps": self.jumps,
            "presence_auroc": metrics.area_under_roc(there, gone) if len(there) and len(gone) else math.nan,
        }


def evaluate(
    estimator: PoseEstimator,
    videos: int,
    seed: int = 0,
    samples: int = 8,
    on_images: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """One row an object, and one of all, from so many videos of each (`Tally.row`).

    The third thing in a video is another of the objects in turn; where there is one object, a random part of its size.

    Raises:
        ValueError: the model has no locator.
        PartsError: there is one object, and what makes random parts is not installed.
    """
    objects = searched(estimator)
    generator = stream_generator("scenes", seed)
    tallies: dict[str, Tally] = {}
    for index, one in enumerate(objects):
        tally = tallies[one.name] = Tally()
        others = objects[index + 1 :] + objects[:index]
        for k in range(videos):
            other = others[k % len(others)] if others else random_part(k, seed, "test")
            diameter = (other if others else one).diameter or _DIAMETER
            _follow(estimator, one, _video(one, other, diameter, generator), tally, samples, on_images)
    whole = Tally()
    for tally in tallies.values():
        whole.join(tally)
    return [*({"solid": name} | tally.row() for name, tally in tallies.items()), {"solid": "all"} | whole.row()]


def _follow(
    estimator: PoseEstimator,
    sought: Object,
    video: Iterator[_Shown],
    tally: Tally,
    samples: int,
    on_images: Callable[[int], None],
) -> None:
    diameter = sought.diameter or _DIAMETER
    targets = [Target(f"{sought.name}#{k}", diameter, None, sought.name) for k in range(2)]
    following = Following()
    is_of: dict[str, int] = {}  # which instance each name was last
    back = away = None  # images since the first instance came back, or left, until that is said
    was_seen = ever = False
    for k, shown in enumerate(video):
        found, missing = look(estimator, following, shown.image, CAMERA, targets, k / RATE_HZ, samples, _SEARCH_EVERY)
        at = matched(shown.regions[:2], [one.region for one in found])
        mine = {find: instance for instance, find in at.items()}
        for name, instance in ((found[j].object_id, i) for j, i in mine.items()):
            tally.jumps += is_of.get(name, instance) != instance
            is_of[name] = instance
        counted = [i for i in (0, 1) if shown.shares[i] >= _THERE]
        if k >= SOON:
            tally.there += len(counted)
            tally.found += sum(i in mine.values() for i in counted)
        tally.false += len(found) - len(mine)
        tally.images += 1
        seen, held = shown.shares[0] >= _THERE, 0 in mine.values()
        gone = shown.shares[0] < _GONE
        unmatched = [one.hypotheses.presence for j, one in enumerate(found) if j not in mine]
        told = [one.presence for one in missing if not math.isnan(one.presence)]
        if seen:
            best = [found[j].hypotheses.presence for j, i in mine.items() if i == 0]
            tally.presence[0].append(max([*best, *([] if held else told), 0.0]))
        elif gone:
            tally.presence[1].append(max([*unmatched, *told, 0.0]))
        if seen and not was_seen and ever:
            back, was_seen = 0, True
        if gone and was_seen:
            away, was_seen = 0, False
        was_seen, ever = was_seen or seen, ever or held
        back = _waited(back, held, gone, tally.refound)
        away = _waited(away, not unmatched and not held, seen, tally.lost)
        on_images(1)


def _waited(since: int | None, done: bool, over: bool, spans: list[float]) -> int | None:
    """Images that were waited so far; None where nothing is waited for any more."""
    if since is None:
        return None
    if done or over:
        spans.append(since + 1 if done else math.nan)
        return None
    return since + 1


__all__ = ["IMAGES", "evaluate"]
