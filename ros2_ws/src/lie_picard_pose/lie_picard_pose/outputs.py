"""Publishers of the node: hypotheses, sample poses, markers and TF, all with the image's header."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, PoseArray, TransformStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from lie_picard.poses import ObjectPoses
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose.conversions import pose_of, rotation_of, transform_of
from lie_picard_pose.parameters import Settings
from lie_picard_pose.tf import make_broadcaster

_AXES = (
    ColorRGBA(r=1.0, g=0.2, b=0.2, a=1.0),
    ColorRGBA(r=0.2, g=1.0, b=0.2, a=1.0),
    ColorRGBA(r=0.3, g=0.5, b=1.0, a=1.0),
)


class Outputs:
    """Publishes what was found in one image."""

    def __init__(self, node: Node) -> None:
        def publisher(kind: type, name: str) -> Publisher:
            # rclpy changes the profile that it is given: a fresh one each.
            overrides = QoSOverridingOptions.with_default_policies()
            return node.create_publisher(kind, name, QoSProfile(depth=10), qos_overriding_options=overrides)

        self._hypotheses = publisher(PoseHypothesisArray, "~/hypotheses")
        self._poses = publisher(PoseArray, "~/poses")
        self._markers = publisher(MarkerArray, "~/markers")
        self._broadcaster = make_broadcaster(node)

    def publish(
        self, header: Header, found: list[ObjectPoses], messages: list[PoseHypothesisArray], settings: Settings
    ) -> None:
        """Publish one image's results; pictures only where somebody looks."""
        for message in messages:
            self._hypotheses.publish(message)
        if settings.publish_tf:
            self._broadcaster.sendTransform(transforms(messages, settings.tf_modes))
        if self._poses.get_subscription_count():
            self._poses.publish(sample_poses(header, found))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(header, messages, settings))


def transforms(messages: list[PoseHypothesisArray], modes: int) -> list[TransformStamped]:
    """The best hypothesis as `<object_id>`, the leading ones as `<object_id>/mode_<id>`."""
    result = []
    for message in messages:
        best = message.hypotheses[0]
        named = [(message.object_id, best)]
        named += [(f"{message.object_id}/mode_{h.mode_id}", h) for h in message.hypotheses[:modes]]
        for frame, hypothesis in named:
            transform = TransformStamped(header=message.header, child_frame_id=frame)
            transform.transform = transform_of(hypothesis.pose.pose)
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
        name.text = f"{message.object_id}: {len(message.hypotheses)} modes, best {heaviest:.0%}"
        result.markers += [lines, name]
    return result


def _lifted(message: PoseHypothesisArray, size: float) -> dict[str, float]:
    p = message.hypotheses[0].pose.pose.position
    return {"x": p.x, "y": p.y - 0.7 * size, "z": p.z}
