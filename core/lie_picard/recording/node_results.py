"""Scores what a live node has published, recorded while it was shown a recording, or on the robot itself."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lie_picard.messages.read import nanoseconds_of, poses_of, tracked_of
from lie_picard.node.pipeline import Result
from lie_picard.node.settings import Settings
from lie_picard.recording.bag import BagError, find
from lie_picard.recording.frames import frames
from lie_picard.recording.jobs import Estimated
from lie_picard.recording.record import Scorer
from lie_picard.recording.scoring import Image, Options, Recording, scored

_KIND = "lie_picard_msgs/msg/PoseHypothesisArray"


def score_results(recording: Recording, options: Options, work: Path) -> Iterator[Image]:
    """The images of a recording in order, each with what the node published for it, by its stamp.

    An image without an answer is "dropped". The latency is from the image's stamp to the answer, by the clock that the
    answers were recorded by.

    Raises:
        BagError: there are no results, or none for these images.
    """
    assert options.results is not None
    answers = _read(options.results, work)
    scorer, settings = Scorer(options.settings.meshes), options.settings
    # The image and its calibration are all that is drawn.
    shown = dataclasses.replace(settings, depth=False, regions_from="parameters")
    met = False
    with recording.bag.opened() as reader:
        stamps = Counter(seen.stamp_ns for seen in frames(reader, recording.topics, shown))
        for seen in frames(reader, recording.topics, shown):
            stamp = seen.stamp_ns
            frame_id = "" if seen.frame is None else str(seen.frame.image.header.frame_id)
            found = answers.get(stamp) if stamps[stamp] == 1 else None
            met |= stamp in answers
            done = Estimated(seen.log_ns, stamp, frame_id, None, "the node gave no answer", "dropped")
            if stamps[stamp] > 1:
                why = f"{stamps[stamp]} images have the stamp {stamp}: which was answered is unknown"
                done = Estimated(seen.log_ns, stamp, frame_id, None, why)
            elif found is None and seen.frame is None:
                done = Estimated(seen.log_ns, stamp, frame_id, None, seen.problem, damaged=seen.damaged)
            result = None if found is None else _result(found, settings)
            yield scored(recording, done, result, seen.frame, settings, scorer)
    if not met:
        raise BagError(
            f"{options.results} holds no results for the images of {recording.bag.path}: their stamps differ"
        )


def _read(path: Path, work: Path) -> dict[int, dict[str, tuple[int, Any]]]:
    """By stamp and object, when the message was recorded, and the message; the last one where there are several."""
    answers: dict[int, dict[str, tuple[int, Any]]] = defaultdict(dict)
    with find(path, work / "rescued").opened() as reader:
        connections = [c for c in reader.connections if c.msgtype == _KIND]
        if not connections:
            raise BagError(f"{path} has no topic of type {_KIND}: record the node's ~/hypotheses")
        for connection, log_ns, data in reader.messages(connections):
            try:
                message: Any = reader.deserialize(data, connection.msgtype)
            except ValueError:
                continue  # an image without an answer is counted
            answers[nanoseconds_of(message.header.stamp)][message.object_id] = log_ns, message
    return answers


def _result(found: dict[str, tuple[int, Any]], settings: Settings) -> Result:
    wanted = [found[target.object_id] for target in settings.targets if target.object_id in found]
    there = [message for _, message in wanted if message.hypotheses]
    lost = [message for _, message in wanted if not message.hypotheses]
    poses = [poses_of(message, settings.symmetries[message.object_id]) for message in there]
    tracked = [tracked_of(message) for message in there]
    late = max(log_ns - nanoseconds_of(message.header.stamp) for log_ns, message in found.values())
    work = max((message.statistics.processing_ms for _, message in wanted), default=0.0)
    return Result(poses, tracked, there, lost, [], {"estimate": work, "latency": late * 1e-6})
