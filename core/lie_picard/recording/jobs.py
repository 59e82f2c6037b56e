"""The estimator's part of scoring a recording, in parts that any process on any machine can take up.

It does not matter who does what, in what order, and how often one tries: every image is estimated on its own, or,
where the objects are found in the image and followed, every job begins with a search.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lie_picard import __version__
from lie_picard.estimation.estimator import ImageError
from lie_picard.estimation.following import Following
from lie_picard.estimation.several import checkpoints, estimator_of
from lie_picard.geometry.camera import CameraError
from lie_picard.model import checkpoint
from lie_picard.node.pipeline import Estimate, Pipeline
from lie_picard.node.settings import Settings
from lie_picard.recording import kept
from lie_picard.recording.bag import Bag
from lie_picard.recording.frames import Topics, frames
from lie_picard.recording.message_types import writer
from lie_picard.recording.scheduler import Scheduler
from lie_picard.recording.stored import one_line

# Of a job: what is lost when it is interrupted, and how much of what belongs to its images is in memory at once.
MAX_IMAGES, SPAN_NS = 60, 2_000_000_000


@dataclass(frozen=True)
class Job:
    """Some of a recording's images.

    Attributes:
        start_ns, stop_ns: recorded in [start, stop). threads: of the computation, 0: torch decides.
    """

    bag: Bag
    topics: Topics
    settings: Settings
    start_ns: int
    stop_ns: int
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True)
class Estimated:
    """An image's estimate.

    Attributes:
        log_ns, stamp_ns: when it was recorded, and taken. frame_id: its frame.
        estimate: None where there is none; problem: why. state: "unusable", or "dropped" by a live node.
        damaged: whether it could not even be read.
    """

    log_ns: int
    stamp_ns: int
    frame_id: str
    estimate: Estimate | None
    problem: str = ""
    state: str = "unusable"
    damaged: bool = False


@dataclass(frozen=True)
class Done:
    """A job's result: its images in order, and what ended it early."""

    images: list[Estimated]
    problem: str = ""


def run(job: Job, on_image: Callable[[], None] = lambda: None) -> Done:
    """Estimate a job's images. A damaged place in the recording ends it; what was read before counts."""
    if job.threads:
        torch.set_num_threads(job.threads)
    pipeline = _pipeline(job.settings, job.device)
    following = Following() if pipeline.finds(job.settings) else None
    images: list[Estimated] = []
    try:
        with job.bag.opened() as reader:
            for seen in frames(reader, job.topics, job.settings, job.start_ns, job.stop_ns):
                header = None if seen.frame is None else seen.frame.image.header
                name = "" if header is None else str(header.frame_id)
                estimate, problem = None, seen.problem
                if seen.frame is not None:
                    try:
                        estimate = pipeline.estimate(seen.frame, job.settings, following)
                    except (ImageError, CameraError) as error:
                        problem = str(error)
                    except torch.OutOfMemoryError:
                        raise
                    except Exception as error:  # one image never ends the others
                        problem = f"{type(error).__name__}: {one_line(error)}"
                images.append(Estimated(seen.log_ns, seen.stamp_ns, name, estimate, problem, damaged=seen.damaged))
                on_image()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # storage libraries raise whatever they meet in a damaged file
        return Done(images, f"{type(error).__name__}: {one_line(error)}")
    return Done(images)


_warm: dict[str, Pipeline] = {}


def _pipeline(settings: Settings, device: str) -> Pipeline:
    """The estimator, warm, once a process and setting."""
    key = repr((settings, device, torch.get_num_threads()))
    if key not in _warm:
        _warm.clear()
        pipeline = Pipeline(estimator_of(settings.checkpoint, device), writer())
        for _ in range(2):  # the first call chooses a method, makes buffers
            pipeline.rehearse(settings)
        _warm[key] = pipeline
    return _warm[key]


class Store:
    """Results of jobs as files, so that a run that was cut goes on where it was. They hold data, no code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, job: Job) -> Done | None:
        """A job's result, if it is there; what is damaged, or of a version with other fields, is not."""
        try:
            return kept.decode(self._file(job).read_bytes(), Done)
        except (OSError, kept.KeptError):
            return None

    def put(self, job: Job, done: Done) -> None:
        """Keep a job's result: all of it or nothing."""
        file = self._file(job)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(kept.encode(done))
        os.replace(part.name, file)

    def _file(self, job: Job) -> Path:
        # Not by number of threads: it changes no result.
        return (
            self._folder
            / f"{job.bag.key}-{_fingerprint(job.settings, job.topics, job.device)}"
            / f"{job.start_ns}.safetensors"
        )


def _fingerprint(settings: Settings, topics: Topics, device: str) -> str:
    """Changes whenever a result might."""
    model = tuple(_digest(checkpoint.resolve(one)) for one in checkpoints(settings.checkpoint))
    parts = __version__, model, replace(settings, meshes={}), topics, device, MAX_IMAGES, SPAN_NS
    with np.printoptions(threshold=sys.maxsize):
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def run_all(
    jobs: Sequence[Job], workers: int, scheduler: Scheduler | None, on_images: Callable[[int], None]
) -> Iterator[tuple[Job, Done]]:
    """Results of jobs as they come.

    Args:
        workers: processes on this machine; 1: in this one. scheduler: of a Dask cluster, instead.
        on_images: called with the number of images done since the last call.
    """
    if scheduler is None and workers == 1:
        for job in jobs:
            yield job, run(job, lambda: on_images(1))
        return
    from lie_picard.recording import cluster

    share = max(1, (os.cpu_count() or 1) // workers) if scheduler is None else 0
    for job, done in cluster.run(run, [replace(job, threads=job.threads or share) for job in jobs], workers, scheduler):
        on_images(len(done.images))
        yield job, done
