"""Score the hypotheses of a model on a BOP data set, image by image: by BOP's errors, and as a distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard import machine
from lie_picard.data.bop import BopError, Dataset, Image, Instance, Model
from lie_picard.estimation.estimator import ImageError, PoseEstimator
from lie_picard.estimation.poses import ObjectPoses, Target, estimate_views
from lie_picard.evaluation import bop_errors
from lie_picard.evaluation.bop_regions import TRUTH, VISIBLE, Detections, Request, requests
from lie_picard.evaluation.bop_scorer import Scorer
from lie_picard.evaluation.bop_scores import Case, Estimate
from lie_picard.geometry.camera import Camera, CameraError, View, look_at
from lie_picard.sampling import SamplerOptions

Array = NDArray[np.float64]

MIN_VISIBLE = 0.1  # of a true pose, where no list of targets says what counts
_MILLI = 1e3


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        split, sensor: which images. regions: "gt", "gt-visib", or the file of a detector's results.
        samples, sampler, seed: of the estimator. depth: whether the range is taken from the depth image.
        delta: of VSD, metres. images: at most so many, the first; None: all.
    """

    split: str = "test"
    sensor: str = ""
    regions: str = TRUTH
    samples: int = 32
    sampler: SamplerOptions = field(default_factory=lambda: SamplerOptions("ode"))
    seed: int = 0
    depth: bool = False
    delta: float = bop_errors.DELTA
    images: int | None = None


@dataclass
class Outcome:
    """What was found.

    Attributes:
        records: one a region looked at, or an object that could not be looked for, with its "state" and, but for
            "scored", "why". cases: for BOP's scores; only objects and images that could be looked at.
        estimates: rows of BOP's results. distributions: the same as weighted hypotheses.
        images, unusable: how many were wanted, and of these could not be read. problems: one line each.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    estimates: list[dict[str, Any]] = field(default_factory=list)
    distributions: list[dict[str, Any]] = field(default_factory=list)
    images: int = 0
    unusable: int = 0
    problems: list[str] = field(default_factory=list)


class Evaluation:
    """Goes through a data set."""

    def __init__(self, estimator: PoseEstimator, dataset: Dataset, options: Options) -> None:
        """Raises:
        BopError: the model knows none of the objects, or the detector's results cannot be read.
        """
        self.estimator, self.dataset, self.options = estimator, dataset, options
        names = dataset.models.names
        if not set(names.values()) & set(estimator.config.objects):
            raise BopError(unknown(list(names.values()), estimator))
        fixed = options.regions in (TRUTH, VISIBLE)
        self.source = options.regions if fixed else Detections(Path(options.regions))
        self._scorers: dict[int, Scorer] = {}

    def run(self, on_image: Callable[[], object] | None = None) -> Outcome:
        """All images of the split. `on_image` is called after each.

        Raises:
            BopError: there is no such split, or the list of targets is damaged.
        """
        outcome = Outcome()
        wanted = self._wanted()
        missing = set(wanted) if wanted is not None else set()
        for unit in self.dataset.units(self.options.split, self.options.sensor):
            try:
                for image in self.dataset.images(unit):
                    key = image.scene_id, image.image_id
                    if wanted is not None and key not in wanted:
                        continue
                    if outcome.images == self.options.images:
                        return outcome
                    outcome.images += 1
                    missing.discard(key)
                    self._image(image, None if wanted is None else wanted[key], outcome)
                    if on_image:
                        on_image()
            except BopError as error:
                outcome.problems.append(str(error))
            outcome.problems += unit.problems
            unit.forget()
        if self.options.images is None:
            for scene, number in sorted(missing):
                outcome.images += 1
                outcome.unusable += 1
                outcome.records.append({"scene_id": scene, "im_id": number, "state": "unusable",
                                        "why": "a target is of this image, which could not be read"})  # fmt: skip
        return outcome

    def _wanted(self) -> dict[tuple[int, int], dict[int, int]] | None:
        """Instances by image and object, from the list of targets; an empty one: all that are there."""
        targets = self.dataset.targets(self.options.split)
        if targets is None:
            return None
        found: dict[tuple[int, int], dict[int, int]] = {}
        for one in targets:
            of_image = found.setdefault((one.scene_id, one.image_id), {})
            if one.object_id is not None:
                of_image[one.object_id] = of_image.get(one.object_id, 0) + (one.instances or 1)
        return found

    def _image(self, image: Image, wanted: Mapping[int, int] | None, outcome: Outcome) -> None:
        place = {"scene_id": image.scene_id, "im_id": image.image_id}
        try:
            picture, instances, depth = image.picture(), image.instances, image.depth()
            camera = image.camera(picture.shape)
            if depth is not None and depth.shape != picture.shape[:2]:
                raise BopError(f"{image.where}: its depth image has {depth.shape[1]} x {depth.shape[0]} pixels, the "
                               f"image {picture.shape[1]} x {picture.shape[0]}")  # fmt: skip
        except (BopError, CameraError) as error:
            outcome.unusable += 1
            outcome.records.append(place | {"state": "unusable", "why": str(error)})
            return
        counts = wanted or _visible(instances or ())
        if not counts:
            why = "no object is visible in it" if instances is not None else "neither true poses nor targets are known"
            outcome.records.append(place | {"state": "nothing", "why": why})
        asked: list[tuple[Model, Request]] = []
        for number, count in sorted(counts.items()):
            asked += self._requests(image, camera, number, count, instances, place, outcome)
        self._estimate(image, picture, depth, camera, asked, counts, instances, outcome)

    def _requests(
        self, image: Image, camera: Camera, number: int, count: int, instances: Sequence[Instance] | None,
        place: dict[str, int], outcome: Outcome,
    ) -> list[tuple[Model, Request]]:  # fmt: skip
        """The regions to look at for one object; why there are none is told."""
        models = self.dataset.models
        name = models.names.get(number, f"obj_{number:06d}")
        about = place | {"obj_id": number, "object": name}
        try:
            if number not in models:
                raise BopError(f"{models.file} has no object {number}")
            if name not in self.estimator.config.objects:
                outcome.records.append(about | {"state": "unknown", "why": unknown([name], self.estimator)})
                return []
            model, of_object = models[number], [one for one in instances or () if one.object_id == number]
            wanted = [of_object[k] for k in _most_visible(of_object, count)]
            found = requests(self.source, image, camera, model, wanted)
        except BopError as error:
            outcome.records.append(about | {"state": "unusable", "why": str(error)})
            return []
        if not found:
            why = "the detector finds none" if isinstance(self.source, Detections) else "nothing of it is in the image"
            outcome.records.append(about | {"state": "no region", "why": why})
        return [(model, one) for one in found]

    def _estimate(
        self, image: Image, picture: NDArray[np.uint8], depth: NDArray[np.float32] | None, camera: Camera,
        asked: Sequence[tuple[Model, Request]], counts: Mapping[int, int], instances: Sequence[Instance] | None,
        outcome: Outcome,
    ) -> None:  # fmt: skip
        place = {"scene_id": image.scene_id, "im_id": image.image_id}
        config, looks, kept = self.estimator.config, list[View](), list[tuple[Model, Request]]()
        for model, one in asked:
            try:
                looks.append(look_at(camera, one.region, config.image_size, config.fill))
                kept.append((model, one))
            except CameraError as error:
                about = {"obj_id": model.object_id, "object": model.name, "gt_id": one.index}
                outcome.records.append(place | about | {"state": "unusable", "why": str(error)})
        found: list[ObjectPoses] = []
        seconds = 0.0
        if kept:
            targets = [Target(model.name, 2 * model.radius, one.region) for model, one in kept]
            symmetries = {model.name: model.symmetry for model, _ in kept}
            try:
                found, milliseconds = machine.timed(
                    self.estimator.device, estimate_views, self.estimator, picture, camera, targets, looks,
                    self.options.samples, self.options.seed, self.options.sampler, None,
                    depth if self.options.depth else None, symmetries,
                )  # fmt: skip
                seconds = milliseconds * 1e-3
            except (ImageError, CameraError) as error:
                outcome.unusable += 1
                outcome.records.append(place | {"state": "unusable", "why": f"{image.where}: {error}"})
                return
        by_object: dict[int, list[Estimate]] = {}
        for (model, one), poses in zip(kept, found, strict=True):
            scorer = self._scorer(model, outcome)
            pose = scorer.best(poses)
            score = one.score * (poses.hypotheses.presence if math.isfinite(poses.hypotheses.presence) else 1.0)
            about = place | {"obj_id": model.object_id, "score": score}
            outcome.estimates.append(about | {"R": pose[:3, :3], "t": _MILLI * pose[:3, 3], "time": seconds})
            outcome.distributions.append(about | {"gt_id": one.index} | scorer.distribution(poses))
            record = place | {"obj_id": model.object_id, "object": model.name, "gt_id": one.index, "score": score}
            if instances is None:
                outcome.records.append(record | {"state": "no truth", "why": "its true poses are not known"})
                continue
            mine = [truth for truth in instances if truth.object_id == model.object_id]
            errors = scorer.errors(pose, mine, camera, depth, self.options.delta)
            by_object.setdefault(model.object_id, []).append(Estimate(score, errors))
            truth = next((truth for truth in mine if truth.index == one.index), None)
            if truth is None:
                outcome.records.append(record | {"state": "false", "why": "no object of its kind is there"})
                continue
            record |= {"visible": truth.visible, "ambiguity": poses.hypotheses.ambiguity.value, "state": "scored"}
            record |= scorer.record(poses, pose, truth, errors)
            try:
                record |= scorer.posterior(poses, truth, image, camera, config)
            except BopError as error:  # its mask: what needs none is scored
                outcome.problems.append(str(error))
            outcome.records.append(record)
        if instances is None:
            return
        for number, count in counts.items():
            if self.dataset.models.names.get(number) not in config.objects or number not in self.dataset.models:
                continue
            seen = {one.index: _share(one) for one in instances if one.object_id == number}
            outcome.cases.append(Case(number, count, seen, by_object.get(number, ())))

    def _scorer(self, model: Model, outcome: Outcome) -> Scorer:
        if model.object_id not in self._scorers:
            known = self.estimator.catalogue.find(model.name)
            scorer = self._scorers[model.object_id] = Scorer(model, known)
            if known is not None and scorer.known is None:
                outcome.problems.append(
                    f"object {model.object_id} has not the shape of the '{model.name}' that the model was trained on: "
                    "its poses are scored by its own symmetries, and may mean nothing"
                )
            if scorer.shape is None:
                outcome.problems.append(f"object {model.object_id} ('{model.name}') cannot be rendered: no VSD, no AR")
        return self._scorers[model.object_id]


def unknown(names: Sequence[str], estimator: PoseEstimator) -> str:
    """Why objects cannot be looked for that the model has not been trained on, one line."""
    told = ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"the model has not been trained on {told}, only on {', '.join(estimator.config.objects)}: train one "
        "(lie-picard train --bop), or say which of its objects one is (--object NUMBER=NAME)"
    )


def _visible(instances: Sequence[Instance]) -> dict[int, int]:
    """Instances of each object that are seen well enough."""
    found: dict[int, int] = {}
    for one in instances:
        if _share(one) >= MIN_VISIBLE:
            found[one.object_id] = found.get(one.object_id, 0) + 1
    return found


def _most_visible(instances: Sequence[Instance], count: int) -> Iterator[int]:
    order = sorted(range(len(instances)), key=lambda k: -_share(instances[k]))
    return iter(order[:count])


def _share(one: Instance) -> float:
    """What is seen of it; all where that is not told."""
    return 1.0 if one.visible is None else one.visible
