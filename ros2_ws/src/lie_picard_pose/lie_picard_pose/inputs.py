"""Subscriptions of the node: whatever the parameters ask for, gathered into frames."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from lie_picard.node.pipeline import Frame
from lie_picard.node.settings import Settings
from lie_picard_pose.parameters import detection_type
from lie_picard_pose.sync import ApproximateSync


class Inputs:
    """Subscribes as the settings say and calls `on_frame` with each new frame. All callbacks share one group."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        on_image: Callable[[], None],
        on_frame: Callable[[Frame], None],
        complain: Callable[[str], None],
        before: Inputs | None = None,
    ) -> None:
        """Args:
        on_image: called with every image that arrives, whether or not it becomes a frame.
        before: closed ones, whose calibration and regions still hold.
        """
        self._node, self._on_image, self._on_frame, self._complain = node, on_image, on_frame, complain
        self._info: CameraInfo | None = before._info if before else None
        self._regions: dict[str, RegionOfInterest] = before._regions if before else {}
        self._by_topic = settings.regions_from == "topics"
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
        self._subscriptions: list[Subscription] = []
        try:
            # The images last: while the others are made, the first of them would wait, or lack its calibration.
            for kind, topic, callback in reversed(wanted):
                self._subscriptions.append(self._subscribe(kind, topic, callback))
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
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> Subscription:
        # rclpy changes the profile that it is given: a fresh one each.
        qos = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        events = SubscriptionEventCallbacks(incompatible_qos=lambda event: self._on_incompatible_qos(topic, event))
        return self._node.create_subscription(
            kind, topic, callback, qos,
            event_callbacks=events, qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )  # fmt: skip

    def _on_incompatible_qos(self, topic: str, event: Any) -> None:
        policy, name = qos_policy_name_from_kind(event.last_policy_kind), self._node.resolve_topic_name(topic)
        self._complain(
            f"a publisher on '{name}' offers an incompatible {policy}: change it there, "
            f"or set qos_overrides.{name}.subscription.{policy.lower()} here"
        )

    def _on_camera_info(self, info: CameraInfo) -> None:
        self._info = info

    def _on_message(self, role: str, message: Any) -> None:
        now, stamp = time.monotonic(), message.header.stamp
        if role == "image":
            self._on_image()
        found = self._sync.put(role, stamp.sec * 1_000_000_000 + stamp.nanosec, message)
        if role == "image" and (missing := self._sync.missing()):
            topics = " and ".join(f"'{self._node.resolve_topic_name(self._names[role])}'" for role in missing)
            self._complain(
                f"images arrive but nothing on {topics} yet: publish it, or change `regions_from` or `depth`"
            )
        if found is None:
            return
        if self._info is None:
            self._complain(
                f"images arrive but no camera_info yet: publish it on '{self._node.resolve_topic_name('camera_info')}' "
                "or remap that topic"
            )
            return
        regions = dict(self._regions) if self._by_topic else found.get("regions")
        self._on_frame(Frame(found["image"], self._info, regions, found.get("depth"), now))
