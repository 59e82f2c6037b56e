"""Load the pose node with camera images and print how it bears them: latency, drops, answers of services, memory.

`ros2 run lie_picard_pose load_test` asks whether it keeps up: 640 x 480 images at 30 Hz, 100 hypotheses each.
`--rate 60 --samples 4000` gives it more than it can do; `--hours 4` shows whether memory grows.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
import torch
from ament_index_python import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from tqdm import tqdm
from visualization_msgs.msg import MarkerArray

from lie_picard import machine, so3
from lie_picard.data.scene import Placed, render_scene
from lie_picard.data.seeds import stream_generator
from lie_picard.evaluation import metrics
from lie_picard.messages.read import nanoseconds_of
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.recording.message_types import typestore
from lie_picard.recording.rendered import CAMERA_FRAME
from lie_picard.sampling import METHODS
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose import transport
from lie_picard_pose.demo_recording import CAMERA, DIAMETER
from lie_picard_pose.running import executor_of

_VIEWS = 40  # different images, shown again and again
_ASK_S = 0.25
_WARM_S = 3.0  # left out of all figures
_READY_S = 90.0
_FLOOR = "before it, for so long each: a node that only receives, and one that runs encoder and head besides"
_SMALL = """leave Fast DDS as it is: images do not fit into its shared memory, as with a camera's driver that
nobody told (config/fastdds.xml)"""
_FILLED_S = 600.0  # memory is looked at from then on, in a short run from a third of it on
_PROGRAMS = Path(get_package_prefix("lie_picard_pose")) / "lib" / "lie_picard_pose"


def placed(name: str) -> Placed:
    """A solid in front of the camera that turns by 2 degrees from image to image, and back."""
    generator = stream_generator("load", 0)
    first = so3.uniform(1, generator=generator, dtype=torch.float64)
    axis = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
    steps = torch.arange(_VIEWS, dtype=torch.float64)
    angles = torch.deg2rad(2.0 * torch.minimum(steps, _VIEWS - steps))
    return Placed(
        catalogue(BUILT_IN)[name], DIAMETER, np.array([0.02, -0.01, 0.8]), first @ so3.about_axis(axis, angles)
    )


class LoadTest(Node):
    """Camera and listener at once; both stamps are of one clock."""

    def __init__(self, name: str, seconds: float, rate: float, watch: bool = False) -> None:
        super().__init__("load_test")
        self.solid, self.seconds, self.rate = placed(name), seconds, rate
        self._images = [bytearray(self._image(pixels)) for pixels in render_scene(CAMERA, [self.solid])]
        self._info = CameraInfo(width=CAMERA.width, height=CAMERA.height, distortion_model="plumb_bob")
        self._info.k = CAMERA.matrix.reshape(-1)
        self._info.header.frame_id = CAMERA_FRAME
        qos = QoSProfile(depth=2)
        self._image_out = self.create_publisher(Image, "image", qos)
        self._info_out = self.create_publisher(CameraInfo, "camera_info", qos)
        self.create_subscription(
            PoseHypothesisArray, "pose_node/hypotheses", self._on_hypotheses, QoSProfile(depth=100)
        )
        pictures = {"poses": PoseArray, "markers": MarkerArray, "overlay": Image, "distribution": Image}
        for name, kind in pictures.items() if watch else ():
            self.create_subscription(kind, f"pose_node/{name}", lambda _: None, QoSProfile(depth=1))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=10))
        self._client: Client = self.create_client(GetParameters, "pose_node/get_parameters")
        self.results: list[tuple[int, float, float]] = []  # stamp, its age, processing: ns, ms, ms
        self.answers: list[tuple[float, float]] = []
        self.memory: list[tuple[float, float]] = []
        self.figures: dict[str, str] = {}
        self.frames: set[str] = set()
        self.create_subscription(TFMessage, "/tf", self._on_tf, QoSProfile(depth=100), raw=True)
        self.sent: list[tuple[float, int]] = []  # when, s, and the stamp, ns

    def ready(self) -> bool:
        """Whether the node subscribes and we hear it."""
        return bool(self._image_out.get_subscription_count() and self.count_publishers("pose_node/hypotheses"))

    def send(self, index: int) -> None:
        """Publish the next image, stamped now."""
        now = self.get_clock().now()
        seconds, nanoseconds = divmod(now.nanoseconds, 10**9)
        data = self._images[index % _VIEWS]
        struct.pack_into("<iI", data, 4, seconds, nanoseconds)  # CDR: four bytes, then the stamp
        self._info.header.stamp = now.to_msg()
        self._info_out.publish(self._info)
        self._image_out.publish(bytes(data))
        self.sent.append((time.monotonic(), now.nanoseconds))

    def ask(self) -> None:
        """Call a service of the node, as a parameter GUI would, and note how long it takes."""
        began = time.monotonic()
        future = self._client.call_async(GetParameters.Request(names=["samples"]))
        future.add_done_callback(lambda _: self.answers.append((began, (time.monotonic() - began) * 1e3)))

    def _image(self, grey: np.ndarray) -> bytes:
        message = Image(height=CAMERA.height, width=CAMERA.width, encoding="rgb8", step=3 * CAMERA.width)
        message.data.frombytes(np.repeat(grey[..., None], 3, 2).tobytes())
        message.header.frame_id = CAMERA_FRAME
        return bytes(serialize_message(message))

    def _on_hypotheses(self, message: PoseHypothesisArray) -> None:
        stamp = nanoseconds_of(message.header.stamp)
        age_ms = (self.get_clock().now().nanoseconds - stamp) * 1e-6
        self.results.append((stamp, age_ms, message.statistics.processing_ms))

    def _on_tf(self, data: bytes) -> None:
        message: Any = typestore().deserialize_cdr(data, "tf2_msgs/msg/TFMessage")
        self.frames |= {one.child_frame_id for one in message.transforms}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        whole = message.status[0]  # the node's own; the others repeat its values, each for one question
        self.figures = {pair.key: pair.value for pair in whole.values} | {"message": whole.message}


def run(test: LoadTest, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Play camera until the time is up. Returns the figures."""
    deadline, executor = time.monotonic() + _READY_S, executor_of(test)
    while not test.ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the node did not become ready; see its output above")
        executor.spin_once(timeout_sec=0.1)
    node = psutil.Process(process.pid)
    began = time.monotonic()
    next_ask, index = began, 0
    # Whoever has waited for hours and ends it wants to know what there is.
    with (
        contextlib.suppress(KeyboardInterrupt),
        tqdm(total=round(test.seconds + _WARM_S), unit="s", leave=False) as bar,
    ):
        while (now := time.monotonic()) < began + test.seconds + _WARM_S:
            if process.poll() is not None:
                raise RuntimeError(f"the node died with status {process.returncode}")
            due = began + index / test.rate
            if now >= due:
                test.send(index)
                index += 1
                continue
            if now >= next_ask:
                test.ask()
                test.memory.append((now - began, node.memory_info().rss / 1e6))
                next_ask += _ASK_S
                bar.update(round(now - began) - bar.n)
            executor.spin_once(timeout_sec=max(0.0, min(due, next_ask) - time.monotonic()))
    end = time.monotonic() + 2
    while time.monotonic() < end:  # the last answers
        executor.spin_once(timeout_sec=0.1)
    return figures(test, began + _WARM_S)


def figures(test: LoadTest, begin: float) -> dict[str, Any]:
    """All figures, of the images that were sent after `begin`."""
    sent = {stamp for at, stamp in test.sent if at >= begin}
    ages = [age for stamp, age, _ in test.results if stamp in sent]
    processing = [ms for stamp, _, ms in test.results if stamp in sent]
    answers = [ms for at, ms in test.answers if at >= begin]
    found: dict[str, Any] = {
        "images_sent": len(sent),
        "images_answered": len(ages),
        "age_ms": metrics.percentiles(ages),
        "processing_ms": metrics.percentiles(processing),
        "first_processing_ms": test.results[0][2] if test.results else float("nan"),
        "service_ms": metrics.percentiles(answers),
        "frames_in_tf": len(test.frames),
        "diagnostics": test.figures,
    }
    if test.memory:
        times, sizes = np.array(test.memory).T
        later = times >= min(_FILLED_S, times[-1] / 3)  # buffers have filled by then
        slope = float(np.polyfit(times[later], sizes[later], 1)[0] * 3600) if later.sum() > 2 else 0.0
        found |= {"memory_mb": float(sizes[-1]), "memory_slope_mb_per_hour": slope}
    halves = np.array_split(np.array(ages), 2)
    if all(map(len, halves)):
        found["age_p95_by_halves_ms"] = [float(np.percentile(half, 95)) for half in halves]
    return found


def report(found: dict[str, Any], floors: dict[str, dict[str, Any]], args: argparse.Namespace) -> str:
    """The figures for people."""
    lines = [
        f"{args.rate:g} images/s of 640 x 480, {args.samples} hypotheses each, method {args.method}, {args.seconds:g} s"
    ]
    lines.append(f"answered         {found['images_answered']} of {found['images_sent']} images")
    rows = [("image stamp to result", found["age_ms"]), ("of it in the node's work", found["processing_ms"])]
    rows += [(f"floor: {name}", floor["age_ms"]) for name, floor in floors.items()]
    rows.append(("service answers after", found["service_ms"]))
    for name, percentiles in rows:
        values = " ".join(f"{kind} {value:6.1f}" for kind, value in percentiles.items())
        lines.append(f"{name:<42} {values} ms")
    ratio = found["first_processing_ms"] / found["processing_ms"]["p50"]
    lines.append(f"the first image  {found['first_processing_ms']:.1f} ms in the node's work, {ratio:.1f} x the median")
    lines.append(
        f"node's memory    {found['memory_mb']:.0f} MB, slope {found['memory_slope_mb_per_hour']:+.2f} MB/hour"
    )
    if "age_p95_by_halves_ms" in found:
        first, second = found["age_p95_by_halves_ms"]
        lines.append(f"age p95          {first:.1f} ms in the first half, {second:.1f} in the second")
    lines.append(f"frames in TF     {found['frames_in_tf']}")
    lines += [f"  {key:<38} {value}" for key, value in found["diagnostics"].items()]
    return "\n".join(lines)


def measured(args: argparse.Namespace, program: str, arguments: list[str], seconds: float) -> dict[str, Any]:
    """Figures of one program in the node's place.

    Raises:
        RuntimeError: it did not start, or ended by itself.
    """
    test = LoadTest(args.object, seconds, args.rate, args.watch)
    process = subprocess.Popen([_PROGRAMS / program, *arguments])
    gc.collect()
    gc.freeze()  # a full collection would hold camera and listener up for a tenth of a second
    try:
        return run(test, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        test.destroy_node()


def arguments_of(args: argparse.Namespace) -> list[str]:
    """The pose node's: the object where it is."""
    r = placed(args.object).region(CAMERA)
    values = {
        "objects": f"[{args.object}]", "diameters": f"[{DIAMETER}]", "samples": args.samples, "threads": args.threads,
        "method": args.method, "regions": f"[{r.x}, {r.y}, {r.width}, {r.height}]",
    }  # fmt: skip
    return ["--ros-args", *(a for name, value in values.items() for a in ("-p", f"{name}:={value}"))]


def main() -> int:
    """Entry point of the executable `load_test`."""
    parser = argparse.ArgumentParser(
        prog="load_test", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=30.0, help="images a second")
    parser.add_argument("--samples", type=int, default=100, help="hypotheses an image")
    parser.add_argument("--method", default="auto", choices=METHODS, help="the node's parameter `method`")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long, after 3 s of warming up")
    parser.add_argument("--hours", type=float, help="the same in hours: a soak")
    parser.add_argument("--object", default="cube", help="solid in the images")
    parser.add_argument("--threads", type=int, default=0, help="the node's CPU threads; 0: torch decides")
    parser.add_argument("--watch", action="store_true", help="also subscribe to all that is only to be looked at")
    parser.add_argument("--floor", type=float, default=0.0, metavar="SECONDS", help=_FLOOR)
    parser.add_argument("--small-segments", action="store_true", help=_SMALL)
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    args.seconds = args.seconds if args.hours is None else 3600 * args.hours
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if not args.small_segments:
        transport.prepare()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    floors = {"receiving alone": [], "receiving, encoder and head": ["--samples", str(args.samples)]}
    try:
        least = {name: measured(args, "load_floor", options, args.floor) for name, options in floors.items()
                 if args.floor}  # fmt: skip
        found = measured(args, "pose_node", arguments_of(args), args.seconds) | {"machine": machine.describe()}
    except RuntimeError as error:
        print(f"load_test: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    print(machine.one_line(found["machine"]))
    print(report(found, least, args))
    if args.json:
        args.json.write_text(json.dumps(found | {"floors": least}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
