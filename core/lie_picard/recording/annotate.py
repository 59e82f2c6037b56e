"""The annotated recording: hypotheses, markers, transforms and pictures as an mcap that RViz and Foxglove open.

Topics are named as the node's, so the package's RViz configuration shows them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lie_picard.node import pictures
from lie_picard.node.frames import Frames, prefix_of
from lie_picard.node.markers import markers
from lie_picard.node.settings import Settings
from lie_picard.recording.message_types import types, writer
from lie_picard.recording.recorder import Recorder
from lie_picard.recording.scoring import Image

_TOPICS = {
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/pose_node/hypotheses": "lie_picard_msgs/msg/PoseHypothesisArray",
    "/pose_node/poses": "geometry_msgs/msg/PoseArray",
    "/pose_node/markers": "visualization_msgs/msg/MarkerArray",
    "/pose_node/overlay/compressed": "sensor_msgs/msg/CompressedImage",
    "/pose_node/distribution/compressed": "sensor_msgs/msg/CompressedImage",
}


class Annotation(Recorder):
    """Writes one annotated recording."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """`folder`: the rosbag2 to write, replaced where it exists."""
        super().__init__(folder, _TOPICS)
        self._settings, self._frames = settings, Frames(writer())

    def add(self, image: Image) -> None:
        """Write the next image's results."""
        if image.result is None or image.frame is None:
            return
        result, settings, t = image.result, self._settings, types()
        header = image.frame.image.header
        transforms, _ = self._frames.transforms(result.messages, settings.tf_modes, prefix_of(settings.tf_prefix))
        for name, pose in image.truth.items():
            true = writer().pose_of(pose[:3, :3], pose[:3, 3])
            transforms.append(writer().transform_stamped(header, f"truth/{name}", true))
        assert image.shot is not None
        overlay = pictures.overlay(image.shot, result, settings, image.truth)
        shown = pictures.distributions(result, image.truth)
        messages: list[tuple[str, Any]] = [
            ("/camera_info", image.frame.info),
            ("/tf", t.TFMessage(transforms=transforms)),
        ]
        messages += [("/pose_node/hypotheses", message) for message in result.messages + result.lost]
        messages += [
            ("/pose_node/poses", writer().sample_poses(header, result.poses)),
            ("/pose_node/markers", markers(writer(), header, result.messages, settings)),
            ("/pose_node/overlay/compressed", self._picture(header, overlay)),
            ("/pose_node/distribution/compressed", self._picture(header, shown)),
        ]
        for topic, message in messages:
            self.write(topic, image.done.log_ns, message)

    @staticmethod
    def _picture(header: Any, image: np.ndarray) -> Any:
        return types().CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=pictures.jpeg(image))
