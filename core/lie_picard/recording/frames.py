"""The images of a recording, each with the messages that belong to it, as the node would have gathered them.

Where the node takes what happened to arrive, here the choice is the recording's alone, so every run makes the same:
the last calibration and regions before the image, and depth, mask and detections with the nearest stamp.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from lie_picard.messages.read import nanoseconds_of
from lie_picard.node.pipeline import Frame
from lie_picard.node.settings import Settings
from lie_picard.recording.reader import Connection, Reader
from lie_picard.recording.stored import BagError

IMAGES = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
_ROI, _DETECTIONS = "sensor_msgs/msg/RegionOfInterest", "vision_msgs/msg/Detection2DArray"
_HIDDEN = "compressedDepth"  # a transport of depth images that is not read
_VIDEO = "image", "video", "packet"  # in the names of types that are no images, but might have been meant
_MARGIN_NS = 2_000_000_000  # how far from a span of time companions of its images are looked for


@dataclass(frozen=True)
class Topics:
    """Names of a recording's topics; empty where it is to be found out."""

    image: str = ""
    camera_info: str = ""
    depth: str = ""
    mask: str = ""
    detections: str = ""

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(field.name for field in fields(cls))


def resolve(reader: Reader, given: Topics, settings: Settings) -> Topics:
    """The topics that the settings need, all of them found.

    Raises:
        BagError: one is missing, or there are several and none was named.
    """
    image = _choose(reader, IMAGES, given.image, "image", avoid=("depth", "mask"))
    folder = image.removesuffix("/compressed").rpartition("/")[0]
    detections = ""
    if settings.regions_from == "detections":
        detections = _choose(reader, (_DETECTIONS,), given.detections, "detections")
        _check_detections(reader, detections)
    return Topics(
        image=image,
        camera_info=_choose(reader, (INFO,), given.camera_info, "camera_info", prefer=f"{folder}/camera_info"),
        depth=_choose(reader, IMAGES, given.depth, "depth", "depth", but=image) if settings.depth else "",
        mask=_choose(reader, IMAGES, given.mask, "mask", "mask", but=image) if settings.regions_from == "mask" else "",
        detections=detections,
    )


def _choose(
    reader: Reader,
    kinds: tuple[str, ...],
    given: str,
    what: str,
    prefer: str = "",
    avoid: tuple[str, ...] = (),
    but: str | None = None,
) -> str:
    names = sorted({c.topic for c in reader.connections if c.msgtype in kinds and c.msgcount})
    hidden = [name for name in names if name.endswith(_HIDDEN)]
    # The image, in both its forms, is never its own companion.
    other = None if but is None else but.removesuffix("/compressed")
    names = [name for name in names if name not in hidden and name.removesuffix("/compressed") != other]
    option = f"--{what.replace('_', '-')}"
    if given:
        if given in names:
            return given
        why = _reason(reader, given, hidden)
        raise BagError(f"no topic '{given}' of type {' or '.join(kinds)}{why}: give {option} one of "
                       f"{', '.join(names) or 'none'}")  # fmt: skip
    likely = [name for name in names if not any(word in name for word in avoid)]
    likely = [name for name in likely if name.removesuffix("/compressed") not in set(likely) - {name}]
    if prefer:
        likely = [n for n in likely if n == prefer] or [n for n in likely if prefer in n.split("/")] or likely
    if len(likely) == 1:
        return likely[0]
    if not names:
        passed = "; ".join(f"'{topic}'{_reason(reader, topic, hidden)}" for topic in _alike(reader, kinds, hidden))
        raise BagError(f"no topic of type {' or '.join(kinds)}: record the {what} too{passed and ' (passed over: '}"
                       f"{passed}{passed and ')'}")  # fmt: skip
    several = "several topics could be" if likely else "no topic is surely"
    raise BagError(f"{several} the {what}: give {option} one of {', '.join(names)}")


def _alike(reader: Reader, kinds: tuple[str, ...], hidden: list[str]) -> list[str]:
    """Topics that might have been meant, and cannot be read."""
    alike = [topic for topic, (kind, _) in reader.others.items() if kind in kinds or IMAGES[0] in kinds]
    if IMAGES[0] in kinds:
        alike += hidden + [c.topic for c in reader.connections if c.msgcount and c.msgtype not in IMAGES
                           and any(word in c.msgtype.lower() for word in _VIDEO)]  # fmt: skip
    return sorted(set(alike))


def _reason(reader: Reader, topic: str, hidden: list[str]) -> str:
    """Why a topic cannot be read, in brackets; empty where it is not there."""
    if topic in hidden:
        return " (compressedDepth is not read: record the raw topic)"
    if topic in reader.others:
        return " ({}: {})".format(*reader.others[topic])
    kinds = {c.msgtype for c in reader.connections if c.topic == topic}
    return f" (it is of type {', '.join(sorted(kinds))}, which is not read)" if kinds else ""


def _check_detections(reader: Reader, topic: str) -> None:
    """Raises:
    BagError: they are of a distribution before Humble, whose fields have other names.
    """
    fields = {kind: dict(parts) for kind, (_, parts) in reader.typestore.fielddefs.items()}
    named = "hypothesis" in fields.get("vision_msgs/msg/ObjectHypothesisWithPose", {})
    _, centre = fields.get("vision_msgs/msg/BoundingBox2D", {}).get("center", (None, None))
    if not (named and "position" in fields.get(str(centre), {})):
        raise BagError(
            f"the detections on {topic} are of a vision_msgs before 4.0 (ROS 2 Humble), whose fields have other names: "
            "convert them, or choose another regions_from"
        )


@dataclass(frozen=True)
class Seen:
    """An image of a recording.

    Attributes:
        log_ns: when it was recorded. frame: with what belongs to it. problem: why there is none.
        damaged: whether its bytes, or those of what belongs to it, are no message.
    """

    log_ns: int
    frame: Frame | None
    problem: str = ""
    damaged: bool = False

    @property
    def stamp_ns(self) -> int:
        """The image's own stamp, or where it cannot be told when it was recorded."""
        return self.log_ns if self.frame is None else nanoseconds_of(self.frame.image.header.stamp)


def frames(
    reader: Reader, topics: Topics, settings: Settings, start_ns: int | None = None, stop_ns: int | None = None
) -> Iterator[Seen]:
    """The images recorded in [start_ns, stop_ns), in order.

    Raises:
        Exception: whatever the storage raises where it was damaged since it was found; all images before it were given.
    """
    companions = _Companions(reader, topics, settings, start_ns, stop_ns)
    connections = [c for c in reader.connections if c.topic == topics.image]
    for connection, log_ns, data in reader.messages(connections, start=start_ns, stop=stop_ns):
        try:
            image: Any = reader.deserialize(data, connection.msgtype)
        except ValueError as error:
            yield Seen(log_ns, None, f"cannot be read: {error}", damaged=True)
            continue
        yield companions.join(image, log_ns)


class _Companions:
    """What was recorded around a span of time, besides the images."""

    def __init__(
        self, reader: Reader, topics: Topics, settings: Settings, start_ns: int | None, stop_ns: int | None
    ) -> None:
        self._reader, self._settings = reader, settings
        self._span = (
            None if start_ns is None else max(0, start_ns - _MARGIN_NS),
            None if stop_ns is None else stop_ns + _MARGIN_NS,
        )
        self._infos = self._logged(topics.camera_info, stop_ns)
        names = [t.object_id for t in settings.targets] if settings.regions_from == "topics" else []
        self._by_topic = bool(names)
        self._regions = {name: self._logged(self._region_topic(name), stop_ns) for name in names}
        self._depth = self._stamped(topics.depth)
        self._masks = self._stamped(topics.mask or topics.detections)

    def join(self, image: Any, log_ns: int) -> Seen:
        """The image with its companions."""
        try:
            return self._join(image, log_ns)
        except ValueError as error:
            return Seen(log_ns, None, f"what belongs to it cannot be read: {error}", damaged=True)

    def _join(self, image: Any, log_ns: int) -> Seen:
        info = self._infos.before(log_ns)
        if info is None:
            return Seen(log_ns, None, "no camera_info: record it together with the images")
        stamp, tolerance = nanoseconds_of(image.header.stamp), round(self._settings.sync_tolerance * 1e9)
        regions: Any = None
        if self._by_topic:
            given = {name: found.before(log_ns, wait=False) for name, found in self._regions.items()}
            regions = {name: roi for name, roi in given.items() if roi is not None}
        elif self._masks is not None:
            regions = self._masks.nearest(stamp, tolerance)
            if regions is None:
                return Seen(log_ns, None, f"no {self._settings.regions_from} within sync_tolerance of the image")
        depth = None if self._depth is None else self._depth.nearest(stamp, tolerance)
        if self._depth is not None and depth is None:
            return Seen(log_ns, None, "no depth image within sync_tolerance of the image")
        return Seen(log_ns, Frame(image, info, regions, depth))

    def _region_topic(self, name: str) -> str:
        topics = sorted({c.topic for c in self._reader.connections if c.msgtype == _ROI})
        found = [topic for topic in topics if topic.split("/")[-2:] == ["region", name]]
        if not found:
            raise BagError(f"no topic region/{name} of type {_ROI}: record it, or choose another regions_from")
        return found[0]

    def _logged(self, topic: str, stop_ns: int | None) -> _Logged:
        connections = [c for c in self._reader.connections if c.topic == topic]
        start = self._span[0]
        messages = list(self._reader.messages(connections, start=start, stop=stop_ns))
        if start is not None and (before := self._reader.last(connections, start)) is not None:
            messages.insert(0, before)  # latched long before, or published seldom
        if not messages:  # not published before the first images
            messages = list(itertools.islice(self._reader.messages(connections), 1))
        return _Logged(self._reader, messages)

    def _stamped(self, topic: str) -> _Stamped | None:
        if not topic:
            return None
        connections = [c for c in self._reader.connections if c.topic == topic]
        pairs = []
        for connection, _, data in self._reader.messages(connections, start=self._span[0], stop=self._span[1]):
            with contextlib.suppress(ValueError):  # a message that is none belongs to no image
                message = self._reader.deserialize(data, connection.msgtype)
                pairs.append((nanoseconds_of(message.header.stamp), message))
        return _Stamped(sorted(pairs, key=lambda pair: pair[0]))


class _Logged:
    """Messages by when they were recorded."""

    def __init__(self, reader: Reader, messages: list[tuple[Connection, int, bytes]]) -> None:
        self._reader, self._messages = reader, messages
        self._log_ns = [log_ns for _, log_ns, _ in messages]
        self._read: dict[int, Any] = {}

    def before(self, log_ns: int, wait: bool = True) -> Any:
        """The last one up to a time; where there is none and `wait`, the first one after it.

        Raises:
            ValueError: it cannot be read.
        """
        index = bisect.bisect_right(self._log_ns, log_ns) - 1
        if index < 0:
            if not (wait and self._messages):
                return None
            index = 0
        if index not in self._read:
            connection, _, data = self._messages[index]
            self._read = {index: self._reader.deserialize(data, connection.msgtype)}
        return self._read[index]


class _Stamped:
    """Messages by their stamps."""

    def __init__(self, pairs: list[tuple[int, Any]]) -> None:
        self._stamps, self._messages = [stamp for stamp, _ in pairs], [message for _, message in pairs]

    def nearest(self, stamp: int, tolerance: int) -> Any:
        """The one with the nearest stamp, if that is near enough."""
        index = bisect.bisect_left(self._stamps, stamp)
        near = [k for k in (index - 1, index) if 0 <= k < len(self._stamps)]
        best = min(near, key=lambda k: abs(self._stamps[k] - stamp), default=None)
        return None if best is None or abs(self._stamps[best] - stamp) > tolerance else self._messages[best]
