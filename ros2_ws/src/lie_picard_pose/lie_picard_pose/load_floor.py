"""What the load test measures the pose node against: a node that only receives images, or computes the least besides.

Started by `load_test` in the node's place, under its name. It answers each image with an empty message of its stamp.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Callable

import torch
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lie_picard import PoseEstimator, so3
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose import qos
from lie_picard_pose.running import run, spin


def least_work(samples: int) -> Callable[[], None]:
    """The encoder for one image and as many calls of the head as the sampler has steps, without all that is between."""
    estimator = PoseEstimator.from_checkpoint("default", "cpu")
    size = estimator.config.image_size
    image, rotations = torch.zeros(1, size, size, 3, dtype=torch.uint8), so3.uniform(samples)

    def work() -> None:
        encoded = estimator.encode(image, [None])
        for level in encoded.plan.scheme.level[:, None].expand(-1, samples):
            encoded.score(rotations, level)

    return work


class Floor(Node):
    """Answers images in the callback itself."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__("pose_node")
        self._work = work
        self._publisher = self.create_publisher(PoseHypothesisArray, "~/hypotheses", QoSProfile(depth=10))
        self.create_subscription(
            Image, "image", self._on_image, qos.profile(), raw=True, qos_overriding_options=qos.following(qos.Offer())
        )

    def _on_image(self, data: bytes) -> None:
        seconds, nanoseconds = struct.unpack_from("<iI", data, 4)  # CDR: four bytes, then the stamp
        self._work()
        self._publisher.publish(PoseHypothesisArray(header=Header(stamp=Time(sec=seconds, nanosec=nanoseconds))))


def main() -> int:
    """Entry point of the executable `load_floor`."""
    parser = argparse.ArgumentParser(prog="load_floor", description=__doc__)
    parser.add_argument("--samples", type=int, default=0, help="rotations in each call of the head; 0: compute nothing")
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    work = least_work(args.samples) if args.samples else lambda: None
    work()
    return run("load_floor", lambda: spin(Floor(work)))


if __name__ == "__main__":
    sys.exit(main())
