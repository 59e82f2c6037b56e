"""Score recordings: every image by the node's own estimator, against the true poses; many recordings on many processes.

Two passes. The estimator's, in jobs that any process can take up, kept as they are done; then, image by image and here,
what depends on the one before: modes are followed, records made, the annotated recording written.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard import machine
from lie_picard.estimation.estimator import pick_device
from lie_picard.evaluation import metrics
from lie_picard.messages.images import to_rgb
from lie_picard.messages.read import camera_of
from lie_picard.node.pipeline import Frame, MessageBuilder, Result, Shot
from lie_picard.node.settings import Settings
from lie_picard.recording import drops, summary
from lie_picard.recording.bag import Bag, BagError, find
from lie_picard.recording.frames import Topics, frames, resolve
from lie_picard.recording.jobs import Estimated, Job, Store, run_all, spans
from lie_picard.recording.message_types import header_of, writer
from lie_picard.recording.record import Scorer
from lie_picard.recording.scheduler import Scheduler
from lie_picard.recording.truth import NoTruthError, Truth, read_truth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        settings: the node's. topics: of the images and what belongs to them; empty ones are found out.
        truth: by object, its true frame in TF or a topic of poses; else the frame `truth/<object>`.
        truth_gap_s: longest time between two samples of a moving true frame.
        workers: processes on this machine; 0: one for a single recording, else one a core.
        scheduler: of a Dask cluster that all recordings are in reach of, instead.
        results: a recording of a node's hypotheses for the same images, which are scored instead of estimating.
    """

    settings: Settings
    topics: Topics = field(default_factory=Topics)
    truth: Mapping[str, str] = field(default_factory=dict)
    truth_gap_s: float = 1.0
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
        name: unlike those of the others. start_ns: of its first message. images: number of its images.
        jobs: in order of time. done: those that were done, by their start.
        problems: what is wrong with it, one line each.
    """

    bag: Bag
    name: str
    topics: Topics
    start_ns: int
    images: int
    jobs: list[Job]
    truth: Truth
    problems: list[str]
    done: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether every job has a result."""
        return len(self.done) == len(self.jobs)


@dataclass
class Tally:
    """What is kept of a recording's images: their records, when each usable one came, and what it cost."""

    records: list[dict[str, Any]] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    milliseconds: list[dict[str, float]] = field(default_factory=list)
    images: int = 0

    def add(self, image: Image) -> None:
        """Take in the next image."""
        self.images += 1
        self.records += image.records
        if image.result is not None:
            self.arrivals_s.append(image.done.log_ns * 1e-9)
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
            truth = read_truth(reader, objects, options.truth, options.truth_gap_s)
        except BagError as error:
            raise BagError(f"{path}: {error}") from None
        count = sum(c.msgcount for c in reader.connections if c.topic == topics.image)
        start_ns = reader.start_time
        parts = list(spans(start_ns, reader.end_time)) if count else []
    problems += [f"the recording has no true pose of '{name}'" for name in objects if name not in truth]
    if options.results is not None:
        parts = []  # nothing is to be estimated
    jobs = [Job(bag, topics, options.settings, start, stop, options.device) for start, stop in parts]
    return Recording(bag, bag.name, topics, start_ns, count, jobs, truth, problems)


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
            recording.problems.append(f"damaged between {begin:.0f} s and {begin + 2:.0f} s: {done.problem}")


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
            for done in kept.images:  # what was readable then is readable now
                yield done, next(seen).frame


def _record(
    recording: Recording, done: Estimated, result: Result | None, name: str, truth: dict[str, Array], scorer: Scorer
) -> dict[str, Any]:
    try:
        truth[name] = recording.truth.pose(name, done.frame_id, done.stamp_ns)
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
        "complete": all(recording.complete for recording in recordings),
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
    seconds = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0.0
    return {
        "bag": str(recording.bag.path),
        "name": recording.name,
        "images": recording.images,
        "estimated": tally.images,
        "complete": recording.complete,
        "camera_hz": (len(arrivals) - 1) / seconds if seconds else None,
        "dropped_if_live": tally.images - len(arrivals) if live_already else kept.count(False),
        "topics": dataclasses.asdict(recording.topics),
        "problems": recording.problems,
    }


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
