"""The annotated recording: hypotheses, markers, transforms and pictures as an mcap that RViz and Foxglove open.

Topics are named as the node's, so the package's RViz configuration shows them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

from lie_picard.messages import pictures
from lie_picard.messages.images import to_rgb
from lie_picard.messages.markers import markers
from lie_picard.messages.read import camera_of
from lie_picard.recording.evaluate import Image, Recording
from lie_picard.recording.types import serialise, types, typestore, writer
from lie_picard.settings import Settings

_TOPICS = {
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/pose_node/hypotheses": "lie_picard_msgs/msg/PoseHypothesisArray",
    "/pose_node/poses": "geometry_msgs/msg/PoseArray",
    "/pose_node/markers": "visualization_msgs/msg/MarkerArray",
    "/pose_node/overlay/compressed": "sensor_msgs/msg/CompressedImage",
    "/pose_node/distribution/compressed": "sensor_msgs/msg/CompressedImage",
}


class Annotation:
    """Writes one annotated recording; its folder appears when it is closed without an exception."""

    def __init__(self, folder: Path, recording: Recording, settings: Settings) -> None:
        """`folder`: the rosbag2 to write, replaced where it exists."""
        self._folder, self._settings = folder, settings
        self._topics = recording.topics

    def __enter__(self) -> Annotation:
        # The writer names its file after the folder, so the folder has its final name from the start, elsewhere.
        self._workshop = Path(tempfile.mkdtemp(dir=self._folder.parent, prefix=".annotating-"))
        self._writer = Writer(self._workshop / self._folder.name, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections = {
            topic: self._writer.add_connection(topic, kind, typestore=typestore()) for topic, kind in _TOPICS.items()
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if kind is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.replace(self._workshop / self._folder.name, self._folder)
        shutil.rmtree(self._workshop, ignore_errors=True)

    def add(self, image: Image) -> None:
        """Write the next image's results."""
        if image.result is None or image.frame is None:
            return
        result, settings, t = image.result, self._settings, types()
        header = image.frame.image.header
        transforms = writer().transforms(result.messages, settings.tf_modes, settings.tf_prefix)
        for name, pose in image.truth.items():
            place = writer().transform_of(writer().pose_of(pose[:3, :3], pose[:3, 3]))
            transforms.append(t.TransformStamped(header=header, child_frame_id=f"truth/{name}", transform=place))
        camera = camera_of(image.frame.info, settings.rectified)
        overlay = pictures.overlay(to_rgb(image.frame.image), camera, result, settings, image.truth)
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
            self._writer.write(self._connections[topic], image.done.log_ns, serialise(message))

    @staticmethod
    def _picture(header: Any, image: np.ndarray) -> Any:
        return types().CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=pictures.jpeg(image))
