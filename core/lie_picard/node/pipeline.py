"""From the messages of one image to what is published of it; the node and the tools for recordings call it."""

from __future__ import annotations

import array
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.estimation.estimator import ImageError
from lie_picard.estimation.following import Candidate, Following, Missing
from lie_picard.estimation.motion import Motion
from lie_picard.estimation.poses import ObjectPoses, Target, ViewCache, estimate_views, whole
from lie_picard.estimation.regions import misnamed, regions_of_detections, regions_of_mask
from lie_picard.estimation.several import AnyEstimator
from lie_picard.geometry.camera import Camera, CameraError, View
from lie_picard.messages import images
from lie_picard.messages.read import ResolutionError, camera_of, check_size, region_of, seconds_of
from lie_picard.messages.write import Writer
from lie_picard.node.settings import Settings
from lie_picard.posterior.tracking import ModeTracker, Tracked
from lie_picard.sampling import WarmStart


@dataclass(frozen=True)
class Frame:
    """One image with the messages that belong to it.

    Attributes:
        image: sensor_msgs/Image or CompressedImage. info: sensor_msgs/CameraInfo.
        regions: where the objects are, as `Settings.regions_from` says: a mask, detections, or RegionOfInterest by
            object; None: as the parameters say.
        depth: registered to the image. received: time.monotonic() when it came in.
    """

    image: Any
    info: Any
    regions: Any = None
    depth: Any = None
    received: float = 0.0


@dataclass(frozen=True)
class Shot:
    """A frame's image as it was decoded: (H, W, 3) RGB, and the camera that took it."""

    image: NDArray[np.uint8]
    camera: Camera


@dataclass(frozen=True)
class Estimate:
    """What one image says on its own.

    Attributes:
        found: every object that was looked for. complaints: of objects that could not be, such as a region beside the
            image. milliseconds: how long each stage took.
        missing: objects that were searched in the whole image and are not there, with the highest presence, and why.
    """

    found: list[ObjectPoses]
    complaints: list[str] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    missing: list[Absent] = field(default_factory=list)


@dataclass(frozen=True)
class Absent:
    """An object that was searched and is not there.

    Attributes:
        object_id: its name. presence: the highest that was met; NaN: nothing was worth a look. why: in words.
    """

    object_id: str
    presence: float
    why: str


@dataclass(frozen=True)
class Result:
    """What one image gave.

    Attributes:
        poses, tracked, messages: of every object that was looked for and is there, one of each; a message is a
            PoseHypothesisArray.
        predicted: Odometry of where they will be, if `predict_ahead` asks for it.
        lost: messages without hypotheses, of objects that the model does not see.
        complaints, milliseconds, missing: as of `Estimate`.
        shot: the image that it was found in; None where it was not kept.
    """

    poses: list[ObjectPoses]
    tracked: list[Tracked]
    messages: list[Any]
    lost: list[Any]
    complaints: list[str] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    shot: Shot | None = None
    missing: list[Absent] = field(default_factory=list)
    predicted: list[Any] = field(default_factory=list)


class MessageBuilder:
    """Follows the modes of each object from one image to the next, and makes the messages."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._trackers: dict[str, ModeTracker] = {}
        self._motions: dict[str, Motion] = {}

    def reset(self) -> None:
        """Forget the images before; the modes' numbers go on."""
        for tracker in self._trackers.values():
            tracker.reset()
        self._motions.clear()

    def __call__(self, header: Any, estimate: Estimate, settings: Settings, follow: bool = True) -> Result:
        """The messages of an image with this header.

        Args:
            follow: as the next image of a stream; False: on its own.
        """
        began, before = time.monotonic(), sum(estimate.milliseconds.values())
        result = Result([], [], [], [], estimate.complaints, missing=estimate.missing)
        result.lost.extend(self._writer.absence(header, one.object_id, one.presence) for one in estimate.missing)
        for poses in estimate.found:
            lost = settings.least_presence > 0 and poses.hypotheses.presence < settings.least_presence
            tracked = None
            if not lost:
                tracker = self._trackers.setdefault(poses.object_id, ModeTracker()) if follow else ModeTracker()
                tracked = tracker.update(poses.hypotheses, seconds_of(header.stamp), poses.symmetry)
            message = self._writer.hypothesis_array(header, poses, tracked, settings.options)
            message.statistics.processing_ms = before + (time.monotonic() - began) * 1e3
            if tracked is None:
                result.lost.append(message)
            else:
                result.poses.append(poses)
                result.tracked.append(tracked)
                result.messages.append(message)
                if follow and settings.predict_ahead > 0:
                    result.predicted.append(self._predicted(header, poses, tracked, settings.predict_ahead))
        spans = estimate.milliseconds | {"messages": (time.monotonic() - began) * 1e3}
        return replace(result, milliseconds=spans)

    def _predicted(self, header: Any, poses: ObjectPoses, tracked: Tracked, ahead_s: float) -> Any:
        motion, stamp = self._motions.setdefault(poses.object_id, Motion()), seconds_of(header.stamp)
        motion.update(tracked.best, *poses.followed(tracked), stamp)
        predicted = motion.predict(stamp + ahead_s)
        assert predicted is not None  # it was just seen
        return self._writer.odometry(self._writer.later(header, ahead_s), poses.object_id, predicted)


class Pipeline:
    """Estimates one image after the other and follows the modes of each object from one to the next."""

    def __init__(
        self,
        estimator: AnyEstimator,
        writer: Writer,
        to_rgb: Callable[..., NDArray[np.uint8]] = images.to_rgb,
    ) -> None:
        self.estimator, self._writer, self._to_rgb = estimator, writer, to_rgb
        self._views = ViewCache()
        self._builder = MessageBuilder(writer)
        self._said: set[str] = set()
        self._following = Following()
        self.reset()

    def reset(self) -> None:
        """Forget the images before; the modes' numbers go on."""
        self._warm = WarmStart()
        self._bits = images.BitDepth()
        self._last_stamp = -math.inf
        self._builder.reset()
        self._following.reset()

    def rehearse(self, settings: Settings) -> None:
        """Go through everything once with a black image, so that the first real one takes no longer than the rest.

        Raises:
            ValueError: the model cannot be sampled as the settings say.
        """
        t = self._writer.types
        info = t.CameraInfo(width=160, height=120, distortion_model="plumb_bob")
        info.k = np.array([200.0, 0.0, 80.0, 0.0, 200.0, 60.0, 0.0, 0.0, 1.0])
        info.p = np.array([200.0, 0.0, 80.0, 0.0, 0.0, 200.0, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        image = t.Image(width=160, height=120, encoding="rgb8", step=480, data=array.array("B", bytes(120 * 480)))
        targets = tuple(replace(target, region=None) for target in settings.targets)
        # Where objects are found in the image, a black one shows none: the pose model is asked about the whole of it.
        for source in dict.fromkeys((settings.regions_from, "parameters")):
            changed = replace(settings, targets=targets, regions_from=source, least_presence=0.0)
            self(Frame(image, info), changed, follow=False)

    def __call__(self, frame: Frame, settings: Settings, follow: bool = True) -> Result:
        """Estimate one image.

        Args:
            follow: as the next image of a stream; False: on its own.

        Raises:
            ImageError, CameraError: what is wrong with the input, and what to do.
        """
        began = time.monotonic()
        shot = self.decode(frame, settings, follow)
        estimate = self._estimate(frame, shot, settings, follow, began)
        return replace(self._builder(frame.image.header, estimate, settings, follow), shot=shot)

    def decode(self, frame: Frame, settings: Settings, follow: bool = False) -> Shot:
        """The frame's image and camera, which are of one size. Errors are those of the whole."""
        found: Camera | ResolutionError
        try:
            found = camera_of(frame.info, settings.rectified)
        except ResolutionError as error:
            found = error  # where the sizes disagree, they say more
        bits = self._bits if follow and not settings.image_bits else images.BitDepth(settings.image_bits)
        image = self._to_rgb(frame.image, bits=bits)
        check_size(frame.info, image.shape[1], image.shape[0])
        if isinstance(found, ResolutionError):
            raise found
        return Shot(image, found)

    def estimate(self, frame: Frame, settings: Settings, following: Following | None = None) -> Estimate:
        """What a frame says on its own: its modes are not followed, nothing is kept. Errors are those of the whole.

        Args:
            following: of the images before, where the objects are found in the image (`finds`); it is kept up to date.
        """
        began = time.monotonic()
        return self._estimate(frame, self.decode(frame, settings), settings, False, began, following)

    def finds(self, settings: Settings) -> bool:
        """Whether some of the objects are found in the whole image, not told where to be."""
        return settings.regions_from == "auto" and any(self._located(target) for target in settings.targets)

    def _located(self, target: Target) -> bool:
        return target.region is None and target.sought in self.estimator.locates

    def _estimate(
        self,
        frame: Frame,
        shot: Shot,
        settings: Settings,
        follow: bool,
        began: float,
        following: Following | None = None,
    ) -> Estimate:
        stages, camera = [began], shot.camera
        notes: list[str] = []
        depth = None if frame.depth is None else self._matched(images.to_depth(frame.depth), "depth image", shot, notes)
        stamp = seconds_of(frame.image.header.stamp)
        if follow:
            if stamp < self._last_stamp:  # a recording starts again
                self.reset()
            self._last_stamp = stamp
            following = self._following
        finds, sought = self.finds(settings), [one for one in settings.targets if self._located(one)]
        following = following or Following()
        candidates: list[Candidate] = []
        if finds:
            stages.append(time.monotonic())
            candidates = following.candidates(
                shot.image, camera, sought, stamp, self.estimator.locate, settings.search_every
            )
            given = tuple(one for one in settings.targets if not self._located(one))
        else:
            given = self._targets(frame, shot, settings, notes)
        targets, views, complaints = self._visible(given, camera, lenient=finds)
        there, more, _ = self._visible(tuple(one.target for one in candidates), camera, lenient=True)
        candidates = [one for one in candidates if one.target in there]
        first = len(targets)
        targets, views = [*targets, *there], [*views, *more]
        stages.append(time.monotonic())
        warm = self._warm if settings.warm_start and follow else None
        found: list[ObjectPoses] = []
        missing: list[Missing] = []
        if targets:
            found = estimate_views(
                self.estimator,
                shot.image,
                camera,
                targets,
                views,
                settings.samples,
                settings.seed,
                settings.options,
                warm,
                depth,
                settings.symmetries,
                np.float32 if getattr(frame.depth, "encoding", "") == "32FC1" else np.uint16,
            )
        if finds:
            counted, missing = following.learned(
                candidates, found[first:], sought, camera, stamp, settings.least_presence
            )
            found = [*found[:first], *counted]
        stages.append(time.monotonic())
        kinds = ("image", "search", "estimate") if finds else ("image", "estimate")
        spans = {name: (b - a) * 1e3 for name, a, b in zip(kinds, stages[:-1], stages[1:], strict=True)}
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                complaints.append(note)
        absent = [Absent(one.target.object_id, one.presence, one.why) for one in missing]
        return Estimate(found, [*complaints, *(text for one in found for text in one.complaints)], spans, absent)

    @staticmethod
    def _matched(pixels: NDArray[Any], what: str, shot: Shot, notes: list[str]) -> NDArray[Any]:
        """A companion image in the image's size; a note where it was scaled."""
        width, height = shot.camera.width, shot.camera.height
        if pixels.shape == (height, width):
            return pixels
        notes.append(
            f"the {what} is {pixels.shape[1]} x {pixels.shape[0]} pixels, the image {width} x {height}: it is scaled "
            "to the nearest pixel; publish it in the image's size to be exact"
        )
        return images.scaled(pixels, width, height, what)

    def _visible(
        self, targets: tuple[Target, ...], camera: Camera, lenient: bool = False
    ) -> tuple[list[Target], list[View], list[str]]:
        """The targets that a virtual camera can look at, these cameras, and why others cannot be.

        Where none can be, that is the error, unless `lenient`.
        """
        seen, views, errors = [], [], []
        config = self.estimator.config
        for target in targets:
            try:
                views.append(self._views.view(camera, target.region or whole(camera), config.image_size, config.fill))
                seen.append(target)
            except CameraError as error:
                errors.append(error)
        if errors and not seen and not lenient:
            raise errors[0]
        return seen, views, [str(error) for error in errors]

    def _targets(self, frame: Frame, shot: Shot, settings: Settings, notes: list[str]) -> tuple[Target, ...]:
        """The objects to look for, where this image's regions say."""
        if frame.regions is None:
            return settings.targets
        names = [target.object_id for target in settings.targets]
        if isinstance(frame.regions, Mapping):
            given = {name: region_of(roi) for name, roi in frame.regions.items()}
            return tuple(replace(t, region=given.get(t.object_id) or t.region) for t in settings.targets)
        if not hasattr(frame.regions, "detections"):
            mask = self._matched(images.to_mask(frame.regions), "mask", shot, notes)
            regions = regions_of_mask(mask, names)
        else:
            best: dict[str, float] = {}
            regions = {}
            detected, unusable = regions_of_detections(frame.regions)
            if (problem := misnamed(detected, names)) is not None:
                raise ImageError(problem)
            if unusable and not detected:
                raise ImageError(unusable[0])
            for name, score, region in detected:
                if score > best.get(name, -math.inf):
                    best[name], regions[name] = score, region
        return tuple(replace(t, region=regions[t.object_id]) for t in settings.targets if t.object_id in regions)
