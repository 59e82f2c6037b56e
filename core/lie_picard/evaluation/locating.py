"""How well objects are found in whole images: proposals of the locator, and what the pose model leaves of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.data.scenes import Scene, SceneObject, SceneOptions, SceneStream
from lie_picard.data.seeds import stream_generator
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.estimation.following import Following, Missing
from lie_picard.estimation.locate import Proposal, overlap
from lie_picard.estimation.poses import ObjectPoses, Target, estimate_views
from lie_picard.geometry.camera import Camera, Region, look_at
from lie_picard.objects import Object
from lie_picard.sampling import SamplerOptions
from lie_picard.training.locating import same_shapes

WIDTH, HEIGHT = 640, 480
SIZES = 40.0, 400.0  # sides of the objects' regions, pixels
RIGHT = 0.5  # intersection over union
_SCORES = 0.15, 0.25, 0.35, 0.5
_FOCAL = 1.1 * WIDTH
CAMERA = Camera(
    np.array([[_FOCAL, 0, (WIDTH - 1) / 2], [0, _FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]]), np.zeros(0), WIDTH, HEIGHT
)
_BATCH = 10
_KEPT = 48  # pictures of each object
_LAYER = 192
_FRESH = 3


def evaluate(
    estimator: PoseEstimator,
    images: int,
    seed: int = 0,
    samples: int = 8,
    on_images: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """One row an object, one of all, and of the proposals alone by their score, from test scenes of 640 x 480 pixels.

    Each scene is the first image of a stream: it is searched, and each proposal is looked at by the pose model, as the
    node does (`following`), with up to four instances of each object. Columns: `recall`, `precision` of what is left;
    `proposed`, recall of the proposals alone; `false_empty`, false finds an image without objects; `search_ms`, median.

    Raises:
        ValueError: the model has no locator.
    """
    objects = searched(estimator)
    names = [one.name for one in objects]
    options = SceneOptions(side=WIDTH, height=HEIGHT, sizes=SIZES, layer=_LAYER, kept=_KEPT, fresh=_FRESH)
    stream = SceneStream(objects, options, stream_generator("scenes", seed), "test", seed)
    counts = {name: _Count() for name in names}
    alike = dict(zip(names, same_shapes(objects), strict=True))
    alone = {score: _Count() for score in _SCORES}
    spans: list[float] = []
    empty = done = 0
    while done < images:
        batch = stream.batch(min(_BATCH, images - done))
        for scene in batch:
            found, proposed, span = _looked(estimator, objects, options.most, scene, samples)
            spans.append(span)
            empty += not scene.objects
            for label, name in enumerate(names):
                regions = [one.region for one in proposed[name]]
                counts[name].add(label, scene.objects, found[name], regions, alike[name])
                for score, count in alone.items():
                    likely = [one.region for one in proposed[name] if one.score >= score]
                    count.add(label, scene.objects, likely, likely, alike[name])
            done += 1
        on_images(len(batch))
    rows = [{"solid": name} | count.row(empty) for name, count in counts.items()]
    whole = _Count()
    for count in counts.values():
        whole.join(count)
    rows.append({"solid": "all"} | whole.row(empty) | {"search_ms": float(np.median(spans))})
    return [*rows, *({"solid": f"score {score:g}, locator alone"} | count.row(empty) for score, count in alone.items())]


def searched(estimator: PoseEstimator) -> list[Object]:
    """The objects that an estimator finds in whole images.

    Raises:
        ValueError: the model has no locator.
    """
    if not estimator.locates:
        raise ValueError("this checkpoint has no locator: give it one with `lie-picard locator`")
    return [estimator.catalogue[name] for name in estimator.config.objects if name in estimator.locates]


class _Count:
    """What of an object's instances was found, and what was found that is not there."""

    def __init__(self) -> None:
        self.there = self.right = self.proposed = self.wrong = self.wrong_empty = 0

    def add(
        self,
        label: int,
        objects: Sequence[SceneObject],
        found: Sequence[Region],
        proposed: Sequence[Region],
        alike: Sequence[int],
    ) -> None:
        """A scene. What is found at an object of the same shape is neither right nor wrong."""
        mine = [_region(one) for one in objects if one.label == label]
        others = [_region(one) for one in objects if one.label in alike]
        self.there += len(mine)
        right = matched(mine, found)
        self.right += len(right)
        self.proposed += len(matched(mine, proposed))
        false = [one for k, one in enumerate(found) if k not in right.values()
                 and all(overlap(one, other) < RIGHT for other in others)]  # fmt: skip
        self.wrong += len(false)
        self.wrong_empty += len(false) * (not objects)

    def join(self, other: _Count) -> None:
        """Add another object's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self, empty: int) -> dict[str, Any]:
        """The figures, of so many images without objects."""
        return {
            "instances": self.there,
            "recall": self.right / self.there if self.there else float("nan"),
            "precision": self.right / (self.right + self.wrong) if self.right + self.wrong else float("nan"),
            "proposed": self.proposed / self.there if self.there else float("nan"),
            "false_empty": self.wrong_empty / empty if empty else float("nan"),
        }


def matched(true: Sequence[Region], found: Sequence[Region | None]) -> dict[int, int]:
    """Indices of true regions with those of what was found of each; the best overlap first."""
    pairs = [(overlap(t, f), i, j) for i, t in enumerate(true) for j, f in enumerate(found) if f is not None]
    result: dict[int, int] = {}
    for share, i, j in sorted(pairs, reverse=True):
        if share >= RIGHT and i not in result and j not in result.values():
            result[i] = j
    return result


def _region(one: SceneObject) -> Region:
    return Region(one.x - one.side / 2, one.y - one.side / 2, one.side, one.side)


def _looked(
    estimator: PoseEstimator, objects: Sequence[Object], most: int, scene: Scene, samples: int
) -> tuple[dict[str, list[Region]], dict[str, list[Proposal]], float]:
    """Regions of what is found, and all proposals, by object; and how long the search took, ms."""
    names = [one.name for one in objects]
    targets = [Target(f"{one.name}#{k}", one.diameter or 0.1, None, one.name) for one in objects for k in range(most)]
    began = time.perf_counter()
    proposals = estimator.locate(scene.image, names)
    span = (time.perf_counter() - began) * 1e3
    counted, _ = look(
        estimator, Following(), scene.image, CAMERA, targets, 0.0, samples, 1, lambda image, names: proposals
    )
    kept: dict[str, list[Region]] = {name: [] for name in names}
    for one in counted:
        if one.region is not None:
            kept[one.object_id.rpartition("#")[0]].append(one.region)
    proposed: dict[str, list[Proposal]] = {name: [] for name in names}
    for proposal in proposals:
        proposed[proposal.name].append(proposal)
    return kept, proposed, span


def look(
    estimator: PoseEstimator,
    following: Following,
    image: NDArray[np.uint8],
    camera: Camera,
    targets: Sequence[Target],
    stamp: float,
    samples: int,
    every: int,
    locate: Callable[[NDArray[np.uint8], Sequence[str]], list[Proposal]] | None = None,
) -> tuple[list[ObjectPoses], list[Missing]]:
    """What is found in the next image of a stream, as the node does it, and what is not. Arguments as `Following`'s."""
    candidates = following.candidates(image, camera, targets, stamp, locate or estimator.locate, every)
    found: list[ObjectPoses] = []
    if candidates:
        size, fill = estimator.config.image_size, estimator.config.fill
        views = [look_at(camera, one.target.region, size, fill) for one in candidates if one.target.region is not None]
        sought = [one.target for one in candidates]
        found = estimate_views(estimator, image, camera, sought, views, samples, 0, SamplerOptions("ode", restarts=0))
    return following.learned(candidates, found, targets, camera, stamp, 0.0)


__all__ = ["CAMERA", "evaluate", "look", "matched", "searched"]
