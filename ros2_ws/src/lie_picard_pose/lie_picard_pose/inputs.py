"""Subscriptions of the node: whatever the parameters ask for, gathered into frames."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSReliabilityPolicy, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from lie_picard.messages.read import nanoseconds_of
from lie_picard.node.pipeline import Frame
from lie_picard.node.settings import Settings
from lie_picard.recording.message_types import typestore
from lie_picard_pose import qos
from lie_picard_pose.monitor import Monitor
from lie_picard_pose.parameters import detection_type
from lie_picard_pose.sync import ApproximateSync

_LARGE = {Image: "sensor_msgs/msg/Image", CompressedImage: "sensor_msgs/msg/CompressedImage"}
_LOOK_S = 0.02  # after a publisher came: for others that come with it
_INFOS = 30  # a second of a camera's
_GRACE_S = 2.0  # for what belongs to the first images and comes less often than they do


@dataclass
class _Input:
    """A subscription, and what was offered on its topic when it was made."""

    kind: type
    topic: str
    callback: Callable[[Any], None]
    offer: qos.Offer
    subscription: Subscription


class Inputs:
    """Subscribes as the settings say and calls `on_frame` with each new frame. All callbacks share one group."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        monitor: Monitor,
        on_frame: Callable[[Frame], None],
        complain: Callable[[str], None],
        before: Inputs | None = None,
    ) -> None:
        """Args:
        monitor: is told of every image that arrives, whether or not it becomes a frame.
        before: closed ones, whose calibration and regions still hold.
        """
        self._node, self._monitor, self._on_frame, self._complain = node, monitor, on_frame, complain
        self._began = self._matched = time.monotonic()
        self._info: CameraInfo | None = before._info if before else None
        self._infos: dict[int, CameraInfo] = {}  # by their stamps: those that an image may still belong to
        self._by_topic = settings.regions_from == "topics"
        self._regions: dict[str, RegionOfInterest] = {}
        if before is not None and self._by_topic and before._by_topic:
            known = {target.object_id for target in settings.targets}
            self._regions = {name: region for name, region in before._regions.items() if name in known}
        self.image_topic = "image" if settings.transport == "raw" else "image/compressed"
        topics: dict[str, type] = {"image": Image if settings.transport == "raw" else CompressedImage}
        if settings.depth:
            topics["depth"] = Image
        if settings.regions_from == "mask":
            topics["regions"] = Image
        elif settings.regions_from == "detections":
            topics["regions"] = detection_type()  # type: ignore[assignment]  # checked with the parameters
        self._sync = ApproximateSync(list(topics), settings.sync_tolerance)
        self._names = {"image": self.image_topic, "regions": settings.regions_from, "depth": "depth"}
        wanted: list[tuple[type, str, Callable[[Any], None]]]
        wanted = [(kind, self._names[role], functools.partial(self._on_message, role)) for role, kind in topics.items()]
        wanted.append((CameraInfo, "camera_info", self._on_camera_info))
        if self._by_topic:
            for target in settings.targets:
                take = functools.partial(self._regions.__setitem__, target.object_id)
                wanted.append((RegionOfInterest, f"region/{target.object_id}", take))
        self._inputs: list[_Input] = []
        self._told: set[tuple[bytes, int]] = set()  # publishers that are not heard, and why
        # Not in the event itself, whose subscription may have to go.
        self._looker = node.create_timer(_LOOK_S, self.follow_publishers, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._looker.cancel()
        try:
            # The images last: while the others are made, the first of them would wait, or lack its calibration.
            for kind, topic, callback in reversed(wanted):
                offer = qos.Offer.on(node, topic)
                self._inputs.append(_Input(kind, topic, callback, offer, self._subscribe(kind, topic, callback, offer)))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def needs(settings: Settings) -> tuple[Any, ...]:
        """The settings that other subscriptions follow from."""
        names = tuple(t.object_id for t in settings.targets) if settings.regions_from == "topics" else ()
        return settings.regions_from, settings.transport, settings.depth, settings.sync_tolerance, names

    def clear(self) -> None:
        """Forget what has not become a frame yet."""
        self._sync.clear()

    def close(self) -> None:
        """End the subscriptions."""
        for one in self._inputs:
            self._node.destroy_subscription(one.subscription)
        self._inputs.clear()
        self._node.destroy_timer(self._looker)

    def follow_publishers(self) -> None:
        """Subscribe anew where the publishers offer something else than when it was done."""
        self._looker.cancel()
        for one in self._inputs:
            publishers = self._node.get_publishers_info_by_topic(one.subscription.topic_name)
            offer = qos.Offer.of(publishers)
            if publishers and offer != one.offer:
                self._node.destroy_subscription(one.subscription)
                one.subscription = self._subscribe(one.kind, one.topic, one.callback, offer)
                one.offer = offer
            # Not by the event, which is lost where the subscription is made anew while it is on its way.
            for endpoint, policy in qos.lacking(one.subscription.qos_profile, publishers):
                if (endpoint, policy) not in self._told:
                    self._told.add((endpoint, policy))
                    self._tell_of(one.topic, policy)

    def quality(self) -> dict[str, str]:
        """Quality of service of each topic, in words."""
        found = {}
        for one in self._inputs:
            profile = one.subscription.qos_profile
            words = "reliable" if profile.reliability == QoSReliabilityPolicy.RELIABLE else "best effort"
            if profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL:
                words += ", transient local"
            found[one.subscription.topic_name] = words
        return found

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], offer: qos.Offer) -> Subscription:
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda _: self._looker.reset(), matched=lambda _: self._looker.reset()
        )
        large = kind in _LARGE
        return self._node.create_subscription(
            kind, topic, functools.partial(self._on_bytes, _LARGE[kind], callback) if large else callback,
            qos.profile(), raw=large, event_callbacks=events, qos_overriding_options=qos.following(offer),
        )  # fmt: skip

    def _on_bytes(self, kind: str, callback: Callable[[Any], None], data: bytes) -> None:
        """rclpy copies an image twice to make its message, 2 ms for 640 x 480; here its bytes stay where they are."""
        try:
            message: Any = typestore().deserialize_cdr(data, kind)
        except Exception as error:  # whatever the bytes are, the node lives
            self._monitor.count("rejected")
            self._complain(f"a message of type {kind} cannot be read: {' '.join(str(error).split())}")
            return
        stamp = message.header.stamp
        message.header = Header(stamp=Time(sec=stamp.sec, nanosec=stamp.nanosec), frame_id=message.header.frame_id)
        callback(message)

    def _tell_of(self, topic: str, kind: int) -> None:
        policy, name = qos_policy_name_from_kind(kind), self._node.resolve_topic_name(topic)
        self._complain(
            f"a publisher on '{name}' offers an incompatible {policy}: change it there, "
            f"or set qos_overrides.{name}.subscription.{policy.lower()} here"
        )

    def _on_camera_info(self, info: CameraInfo) -> None:
        stamp = nanoseconds_of(info.header.stamp)
        self._info = self._infos[stamp] = info
        while len(self._infos) > _INFOS:
            del self._infos[next(iter(self._infos))]
        self._monitor.info(stamp)

    def _on_message(self, role: str, message: Any) -> None:
        now, stamp = time.monotonic(), nanoseconds_of(message.header.stamp)
        if role == "image":
            self._monitor.image(stamp)
        found = self._sync.put(role, stamp, message)
        if self._sync.late:
            self._monitor.count("outdated")
            self._complain(f"messages on '{self._node.resolve_topic_name(self._names[role])}' come out of order: those "
                           "that are late are left out")  # fmt: skip
            return
        missing = self._sync.missing() if role == "image" else []
        if missing:
            topics = " and ".join(f"'{self._node.resolve_topic_name(self._names[role])}'" for role in missing)
            self._complain_of_want(
                f"images arrive but nothing on {topics} yet: publish it, or change `regions_from` or `depth`"
            )
        if found is None:
            if role == "image" and not missing and now - self._matched > _GRACE_S:
                others = " and ".join(f"'{self._names[other]}'" for other in self._sync.others)
                self._complain_of_want(
                    f"no {others} within sync_tolerance of the images' stamps: raise it, or see that both are stamped "
                    "with the time at which the image was taken"
                )
            return
        self._matched = now
        if self._info is None:
            self._complain_of_want(
                f"images arrive but no camera_info yet: publish it on '{self._node.resolve_topic_name('camera_info')}' "
                "or remap that topic"
            )
            return
        image = found["image"]
        info = self._infos.get(nanoseconds_of(image.header.stamp), self._info)  # a zoom or a window may move
        if (theirs := info.header.frame_id) and (ours := image.header.frame_id) and theirs != ours:
            self._complain(f"the image is of frame '{ours}', its camera_info of '{theirs}': is it another camera's?")
        regions = dict(self._regions) if self._by_topic else found.get("regions")
        self._on_frame(Frame(image, info, regions, found.get("depth"), now))

    def _complain_of_want(self, message: str) -> None:
        self._monitor.count("incomplete")
        if time.monotonic() - self._began > _GRACE_S:
            self._complain(message)
