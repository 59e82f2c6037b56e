"""The true poses of a recording: frames of TF, or topics of poses, at the moment of an image."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from scipy.spatial.transform import Rotation

from lie_picard.messages.read import nanoseconds_of, vector_of
from lie_picard.recording.bag import BagError

Array = NDArray[np.float64]
TF = "tf2_msgs/msg/TFMessage"
POSES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    "nav_msgs/msg/Odometry",
)


class NoTruthError(LookupError):
    """The true pose at some moment is unknown; the message says why."""


@dataclass
class _Edge:
    """A frame's pose in its parent over time; one sample that holds for ever where it is static."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    poses: list[tuple[Array, Rotation]] = field(default_factory=list)

    def add(self, stamp: int, position: Array, rotation: Rotation) -> None:
        """Keep the samples in order of their stamps."""
        index = bisect.bisect_right(self.stamps, stamp)
        self.stamps.insert(index, stamp)
        self.poses.insert(index, (position, rotation))

    def at(self, stamp: int, gap_ns: int, name: str) -> tuple[Array, Rotation]:
        """Position and rotation at a stamp, between the samples around it.

        Raises:
            NoTruthError: there is a gap there.
        """
        if self.static:
            return self.poses[-1]
        index = bisect.bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            return self.poses[index]
        if index in (0, len(self.stamps)):
            raise NoTruthError(f"'{name}' is not known before its first or after its last transform")
        before, after = self.stamps[index - 1], self.stamps[index]
        if after - before > gap_ns:
            raise NoTruthError(f"'{name}' has a gap of {(after - before) * 1e-9:.2f} s")
        share = (stamp - before) / (after - before)
        (p0, r0), (p1, r1) = self.poses[index - 1], self.poses[index]
        return p0 + share * (p1 - p0), r0 * Rotation.from_rotvec(share * (r0.inv() * r1).as_rotvec())


class Truth:
    """Poses of objects in the camera's frame at any moment of a recording."""

    def __init__(self, frames: Mapping[str, str], gap_s: float = 1.0) -> None:
        """Args:
        frames: name of each object's true frame. gap_s: longest time between two samples of a moving frame.
        """
        self._frames, self._gap_ns = dict(frames), round(gap_s * 1e9)
        self._edges: dict[str, _Edge] = {}

    def add(self, child: str, parent: str, stamp: int, position: Array, rotation: Rotation, static: bool) -> None:
        """Take in a sample of a frame's pose in another."""
        child, parent = child.lstrip("/"), parent.lstrip("/")
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = _Edge(parent, static)
        edge.add(stamp, position, rotation)

    def __contains__(self, object_id: str) -> bool:
        return self._frames.get(object_id, "") in self._edges

    def pose(self, object_id: str, camera_frame: str, stamp: int) -> Array:
        """camera_from_object, (4, 4) metres, at a stamp in nanoseconds.

        Raises:
            NoTruthError: it is not known then.
        """
        frame = self._frames[object_id]
        if frame not in self._edges:
            raise NoTruthError(f"there is no frame '{frame}'")
        camera = self._chain(camera_frame.lstrip("/"))
        objects = self._chain(frame)
        common = next((name for name in objects if name in camera), None)
        if common is None:
            raise NoTruthError(f"no transforms link '{frame}' to '{camera_frame}'")
        pose = np.linalg.inv(self._up(camera[: camera.index(common)], stamp))
        return pose @ self._up(objects[: objects.index(common)], stamp)

    def _chain(self, frame: str) -> list[str]:
        """The frame and all above it."""
        chain = [frame]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                raise NoTruthError(f"the transforms above '{frame}' form a loop")
            chain.append(parent)
        return chain

    def _up(self, frames: list[str], stamp: int) -> Array:
        """From the first of these frames to the parent of the last. -> (4, 4)."""
        total = np.eye(4)
        for name in frames:
            position, rotation = self._edges[name].at(stamp, self._gap_ns, name)
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = rotation.as_matrix(), position
            total = step @ total
        return total


def read_truth(reader: AnyReader, objects: list[str], given: Mapping[str, str], gap_s: float) -> Truth:
    """The true poses that a recording holds.

    Args:
        given: by object, a topic of poses (begins with '/') or the name of a frame; else the frame `truth/<object>`.

    Raises:
        BagError: a topic is missing or of another type.
    """
    topics = {name: place for name, place in given.items() if place.startswith("/")}
    frames = {name: f"topic {place}" if name in topics else given.get(name, f"truth/{name}")
              for name in objects for place in [topics.get(name, "")]}  # fmt: skip
    truth = Truth(frames, gap_s)
    kinds = {c.topic: c.msgtype for c in reader.connections}
    for name, topic in topics.items():
        if kinds.get(topic) not in POSES:
            raise BagError(f"truth of '{name}': there is no topic '{topic}' of type {', '.join(POSES)}")
    owners: dict[str, list[str]] = {}
    for name, topic in topics.items():
        owners.setdefault(topic, []).append(name)
    wanted = [c for c in reader.connections if c.msgtype == TF or c.topic in owners]
    for connection, _, data in reader.messages(wanted) if wanted else ():
        message: Any = reader.deserialize(data, connection.msgtype)
        if connection.msgtype == TF:
            static = connection.topic.endswith("tf_static")
            for one in message.transforms:
                _add(truth, one.child_frame_id, one.header, one.transform.translation, one.transform.rotation, static)
            continue
        for name in owners[connection.topic]:
            if hasattr(message, "transform"):
                place, turn = message.transform.translation, message.transform.rotation
            else:
                pose = message.pose if hasattr(message.pose, "position") else message.pose.pose
                place, turn = pose.position, pose.orientation
            _add(truth, frames[name], message.header, place, turn, False)
    return truth


def _add(truth: Truth, child: str, header: Any, position: Any, turn: Any, static: bool) -> None:
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
    place = vector_of(position)
    if not (np.isfinite(quaternion).all() and np.isfinite(place).all() and np.linalg.norm(quaternion) > 0.5):
        return  # a tracker that has lost its object says so like this
    truth.add(child, header.frame_id, nanoseconds_of(header.stamp), place, Rotation.from_quat(quaternion), static)
