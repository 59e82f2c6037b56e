"""What `lie-picard view --topic` shows of a running pose node: its newest image and hypotheses, in browsers.

Images and calibration are those that the node itself takes, unless other topics are named. Objects' sizes and
symmetries come from the node's `~/objects`, their meshes from what this machine knows by their names; others are balls.
"""

from __future__ import annotations

import time
import webbrowser
from collections import OrderedDict
from typing import Any

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lie_picard.estimation.poses import Target
from lie_picard.geometry.camera import CameraError
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.messages.images import ImageError
from lie_picard.messages.read import camera_of, check_size, nanoseconds_of, poses_of, symmetry_of, tracked_of
from lie_picard.node.pipeline import Absent, Result, Shot
from lie_picard.objects import Catalogue
from lie_picard.view.scene import scene
from lie_picard.view.server import SceneServer
from lie_picard_msgs.msg import ObjectInfoArray, PoseHypothesisArray
from lie_picard_pose import running
from lie_picard_pose.conversions import to_rgb

_KEPT = 60  # images that wait for their hypotheses
_LEAST_S = 0.1  # between two scenes: more are not seen
_KINDS = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_INFO = "sensor_msgs/msg/CameraInfo"
_NOT_IMAGE = "depth", "mask"


class LiveView(Node):
    """Gathers what belongs to one image and hands it to the server."""

    def __init__(
        self, topic: str, image: str, info: str, known: Catalogue, rectified: bool, server: SceneServer
    ) -> None:
        super().__init__("lie_picard_view")
        self._server, self._known, self._rectified = server, known, rectified
        self._wanted = {"image": image, "camera_info": info}
        self._pose_node, _, _ = self.resolve_topic_name(topic).rpartition("/")
        self._images: OrderedDict[int, Any] = OrderedDict()
        self._found: dict[str, PoseHypothesisArray] = {}  # of the newest image
        self._stamp = -1  # its stamp
        self._targets: list[Target] = []
        self._meshes: dict[str, Any] = {}
        self._symmetries: dict[str, Symmetry] = {}
        self._info: CameraInfo | None = None
        self._said: set[str] = set()
        self._shown_s = 0.0
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(ObjectInfoArray, f"{self._pose_node}/objects", self._on_objects, latched)
        self.create_subscription(PoseHypothesisArray, topic, self._on_hypotheses, QoSProfile(depth=50))
        self._looking = self.create_timer(0.5, self._look)
        self._complaining = self.create_timer(10.0, self._complain)

    def _look(self) -> None:
        """Subscribe to what the pose node takes, once it is there."""
        image, info, kind = self._wanted["image"], self._wanted["camera_info"], "sensor_msgs/msg/Image"
        namespace, _, name = self._pose_node.rpartition("/")
        try:
            taken = self.get_subscriber_names_and_types_by_node(name, namespace or "/")
        except rclpy.node.NodeNameNonExistentError:
            taken = []
        images = [(one, kinds[0]) for one, kinds in taken if kinds[0] in _KINDS]
        likely = [one for one in images if not any(word in one[0] for word in _NOT_IMAGE)] or images
        if image:
            kind = dict(self.get_topic_names_and_types()).get(self.resolve_topic_name(image), [kind])[0]
        elif likely:
            image, kind = likely[0]
        infos = [one for one, kinds in taken if kinds[0] == _INFO]
        info = info or (infos[0] if infos else "")
        if not (image and info) or kind not in _KINDS:
            return
        self._looking.cancel()
        self.get_logger().info(f"showing {image} with {info}")
        loose = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(_KINDS[kind], image, self._on_image, loose)
        self.create_subscription(CameraInfo, info, self._on_info, loose)

    def _complain(self) -> None:
        if self._shown_s:
            self._complaining.cancel()
            return
        if not self.count_publishers(f"{self._pose_node}/hypotheses"):
            why = f"nobody publishes {self._pose_node}/hypotheses: is the pose node running, in this ROS_DOMAIN_ID?"
        elif not self._targets:
            why = f"{self._pose_node}/objects tells of no object yet"
        elif not self._looking.is_canceled():
            why = f"{self._pose_node} takes no image yet: is it active? Or name --image and --camera-info"
        elif not self._images or self._info is None:
            why = "no image and camera_info have come yet: does the camera publish?"
        else:
            why = "no hypotheses have come yet for these images: see the node's /diagnostics"
        self._say(why)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.get_logger().warning(text)

    def _on_objects(self, message: ObjectInfoArray) -> None:
        targets, meshes, symmetries = [], {}, {}
        for one in message.objects:
            name = one.object_id
            targets.append(Target(name, one.diameter, model_object=one.model_object))
            symmetries[name] = symmetry_of(one)
            shape = self._known.find(one.model_object or name)
            if shape is not None:
                meshes[name] = shape.mesh(one.diameter)
        self._targets, self._meshes, self._symmetries = targets, meshes, symmetries
        self._found.clear()  # what was found under the old names

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_image(self, message: Any) -> None:
        self._images[nanoseconds_of(message.header.stamp)] = message
        while len(self._images) > _KEPT:
            self._images.popitem(last=False)

    def _on_hypotheses(self, message: PoseHypothesisArray) -> None:
        names, stamp = {one.object_id for one in self._targets}, nanoseconds_of(message.header.stamp)
        if message.object_id not in names:  # of an image that was taken before the objects changed
            return
        if stamp != self._stamp:
            self._finish()  # what has not come by now does not: detectors, say, tell only of what they see
            self._stamp = stamp
        self._found[message.object_id] = message
        if len(self._found) == len(names):
            self._finish()

    def _finish(self) -> None:
        """Show what was found in the newest image, unless another one has just been shown."""
        found, self._found = self._found, {}
        image = self._images.get(self._stamp)
        if not found or image is None or self._info is None or time.monotonic() - self._shown_s < _LEAST_S:
            return
        try:
            self._show(image, found)
            self._shown_s = time.monotonic()
        except (ImageError, CameraError, ValueError) as error:
            self._say(str(error))

    def _show(self, image: Any, found: dict[str, PoseHypothesisArray]) -> None:
        camera = camera_of(self._info, self._rectified)
        pixels = to_rgb(image)
        check_size(self._info, pixels.shape[1], pixels.shape[0])
        told = [found[one.object_id] for one in self._targets if one.object_id in found]
        there = [one for one in told if one.hypotheses]
        poses = [poses_of(one, self._symmetries[one.object_id]) for one in there]
        lost = sorted(set(found) - {one.object_id for one in there})
        missing = [Absent(name, found[name].presence, "") for name in lost]
        result = Result(poses, [tracked_of(one) for one in there], there, [], missing=missing)
        caption = f"{image.header.stamp.sec}.{image.header.stamp.nanosec // 1_000_000:03d} s"
        self._server.show(scene(Shot(pixels, camera), result, self._targets, self._meshes, caption=caption))


def run(
    topic: str, image: str, info: str, known: Catalogue, rectified: bool, host: str, port: int, browser: bool
) -> int:
    """Serve until a signal comes; the exit status. `browser`: open one.

    Raises:
        OSError: the port is taken. ValueError: there is no such port, or the topic is not one of a node's.
    """
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException:
        named = False
    else:
        named = "/" in topic.strip("/")  # the last part is left away to get the node's name
    if not named:
        raise ValueError(f"--topic '{topic}': give a pose node's, such as /pose_node/hypotheses")
    server = SceneServer(f"Lie-Picard: {topic}", host, port)

    def body() -> int:
        node = LiveView(topic, image, info, known, rectified, server)
        print(f"{server.address} shows {topic}; Ctrl-C ends it", flush=True)
        if browser:
            webbrowser.open(server.address)
        try:
            return running.spin(node)
        finally:
            node.destroy_node()

    try:
        return running.run("view", body)
    finally:
        server.close()
