"""The true poses of a recording: frames of TF, or topics of poses, at the moment of an image."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lie_picard.messages.read import nanoseconds_of
from lie_picard.recording.reader import Reader
from lie_picard.recording.stored import BagError

Array = NDArray[np.float64]
TF = "tf2_msgs/msg/TFMessage"
POSES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    "nav_msgs/msg/Odometry",
)
_SAME_M, _SAME_QUATERNION = 1e-6, 1e-10  # what two publishers of the same pose may differ by
_MAX_NAMES = 5  # in a message


class NoTruthError(LookupError):
    """The true pose at some moment is unknown; the message says why."""


class _Sample(NamedTuple):
    """A frame's pose in its parent: position (3,) metres, unit quaternion (x, y, z, w)."""

    stamp: int
    parent: str
    position: tuple[float, ...]
    quaternion: tuple[float, ...]

    def agrees(self, other: _Sample) -> bool:
        """Whether it says the same but for its stamp."""
        turn = abs(sum(a * b for a, b in zip(self.quaternion, other.quaternion, strict=True)))
        gap = math.dist(self.position, other.position)
        return self.parent == other.parent and gap <= _SAME_M and turn >= 1 - _SAME_QUATERNION


@dataclass
class _Frame:
    """What was published of one frame. As in tf2, each sample has its own parent and is valid in its own time.

    Attributes:
        moving: samples of /tf. fixed: of /tf_static, each valid from its stamp on until another says otherwise.
    """

    moving: list[_Sample] = field(default_factory=list)
    fixed: list[_Sample] = field(default_factory=list)
    ordered: bool = False
    twofold: set[int] = field(default_factory=set)  # stamps with two poses that contradict each other

    def order(self) -> None:
        """Sort the samples by their stamps, and look for those that contradict each other."""
        if self.ordered:
            return
        for samples in (self.moving, self.fixed):
            samples.sort(key=lambda one: one.stamp)
            kept: list[_Sample] = []
            for one in samples:
                if kept and kept[-1].stamp == one.stamp:
                    if not kept[-1].agrees(one):
                        self.twofold.add(one.stamp)
                else:
                    kept.append(one)
            samples[:] = kept
        self.ordered = True

    def at(self, stamp: int, gap_ns: int, name: str, exact: bool) -> tuple[str, Array, Rotation]:
        """Parent, position and rotation at a stamp: the sample of that stamp, else between those around it, else as
        it was published to be fixed.

        Args:
            exact: never between two samples.

        Raises:
            NoTruthError: it is unknown then.
        """
        self.order()
        index = bisect.bisect_left(self.moving, stamp, key=lambda one: one.stamp)
        after = self.moving[index] if index < len(self.moving) else None
        if after is not None and after.stamp == stamp:
            return self._pose(after, name)
        before = self.moving[index - 1] if index else None
        problem = f"'{name}' is not known before its first or after its last transform"
        if before is not None and after is not None:
            if after.stamp - before.stamp > gap_ns:
                problem = f"'{name}' has a gap of {(after.stamp - before.stamp) * 1e-9:.2f} s"
            elif before.parent != after.parent:
                problem = f"'{name}' passes from '{before.parent}' to '{after.parent}' then"
            elif exact:
                problem = "the clock was set back: this time is in the recording twice"
            else:
                return self._between(before, after, stamp, name)
        # A pose that was published as fixed holds until a moving one says otherwise.
        valid = [one for one in self.fixed if (before is None or one.stamp > before.stamp)
                 and (after is None or one.stamp <= after.stamp)]  # fmt: skip
        count = bisect.bisect_right(valid, stamp, key=lambda one: one.stamp)
        if count:
            return self._pose(valid[count - 1], name)
        if valid and before is None:
            return self._pose(valid[0], name)
        raise NoTruthError(problem)

    def _pose(self, sample: _Sample, name: str) -> tuple[str, Array, Rotation]:
        if sample.stamp in self.twofold:
            raise NoTruthError(f"'{name}' has two poses at the same time: two publishers of the same frame?")
        return sample.parent, np.array(sample.position), Rotation.from_quat(sample.quaternion)

    def _between(self, before: _Sample, after: _Sample, stamp: int, name: str) -> tuple[str, Array, Rotation]:
        share = (stamp - before.stamp) / (after.stamp - before.stamp)
        (parent, p0, r0), (_, p1, r1) = self._pose(before, name), self._pose(after, name)
        turn = Rotation.from_rotvec(share * (r0.inv() * r1).as_rotvec())
        return parent, p0 + share * (p1 - p0), r0 * turn


class Truth:
    """Poses of objects in the camera's frame at any moment of a recording.

    Attributes:
        problems: what is wrong with what was recorded of them, one line each.
    """

    def __init__(self, frames: Mapping[str, str], gap_s: float = 1.0) -> None:
        """Args:
        frames: name of each object's true frame. gap_s: longest time between two samples of a moving frame.
        """
        self._wanted, self._gap_ns = dict(frames), round(gap_s * 1e9)
        self._frames: defaultdict[str, _Frame] = defaultdict(_Frame)
        self.problems: list[str] = []
        self.unreadable = 0

    def add(self, child: str, parent: str, stamp: int, position: Array, rotation: Rotation, static: bool) -> None:
        """Take in a sample of a frame's pose in another."""
        sample = _Sample(stamp, parent.lstrip("/"), tuple(position), tuple(rotation.as_quat()))
        self._take(child.lstrip("/"), sample, static)

    def _take(self, child: str, sample: _Sample, static: bool) -> None:
        frame = self._frames[child]
        (frame.fixed if static else frame.moving).append(sample)
        frame.ordered = False

    def __contains__(self, object_id: str) -> bool:
        return self._wanted.get(object_id, "") in self._frames

    def pose(self, object_id: str, camera_frame: str, stamp: int, exact: bool = False) -> Array:
        """camera_from_object, (4, 4) metres, at a stamp in nanoseconds.

        Args:
            exact: only from samples of that very stamp, and fixed ones.

        Raises:
            NoTruthError: it is not known then.
        """
        frame = self._wanted[object_id]
        if frame not in self._frames:
            raise NoTruthError(f"there is no frame '{frame}'")
        camera, why = self._above(camera_frame.lstrip("/"), stamp, exact)
        objects, why_too = self._above(frame, stamp, exact)
        common = next((name for name in objects if name in camera), None)
        if common is None:
            raise why_too or why or NoTruthError(f"no transforms link '{frame}' to '{camera_frame}'")
        pose: Array = np.linalg.inv(camera[common]) @ objects[common]
        return pose

    def _above(self, frame: str, stamp: int, exact: bool) -> tuple[dict[str, Array], NoTruthError | None]:
        """The pose (4, 4) of a frame in itself and in each above it, as far as they are known; and why no farther."""
        chain, total = {frame: np.eye(4)}, np.eye(4)
        while frame in self._frames:
            try:
                parent, position, rotation = self._frames[frame].at(stamp, self._gap_ns, frame, exact)
            except NoTruthError as error:
                return chain, error
            if parent in chain:
                return chain, NoTruthError(f"the transforms above '{frame}' form a loop")
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = rotation.as_matrix(), position
            total = step @ total
            frame = parent
            chain[frame] = total
        return chain, None

    def inspect(self) -> None:
        """Name what contradicts itself."""
        for name, frame in self._frames.items():
            frame.order()
            if frame.twofold:
                self.problems.append(
                    f"frame '{name}' has two poses at {len(frame.twofold)} times (the first {min(frame.twofold)} ns): "
                    "two publishers? It is taken for unknown there"
                )
            if any(not one.agrees(frame.fixed[0]) for one in frame.fixed):
                self.problems.append(f"fixed frame '{name}' has several poses: each holds from its time on")


def read_truth(
    reader: Reader, objects: list[str], given: Mapping[str, str], gap_s: float, tf: Sequence[str] = ()
) -> Truth:
    """The true poses that a recording holds.

    Args:
        given: by object, a topic of poses (begins with '/') or the name of a frame; else the frame `truth/<object>`.
        tf: topics of transforms to take, each with the `tf_static` beside it; empty: all.

    Raises:
        BagError: a topic is missing or of another type, or several trees of transforms have the same frames.
    """
    topics = {name: place for name, place in given.items() if place.startswith("/")}
    frames = {name: f"topic {place}" if name in topics else given.get(name, f"truth/{name}")
              for name in objects for place in [topics.get(name, "")]}  # fmt: skip
    truth = Truth({name: frame.lstrip("/") for name, frame in frames.items()}, gap_s)
    kinds = {c.topic: c.msgtype for c in reader.connections}
    for name, topic in topics.items():
        if kinds.get(topic) not in POSES:
            raise BagError(f"truth of '{name}': there is no topic '{topic}' of type {', '.join(POSES)}")
    owners: dict[str, list[str]] = {}
    for name, topic in topics.items():
        owners.setdefault(topic, []).append(name)
    chosen = _chosen({c.topic for c in reader.connections if c.msgtype == TF}, tf)
    trees: defaultdict[str, list[tuple[str, _Sample, bool]]] = defaultdict(list)
    bad: defaultdict[str, int] = defaultdict(int)
    for connection, log_ns, data in reader.messages(
        [c for c in reader.connections if c.topic in chosen or c.topic in owners]
    ):
        try:
            message: Any = reader.deserialize(data, connection.msgtype)
        except ValueError:
            bad[connection.topic] += 1
            continue
        if connection.msgtype == TF:
            static = connection.topic.endswith("tf_static")
            for one in message.transforms:
                if sample := _sample(one.header, one.transform.translation, one.transform.rotation, log_ns, static):
                    trees[chosen[connection.topic]].append((one.child_frame_id.lstrip("/"), sample, static))
            continue
        if hasattr(message, "transform"):
            place, turn = message.transform.translation, message.transform.rotation
        else:
            pose = message.pose if hasattr(message.pose, "position") else message.pose.pose
            place, turn = pose.position, pose.orientation
        if sample := _sample(message.header, place, turn, log_ns, False):
            for name in owners[connection.topic]:
                truth._take(frames[name], sample, False)
    _refuse_shared(trees, sorted(topic for topic in chosen if not topic.endswith("tf_static")))
    for samples in trees.values():
        for child, sample, static in samples:
            truth._take(child, sample, static)
    truth.unreadable = sum(bad.values())
    truth.problems += [f"{count} messages on {topic} cannot be read" for topic, count in sorted(bad.items())]
    truth.inspect()
    return truth


def _chosen(there: set[str], tf: Sequence[str]) -> dict[str, str]:
    """The tree that each topic of transforms belongs to: `/r1/tf` and `/r1/tf_static` are one.

    Raises:
        BagError: one that was asked for is not there.
    """
    trees = {}
    for topic in sorted(there):
        folder, _, last = topic.rpartition("/")
        trees[topic] = f"{folder}/tf" if last in ("tf", "tf_static") else topic
    for topic in tf:
        if topic not in there:
            raise BagError(f"no topic '{topic}' of type {TF}: give --tf one of {', '.join(sorted(there)) or 'none'}")
    wanted = {trees[topic] for topic in tf}
    return {topic: tree for topic, tree in trees.items() if not tf or tree in wanted}


def _refuse_shared(trees: Mapping[str, list[tuple[str, _Sample, bool]]], topics: list[str]) -> None:
    """Raises:
    BagError: two trees have the same frame, and not as the same fixed one.
    """
    owner: dict[str, str] = {}
    fixed: dict[str, _Sample | None] = {}  # of frames that are published as fixed, and always the same
    shared: dict[str, set[str]] = {}
    for tree, samples in trees.items():
        for child, sample, static in samples:
            known = fixed.setdefault(child, sample if static else None)
            if known is not None and not (static and known.agrees(sample)):
                fixed[child] = None
            if owner.setdefault(child, tree) != tree:
                shared.setdefault(child, {owner[child]}).add(tree)
    shared = {child: found for child, found in shared.items() if fixed[child] is None}
    if shared:
        names = sorted(shared)
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        raise BagError(
            f"{' and '.join(sorted(set().union(*shared.values())))} have the same frames "
            f"({', '.join(names[:_MAX_NAMES])}{more}): give --tf those that belong together, of {', '.join(topics)}"
        )


def _sample(header: Any, position: Any, turn: Any, log_ns: int, static: bool) -> _Sample | None:
    """A sample of a message; None of a tracker that has lost its object."""
    quaternion, place = (turn.x, turn.y, turn.z, turn.w), (position.x, position.y, position.z)
    length = math.hypot(*quaternion)
    if not (math.isfinite(length) and math.isfinite(math.hypot(*place)) and length > 0.5):
        return None
    stamp = nanoseconds_of(header.stamp)
    # Many publishers of fixed frames leave the stamp out: they hold from when they were recorded.
    return _Sample(
        stamp or (log_ns if static else 0), header.frame_id.lstrip("/"), place, tuple(x / length for x in quaternion)
    )
