"""Records topics as an mcap, for `lie-picard evaluate-bag`: your robot's camera with true poses, or a node's results.

    ros2 run lie_picard_pose bag_recorder my_bag --topics /camera/image_raw /camera/camera_info /tf /tf_static

It records until Ctrl-C, says meanwhile what is missing, and at the end what there is and how to score it.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python import PackageNotFoundError, get_package_share_directory
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.utilities import remove_ros_args
from rosbags.typesys import get_types_from_msg

from lie_picard.recording.frames import IMAGES, INFO
from lie_picard.recording.message_types import typestore
from lie_picard.recording.recorder import Recorder
from lie_picard.recording.truth import POSES, TF
from lie_picard_pose.bag_player import message_class
from lie_picard_pose.running import run

_LOOK_S, _SAY_S, _SETTLE_S, _PATIENCE_S = 0.2, 5.0, 2.0, 120.0
_RESULTS = "lie_picard_msgs/msg/PoseHypothesisArray"


class BagRecorder(Node):
    """Writes every message of some topics as it comes, whatever their type and quality of service."""

    def __init__(self, recorder: Recorder, topics: list[str], until: str) -> None:
        """`until`: a topic that ends the recording when nobody publishes on it any more; empty: Ctrl-C ends it."""
        super().__init__("bag_recorder")
        self._recorder, self._wanted, self._until = recorder, topics, until
        self.kinds: dict[str, str] = {}
        self.counts: dict[str, int] = defaultdict(int)
        self._seen_player, self._last = False, time.monotonic()

    def record(self) -> int:
        """Record to the end. Returns the exit status."""
        looked, said = 0.0, time.monotonic()
        while rclpy.ok():
            try:
                rclpy.spin_once(self, timeout_sec=_LOOK_S)
            except ExternalShutdownException:  # Ctrl-C
                break
            now = time.monotonic()
            if now - looked > _LOOK_S:
                looked = now
                self._subscribe()
                if self._over(now):
                    break
            if now - said > _SAY_S:
                said = now
                silent = [topic for topic in self._wanted if not self.counts[topic]]
                if silent:
                    self.get_logger().warning(f"nothing on {', '.join(silent)} yet: is the name right?")
        return 0

    def _over(self, now: float) -> bool:
        if not self._until:
            return False
        publishers = self.count_publishers(self._until)
        self._seen_player |= publishers > 0
        if publishers:
            self._last = max(self._last, now)
        if not self._seen_player and now - self._last > _PATIENCE_S:
            raise ValueError(f"nobody has published on {self._until} for {_PATIENCE_S:.0f} s: is the name right?")
        return self._seen_player and not publishers and now - self._last > _SETTLE_S

    def _subscribe(self) -> None:
        """To the topics that have appeared, with what their publishers offer."""
        missing = [topic for topic in self._wanted if topic not in self.kinds]
        known = dict(self.get_topic_names_and_types()) if missing else {}
        for topic in missing:
            offers = self.get_publishers_info_by_topic(topic)
            if topic not in known or not offers:
                continue
            kind = known[topic][0]
            self._register(kind)
            reliable = all(o.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE for o in offers)
            latched = all(o.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for o in offers)
            qos = QoSProfile(
                depth=100,
                reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
                durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE,
            )
            self._recorder.add_topic(topic, kind)
            self.kinds[topic] = kind
            self.create_subscription(message_class(kind), topic, functools.partial(self._write, topic), qos, raw=True)

    def _write(self, topic: str, data: bytes) -> None:
        self.counts[topic] += 1
        self._last = time.monotonic()
        self._recorder.write_raw(topic, self.get_clock().now().nanoseconds, data)

    @staticmethod
    def _register(kind: str) -> None:
        """Types that come with neither ROS' common interfaces nor this project, such as vision_msgs'."""
        store = typestore()
        waiting = [kind]
        while waiting:
            name = waiting.pop()
            if name in store.types:
                continue
            package, _, message = name.split("/")
            try:
                text = (Path(get_package_share_directory(package)) / "msg" / f"{message}.msg").read_text()
            except (PackageNotFoundError, OSError):
                raise ValueError(
                    f"the definition of {name} is not installed: install its package, or leave it out"
                ) from None
            types = get_types_from_msg(text, name)
            store.register(types)
            fields = getattr(importlib.import_module(f"{package}.msg"), message).get_fields_and_field_types().values()
            for field in fields:
                inner = field.removeprefix("sequence<").split("[")[0].split(">")[0].split(",")[0]
                if "/" in inner and "/msg/" not in inner:
                    waiting.append(inner.replace("/", "/msg/"))


def verdict(folder: Path, kinds: dict[str, str], counts: dict[str, int], seconds: float) -> list[str]:
    """What was recorded, and whether it can be scored."""
    lines = [
        f"{topic}: {counts[topic]} messages, {counts[topic] / max(seconds, 1e-9):.1f} Hz" for topic in sorted(kinds)
    ]
    there = {kind for topic, kind in kinds.items() if counts[topic]}
    needed = {"images": IMAGES, "camera_info": (INFO,), "true poses (TF, or a topic of poses)": (TF, *POSES)}
    missing = [what for what, any_of in needed.items() if there.isdisjoint(any_of)]
    if _RESULTS in there and there.isdisjoint(IMAGES):
        lines.append(f"score it: lie-picard evaluate-bag RECORDING --results {folder} --params ... --output report")
    elif missing:
        lines.append(f"to score it, record too: {', '.join(missing)}")
    else:
        lines.append(f"score it: lie-picard evaluate-bag {folder} --params my_objects.yaml --output report")
    return lines


def main() -> int:
    """Entry point of the executable `bag_recorder`."""
    parser = argparse.ArgumentParser(prog="bag_recorder", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("folder", type=Path, help="rosbag2 folder to write")
    parser.add_argument("--topics", nargs="+", required=True, help="what to record")
    parser.add_argument("--until-silent", default="", metavar="TOPIC", help="end when nobody publishes there any more")
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    if args.folder.exists():
        print(f"bag_recorder: {args.folder} exists: give another folder, or remove it", file=sys.stderr)
        return 2
    # Names without a slash are in the root namespace, as `ros2 topic list` shows them.
    topics = [topic if topic.startswith("/") else f"/{topic}" for topic in args.topics]
    began = time.monotonic()
    nodes: list[Any] = []

    def record() -> int:
        with Recorder(args.folder, {}, at_once=True) as recorder:
            nodes.append(BagRecorder(recorder, topics, args.until_silent))
            return nodes[0].record()

    status = run("bag_recorder", record)
    if nodes and args.folder.exists():
        print("\n".join(verdict(args.folder, nodes[0].kinds, nodes[0].counts, time.monotonic() - began)), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
