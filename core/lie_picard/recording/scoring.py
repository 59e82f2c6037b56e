"""Score recordings: every image by the node's own estimator, against the true poses; many recordings on many processes.

Two passes. The estimator's, in jobs that any process can take up, kept as they are done; then, image by image and here,
what depends on the one before: modes are followed, records made, the annotated recording written.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard import machine
from lie_picard.evaluation import metrics
from lie_picard.machine import pick_device
from lie_picard.messages.images import to_rgb
from lie_picard.messages.read import camera_of
from lie_picard.node.pipeline import Frame, MessageBuilder, Result, Shot
from lie_picard.node.settings import Settings
from lie_picard.recording import clock, drops, summary
from lie_picard.recording.bag import Bag, BagError, find
from lie_picard.recording.frames import Topics, frames, resolve
from lie_picard.recording.jobs import MAX_IMAGES, SPAN_NS, Estimated, Job, Store, run_all
from lie_picard.recording.message_types import header_of, writer
from lie_picard.recording.record import Scorer
from lie_picard.recording.scheduler import Scheduler
from lie_picard.recording.stored import LATEST_NS
from lie_picard.recording.truth import NoTruthError, Truth, read_truth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        settings: the node's. topics: of the images and what belongs to them; empty ones are found out.
        truth: by object, its true frame in TF or a topic of poses; else the frame `truth/<object>`.
        truth_gap_s: longest time between two samples of a moving true frame.
        tf: topics of transforms that the truth is taken from, each with the `tf_static` beside it; empty: all.
        workers: processes on this machine; 0: one for a single recording, else one a core.
        scheduler: of a Dask cluster that all recordings are in reach of, instead.
        results: a recording of a node's hypotheses for the same images, which are scored instead of estimating.
    """

    settings: Settings
    topics: Topics = field(default_factory=Topics)
    truth: Mapping[str, str] = field(default_factory=dict)
    truth_gap_s: float = 1.0
    tf: Sequence[str] = ()
    device: str = "auto"
    workers: int = 0
    scheduler: Scheduler | None = None
    results: Path | None = None


@dataclass
class Image:
    """One image of a recording after both passes.

    Attributes:
        done: what the estimator said. result: its messages; None where the image cannot be used.
        truth: (4, 4) camera_from_object by object, where it is known. records: one an object.
        frame: the image itself, where it can be read. rectified: as of `Settings`.
    """

    done: Estimated
    result: Result | None
    truth: dict[str, Array]
    records: list[dict[str, Any]]
    frame: Frame | None = None
    rectified: bool = False

    @functools.cached_property
    def shot(self) -> Shot | None:
        """The image itself, decoded when it is first drawn into."""
        if self.frame is None:
            return None
        return Shot(to_rgb(self.frame.image), camera_of(self.frame.info, self.rectified))


@dataclass
class Recording:
    """A recording that is scored.

    Attributes:
        name: unlike those of the others. start_ns: of its first image. images: number of its images that can be read;
            missing: of those that it should hold besides.
        jobs: in order of time. done: those that were done, by their start.
        doubled: times [first, last] that were recorded twice, as the clock was set back.
        problems: what is wrong with it, one line each. whole: whether all that was recorded could be read.
    """

    bag: Bag
    name: str
    topics: Topics
    start_ns: int
    images: int
    jobs: list[Job]
    truth: Truth
    problems: list[str]
    whole: bool = True
    missing: int = 0
    doubled: Sequence[tuple[int, int]] = ()
    done: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether every job has a result, and all that was recorded was read."""
        return self.whole and len(self.done) == len(self.jobs)

    def pose(self, name: str, done: Estimated) -> Array:
        """The true pose (4, 4) of an object at an image.

        Raises:
            NoTruthError: it is not known then.
        """
        index = bisect.bisect_right(self.doubled, (done.log_ns, LATEST_NS)) - 1
        twice = index >= 0 and done.log_ns <= self.doubled[index][1]
        return self.truth.pose(name, done.frame_id, done.stamp_ns, exact=twice)


@dataclass
class Tally:
    """What is kept of a recording's images: records, when each usable one came since the first, and what it cost."""

    records: list[dict[str, Any]] = field(default_factory=list)
    first_ns: int | None = None
    arrivals_s: list[float] = field(default_factory=list)
    milliseconds: list[dict[str, float]] = field(default_factory=list)
    images: int = 0
    damaged: int = 0
    stamps: Counter[int] = field(default_factory=Counter)

    def add(self, image: Image) -> None:
        """Take in the next image."""
        self.images += 1
        self.damaged += image.done.damaged
        if image.frame is not None:
            self.stamps[image.done.stamp_ns] += 1
        self.records += image.records
        if image.result is not None:
            # Of a number of today's size, a float has no nanoseconds left.
            self.first_ns = image.done.log_ns if self.first_ns is None else self.first_ns
            self.arrivals_s.append((image.done.log_ns - self.first_ns) * 1e-9)
            self.milliseconds.append(image.result.milliseconds)


def prepare(paths: Sequence[Path], options: Options, work: Path) -> tuple[list[Recording], list[dict[str, Any]]]:
    """The recordings that can be scored, and those that cannot be, with the reason.

    Args:
        work: folder for what is kept between runs.

    Raises:
        BagError: none can be.
    """
    usable: list[Recording] = []
    useless = []
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            recording = _prepare(path, options, work)
            names = {one.name for one in usable}
            while recording.name in names:  # recordings of the same name in several folders
                recording.name += "+"
            usable.append(recording)
        except BagError as error:
            useless.append({"bag": str(path), "problem": str(error)})
    if not usable:
        raise BagError("; ".join(str(one["problem"]) for one in useless) or "no recordings were given")
    return usable, useless


def _prepare(path: Path, options: Options, work: Path) -> Recording:
    bag = find(path, work / "rescued")
    problems = list(bag.problems)
    objects = [target.object_id for target in options.settings.targets]
    with bag.opened() as reader:
        try:
            topics = resolve(reader, options.topics, options.settings)
            truth = read_truth(reader, objects, options.truth, options.truth_gap_s, options.tf)
        except BagError as error:
            raise BagError("; ".join([f"{path}: {error}", *bag.problems])) from None
    images = np.sort(np.concatenate([np.asarray(part, np.int64) for part in bag.times[topics.image]]))
    problems += truth.problems + clock.remarks(bag.times, images)
    problems += [f"the recording has no true pose of '{name}'" for name in objects if name not in truth]
    parts: Iterable[tuple[int, int]] = clock.spans(images, MAX_IMAGES, SPAN_NS)
    if options.results is not None:
        parts = []  # nothing is to be estimated
    elif len({target.sought for target in options.settings.targets}) < len(objects):
        # Several instances of an object are told apart from their first image on: by one after another.
        parts = [(int(images[0]), int(images[-1]) + 1)]
    slim = bag.slim
    return Recording(
        slim,
        bag.name,
        topics,
        int(images[0]),
        len(images),
        [Job(slim, topics, options.settings, start, stop, options.device) for start, stop in parts],
        truth,
        problems,
        bag.whole and not truth.unreadable,
        bag.missing[topics.image],
        clock.doubled(bag.times),
    )


def estimate(recordings: Sequence[Recording], options: Options, work: Path, on_images: Callable[[int], None]) -> None:
    """The first pass, as far as it was not done before. Interrupt it at any time: what is done is kept.

    Args:
        on_images: called with the number of images done since the last call.
    """
    store, waiting = Store(work), []
    owner = {(job.bag, job.start_ns): recording for recording in recordings for job in recording.jobs}
    for recording in recordings:
        for job in recording.jobs:
            done = store.get(job)
            if done is None or done.problem:  # a damaged place may have been the disk's bad moment
                waiting.append(job)
            else:
                recording.done.add(job.start_ns)
                on_images(len(done.images))
    for job, done in run_all(waiting, processes(recordings, options), options.scheduler, on_images) if waiting else ():
        store.put(job, done)
        recording = owner[job.bag, job.start_ns]
        recording.done.add(job.start_ns)
        if done.problem:
            begin = (job.start_ns - recording.start_ns) * 1e-9
            recording.problems.append(f"damaged from {begin:.0f} s on: {done.problem}")
            recording.whole = False


def processes(recordings: Sequence[Recording], options: Options) -> int:
    """How many are to estimate at once on this machine."""
    return options.workers or (1 if len(recordings) == 1 else min(len(recordings), os.cpu_count() or 1))


def score(recording: Recording, options: Options, work: Path) -> Iterator[Image]:
    """The second pass: the images in order, with their records, and read again for drawing."""
    builder, scorer, settings = MessageBuilder(writer()), Scorer(options.settings.meshes), options.settings
    for done, frame in _estimated(recording, options, work):
        result = None
        if done.estimate is not None:
            result = builder(header_of(done.stamp_ns, done.frame_id), done.estimate, settings)
        yield scored(recording, done, result, frame, settings, scorer)


def scored(
    recording: Recording,
    done: Estimated,
    result: Result | None,
    frame: Frame | None,
    settings: Settings,
    scorer: Scorer,
) -> Image:
    """An image's records, one an object that is looked for."""
    truth: dict[str, Array] = {}
    records = []
    for target in settings.targets:
        record = {"bag": recording.name, "stamp_ns": done.stamp_ns, "object": target.object_id}
        record |= _record(recording, done, result, target.object_id, truth, scorer)
        if record["state"] != "scored":
            scorer.lose(target.object_id)
        records.append(record)
    return Image(done, result, truth, records, frame, settings.rectified)


def _estimated(recording: Recording, options: Options, work: Path) -> Iterator[tuple[Estimated, Frame | None]]:
    """What the first pass left, each image with its frame where that can be read."""
    # All that a picture needs is the image and its calibration.
    settings, store = dataclasses.replace(options.settings, depth=False, regions_from="parameters"), Store(work)
    for job in recording.jobs:
        kept = store.get(job) if job.start_ns in recording.done else None
        if kept is None or not kept.images:
            continue
        with job.bag.opened() as reader:
            seen = frames(reader, job.topics, settings, job.start_ns, job.stop_ns)
            for done in kept.images:
                again = next(seen, None)  # what was readable then is readable now
                yield done, None if again is None else again.frame


def _record(
    recording: Recording, done: Estimated, result: Result | None, name: str, truth: dict[str, Array], scorer: Scorer
) -> dict[str, Any]:
    try:
        truth[name] = recording.pose(name, done)
    except NoTruthError as error:
        unknown = str(error)
    if result is None:
        return {"state": done.state, "why": done.problem}
    found = next(((p, t) for p, t in zip(result.poses, result.tracked, strict=True) if p.object_id == name), None)
    if found is None:
        if any(message.object_id == name for message in result.lost):
            return {"state": "lost"}
        return {"state": done.state, "why": "; ".join(result.complaints) or "no region of it"}
    if name not in truth:
        return {"state": "no truth", "why": unknown}
    return {"state": "scored"} | scorer(*found, truth[name])


def conclude(
    recordings: Sequence[Recording], useless: Sequence[dict[str, Any]], tallies: Sequence[Tally], options: Options
) -> dict[str, Any]:
    """All figures, as the JSON has them."""
    records = [record for tally in tallies for record in tally.records]
    work = [spans for tally in tallies for spans in tally.milliseconds]
    bags = [_bag(recording, tally) for recording, tally in zip(recordings, tallies, strict=True)]
    names = list(dict.fromkeys(name for spans in work for name in spans))
    stages = {name: [spans[name] for spans in work if name in spans] for name in names}
    if "latency" not in stages:
        stages["total"] = [sum(spans.values()) for spans in work]
    at = options.scheduler.address if options.scheduler else processes(recordings, options)
    return {
        "machine": machine.describe(pick_device(options.device)),
        "settings": _described(options.settings),
        "complete": not useless and all(bag["complete"] for bag in bags),
        "processes": "a live node" if options.results else at,
        "bags": [*bags, *useless],
        "rows": summary.rows(records, {target.object_id: target.diameter for target in options.settings.targets}),
        "milliseconds": {name: metrics.percentiles(values) for name, values in stages.items()},
        "dropped_if_live": sum(bag["dropped_if_live"] for bag in bags),
        "frames": records,
    }


def _bag(recording: Recording, tally: Tally) -> dict[str, Any]:
    arrivals = tally.arrivals_s
    kept = drops.simulate_drops(arrivals, [sum(spans.values()) * 1e-3 for spans in tally.milliseconds])
    live_already = any("latency" in spans for spans in tally.milliseconds)
    # Not the mean: a pause is no slow camera.
    interval = float(np.median(np.diff(arrivals))) if len(arrivals) > 1 else 0.0
    return {
        "bag": str(recording.bag.path),
        "name": recording.name,
        "images": recording.images,
        "missing": recording.missing,
        "estimated": tally.images,
        "complete": recording.complete and not tally.damaged,
        "camera_hz": 1 / interval if interval > 0 else None,
        "dropped_if_live": tally.images - len(arrivals) if live_already else kept.count(False),
        "topics": dataclasses.asdict(recording.topics),
        "problems": [*recording.problems, *_remarks(tally)],
    }


def _remarks(tally: Tally) -> list[str]:
    """What is wrong with the images and their stamps, one line each."""
    lines = []
    if tally.damaged:
        lines.append(f"{tally.damaged} images, or what belongs to them, cannot be read: their bytes are no message")
    if count := tally.stamps[0]:
        lines.append(f"{count} images have the stamp 0: let the camera's driver fill header.stamp, by which true poses "
                     "and companions are found")  # fmt: skip
    if shared := sum(count for stamp, count in tally.stamps.items() if stamp and count > 1):
        lines.append(f"{shared} images have the stamp of another")
    return lines


def _described(settings: Settings) -> dict[str, Any]:
    """The settings that matter for results."""
    return {
        "checkpoint": settings.checkpoint,
        "objects": {t.object_id: {"diameter": t.diameter} for t in settings.targets},
        "regions_from": settings.regions_from,
        "depth": settings.depth,
        "rectified": settings.rectified,
        "samples": settings.samples,
        "seed": settings.seed,
        "sampler": dataclasses.asdict(settings.options),
        "least_presence": settings.least_presence,
    }
