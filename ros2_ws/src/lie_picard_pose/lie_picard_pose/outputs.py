"""Publishers of the node: hypotheses, sample poses, markers and TF, all with the image's header."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseArray
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from lie_picard.node import pictures
from lie_picard.node.frames import Frames, prefix_of
from lie_picard.node.markers import markers
from lie_picard.node.pipeline import Frame, Result
from lie_picard.node.settings import Settings
from lie_picard_msgs.msg import ObjectInfo, ObjectInfoArray, PoseHypothesisArray
from lie_picard_pose import detections_3d
from lie_picard_pose.conversions import WRITER, image_of
from lie_picard_pose.tf_broadcaster import make_broadcaster


class Outputs:
    """Publishes what was found in one image."""

    def __init__(self, node: Node) -> None:
        self._node = node

        def publisher(kind: type, name: str, **profile: Any) -> Publisher:
            # rclpy changes the profile that it is given: a fresh one each.
            overrides, qos = QoSOverridingOptions.with_default_policies(), QoSProfile(**({"depth": 10} | profile))
            return node.create_publisher(kind, name, qos, qos_overriding_options=overrides)

        self._hypotheses = publisher(PoseHypothesisArray, "~/hypotheses")
        self._poses = publisher(PoseArray, "~/poses")
        self._predicted = publisher(Odometry, "~/predicted")
        self._markers = publisher(MarkerArray, "~/markers")
        self._objects = publisher(ObjectInfoArray, "~/objects", depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self._overlay = publisher(Image, "~/overlay", depth=1)
        self._distribution = publisher(Image, "~/distribution", depth=1)
        self._detections = (
            publisher(detections_3d.Detection3DArray, "~/detections") if detections_3d.available else None
        )
        self._broadcaster = make_broadcaster(node)
        self._frames = Frames(WRITER)
        self._announced: ObjectInfoArray | None = None

    def announce(self, objects: list[ObjectInfo], stamp: Time) -> None:
        """What is looked for, latched; sent again only when it changes."""
        if self._announced is None or self._announced.objects != objects:
            self._announced = ObjectInfoArray(objects=objects)
            self._announced.header.stamp = stamp
            self._objects.publish(self._announced)

    def publish(self, frame: Frame, result: Result, settings: Settings) -> list[str]:
        """Publish one image's results; what is only to be looked at is made only where somebody looks, and last.

        Returns:
            What could not be published, and why, one line each.
        """
        header = frame.image.header
        for message in result.messages + result.lost:
            self._hypotheses.publish(message)
        prefix = prefix_of(settings.tf_prefix, self._node.get_namespace())
        for message in result.predicted:
            message.child_frame_id = prefix + message.child_frame_id  # the object's frame as TF has it
            self._predicted.publish(message)
        complaints: list[str] = []
        if settings.publish_tf and result.messages:
            transforms, complaints = self._frames.transforms(result.messages, settings.tf_modes, prefix)
            transforms += self._frames.predicted(result.predicted)
            if transforms:
                self._broadcaster.sendTransform(transforms)
        if self._poses.get_subscription_count():
            self._poses.publish(WRITER.sample_poses(header, result.poses))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(WRITER, header, result.messages, settings))
        if self._detections is not None and self._detections.get_subscription_count():
            self._detections.publish(detections_3d.array_of(header, result.messages, settings))
        if self._overlay.get_subscription_count():
            assert result.shot is not None
            self._overlay.publish(image_of(header, pictures.overlay(result.shot, result, settings)))
        if self._distribution.get_subscription_count():
            self._distribution.publish(image_of(header, pictures.distributions(result)))
        return complaints

    def close(self) -> None:
        """End the publishers."""
        looked_at = self._poses, self._markers, self._overlay, self._distribution, self._detections
        for publisher in (self._hypotheses, self._predicted, self._objects, *looked_at):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        self._broadcaster.close()
