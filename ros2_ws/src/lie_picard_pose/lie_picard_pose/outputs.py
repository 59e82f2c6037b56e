"""Publishers of the node: hypotheses, sample poses, markers and TF, all with the image's header."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseArray, TransformStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from lie_picard.poses import ObjectPoses
from lie_picard_msgs.msg import ObjectInfo, ObjectInfoArray, PoseHypothesisArray
from lie_picard_pose import detections_3d
from lie_picard_pose.conversions import pose_of, rotation_of, transform_of
from lie_picard_pose.parameters import Settings
from lie_picard_pose.pipeline import Result
from lie_picard_pose.tf import make_broadcaster

_AXES = (
    ColorRGBA(r=1.0, g=0.2, b=0.2, a=1.0),
    ColorRGBA(r=0.2, g=1.0, b=0.2, a=1.0),
    ColorRGBA(r=0.3, g=0.5, b=1.0, a=1.0),
)


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
        self._markers = publisher(MarkerArray, "~/markers")
        self._objects = publisher(ObjectInfoArray, "~/objects", depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self._detections = (
            publisher(detections_3d.Detection3DArray, "~/detections") if detections_3d.available else None
        )
        self._broadcaster = make_broadcaster(node)
        self._announced: ObjectInfoArray | None = None

    def announce(self, objects: list[ObjectInfo], stamp: Time) -> None:
        """What is looked for, latched; sent again only when it changes."""
        if self._announced is None or self._announced.objects != objects:
            self._announced = ObjectInfoArray(objects=objects)
            self._announced.header.stamp = stamp
            self._objects.publish(self._announced)

    def publish(self, header: Header, result: Result, settings: Settings) -> None:
        """Publish one image's results; pictures only where somebody looks."""
        for message in result.messages + result.lost:
            self._hypotheses.publish(message)
        if settings.publish_tf and result.messages:
            self._broadcaster.sendTransform(transforms(result.messages, settings.tf_modes, settings.tf_prefix))
        if self._poses.get_subscription_count():
            self._poses.publish(sample_poses(header, result.poses))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(header, result.messages, settings))
        if self._detections is not None and self._detections.get_subscription_count():
            self._detections.publish(detections_3d.array_of(header, result.messages, settings))

    def close(self) -> None:
        """End the publishers."""
        for publisher in (self._hypotheses, self._poses, self._markers, self._objects, self._detections):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        self._broadcaster.close()


def transforms(messages: list[PoseHypothesisArray], modes: int, prefix: str = "") -> list[TransformStamped]:
    """The pose that is followed as `<object_id>`, the leading ones as `<object_id>/mode_<id>`."""
    result = []
    for message in messages:
        named = [(message.object_id, message.best)]
        named += [(f"{message.object_id}/mode_{h.mode_id}", h.pose) for h in message.hypotheses[:modes]]
        for frame, pose in named:
            transform = TransformStamped(header=message.header, child_frame_id=prefix + frame)
            transform.transform = transform_of(pose.pose)
            result.append(transform)
    return result


def sample_poses(header: Header, found: list[ObjectPoses]) -> PoseArray:
    """Every sample of every object as a pose."""
    poses: list[Pose] = []
    for one in found:
        poses += [pose_of(rotation, one.position) for rotation in one.hypotheses.rotations.double().numpy()]
    return PoseArray(header=header, poses=poses)


def markers(header: Header, messages: list[PoseHypothesisArray], settings: Settings) -> MarkerArray:
    """One LINE_LIST of axes an object (many markers stall RViz), each mode as opaque as its weight, and the name."""
    # Objects that are no longer looked for must not stay in the picture.
    result = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    diameters = {target.object_id: target.diameter for target in settings.targets}
    for index, message in enumerate(messages):
        size = diameters[message.object_id]
        lines = Marker(header=header, ns="modes", id=index, type=Marker.LINE_LIST, action=Marker.ADD)
        lines.scale.x = 0.02 * size
        lines.pose.orientation.w = 1.0
        heaviest = message.hypotheses[0].weight
        for hypothesis in message.hypotheses:
            pose, alpha = hypothesis.pose.pose, max(0.1, hypothesis.weight / heaviest)
            tips = rotation_of(pose.orientation).T * (0.7 * size)
            for tip, colour in zip(tips, _AXES, strict=True):
                p = pose.position
                lines.points += [p, Point(x=p.x + tip[0], y=p.y + tip[1], z=p.z + tip[2])]
                lines.colors += [ColorRGBA(r=colour.r, g=colour.g, b=colour.b, a=alpha)] * 2
        name = Marker(header=header, ns="names", id=index, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
        name.pose.position = Point(**_lifted(message, size))
        name.pose.orientation.w = 1.0
        name.scale.z = 0.2 * size
        name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        name.text = f"{message.object_id}: {len(message.hypotheses)} modes, heaviest {heaviest:.0%}"
        result.markers += [lines, name]
    return result


def _lifted(message: PoseHypothesisArray, size: float) -> dict[str, float]:
    p = message.hypotheses[0].pose.pose.position
    return {"x": p.x, "y": p.y - 0.7 * size, "z": p.z}
