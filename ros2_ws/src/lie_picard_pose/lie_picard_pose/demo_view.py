"""What a user sees of the demo: the node's hypotheses beside the recorded truth, live, then a summary and a picture."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from geometry_msgs.msg import Quaternion
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from lie_picard import machine
from lie_picard.messages.read import AMBIGUITIES, nanoseconds_of, rotation_of, samples_of, vector_of
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose.demo_picture import Found, save_picture
from lie_picard_pose.running import run

_TRUTH = "truth/"
_SHOWN = 3
_WIDE = 120  # columns of a terminal: less have no room for quaternions
_NARROW: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": 0}  # fits 80 columns
_LAST_RESULT_S = 3.0  # wait for the last results after the recording's end
_KINDS = tuple(kind.value for kind in AMBIGUITIES)
_SOLIDS = catalogue(BUILT_IN)


@dataclass
class _Score:
    """What came in for one object."""

    latest: PoseHypothesisArray | None = None
    latency_ms: list[float] = field(default_factory=list)
    node_ms: list[float] = field(default_factory=list)
    best_deg: list[float] = field(default_factory=list)
    mean_deg: list[float] = field(default_factory=list)
    position_mm: list[float] = field(default_factory=list)
    lost: int = 0  # images in which it was not found
    there: bool = False  # in the last one


class DemoView(Node):
    """Collects images, truth and hypotheses, and scores each result against the truth of its stamp."""

    def __init__(self) -> None:
        super().__init__("demo_view")
        self.images: dict[int, tuple[Image | CompressedImage, float]] = {}
        self.info: CameraInfo | None = None
        self.frames = 0
        self.scores: dict[str, _Score] = defaultdict(_Score)
        self.picture: dict[str, Found] = {}  # the last image in which most objects were found
        self._newest: tuple[int, dict[str, Found]] = (0, {})
        self._truth: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = defaultdict(dict)
        # What arrives before its truth waits here.
        self._waiting: list[tuple[PoseHypothesisArray, float]] = []
        self.create_subscription(Image, "image", self._on_image, QoSProfile(depth=10))
        self.create_subscription(CompressedImage, "image/compressed", self._on_image, QoSProfile(depth=10))
        self.create_subscription(CameraInfo, "camera_info", self._on_info, QoSProfile(depth=10))
        self.create_subscription(TFMessage, "/tf", self._on_tf, QoSProfile(depth=100))
        self.create_subscription(PoseHypothesisArray, "pose_node/hypotheses", self._on_hypotheses, QoSProfile(depth=50))

    def _on_info(self, info: CameraInfo) -> None:
        self.info = info

    @property
    def is_played(self) -> bool:
        """Whether somebody sends images."""
        return any(self.count_publishers(self.resolve_topic_name(name)) for name in ("image", "image/compressed"))

    def _on_image(self, image: Image | CompressedImage) -> None:
        self.frames += 1
        self.images[nanoseconds_of(image.header.stamp)] = (image, time.monotonic())
        while len(self.images) > 50:
            self.images.pop(next(iter(self.images)))

    def _on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            if transform.child_frame_id.startswith(_TRUTH):
                name = transform.child_frame_id.removeprefix(_TRUTH)
                pose = rotation_of(transform.transform.rotation), vector_of(transform.transform.translation)
                self._truth[nanoseconds_of(transform.header.stamp)][name] = pose
        waiting, self._waiting = self._waiting, []
        for result, arrived in waiting:
            self._score(result, arrived)

    def _on_hypotheses(self, message: PoseHypothesisArray) -> None:
        score = self.scores[message.object_id]
        score.there = bool(message.hypotheses)
        if score.there:
            self._score(message, time.monotonic())
        else:
            score.lost += 1

    def _score(self, message: PoseHypothesisArray, arrived: float) -> None:
        stamp, name = nanoseconds_of(message.header.stamp), message.object_id
        if name not in self._truth.get(stamp, {}) or stamp not in self.images:
            self._waiting = [*self._waiting, (message, arrived)][-100:]
            return
        score = self.scores[name]
        true_rotation, true_position = self._truth[stamp][name]
        samples = samples_of(message)
        truth = torch.from_numpy(true_rotation)
        errors = torch.rad2deg(_SOLIDS.symmetry(name).distance(truth, samples))
        best = message.best.pose
        score.latest = message
        score.latency_ms.append((arrived - self.images[stamp][1]) * 1e3)
        score.node_ms.append(message.statistics.processing_ms)
        score.best_deg.append(_error_deg(name, best.orientation, true_rotation))
        score.mean_deg.append(float(errors.mean()))
        score.position_mm.append(float(np.linalg.norm(vector_of(best.position) - true_position)) * 1e3)
        if stamp > self._newest[0]:
            self._newest = stamp, {}
        if stamp == self._newest[0]:
            self._newest[1][name] = Found(message, samples, truth, self.images[stamp][0])
            if len(self._newest[1]) >= len(self.picture):
                self.picture = self._newest[1]

    def table(self, width: int) -> Group:
        """The latest result of every object, as a table of a terminal of so many columns."""
        wide = width >= _WIDE
        style = {"box": HEAVY_HEAD} if wide else _NARROW
        table = Table(title="what the node publishes", title_justify="left", **style)
        for heading in ("object", "ambiguity", "mode", "weight", "x y z\n[m]", "quaternion x y z w", "error\n[deg]",
                        "latency\n[ms]"):  # fmt: skip
            if heading.startswith("quaternion") and not wide:
                continue
            words = heading in ("object", "ambiguity")
            table.add_column(Text(heading), justify="left" if words else "right", no_wrap=not words)
        for name in sorted(self.scores, key=_order):
            score = self.scores[name]
            if not score.there or score.latest is None:
                table.add_row(name, "lost", end_section=True)
                continue
            for row, h in enumerate(score.latest.hypotheses[:_SHOWN]):
                p, q = h.pose.pose.position, h.pose.pose.orientation
                truth = self._truth[nanoseconds_of(score.latest.header.stamp)][name][0]
                error = _error_deg(name, q, truth)
                kind = _KINDS[score.latest.ambiguity]
                modes = len(score.latest.hypotheses)
                cells = [
                    name if row == 0 else "",
                    kind if row == 0 else (f"{modes} modes" if row == 1 else ""),
                    str(h.mode_id),
                    f"{h.weight:.0%}",
                    f"{p.x:+.3f} {p.y:+.3f} {p.z:.3f}",
                    f"{q.x:+.2f} {q.y:+.2f} {q.z:+.2f} {q.w:+.2f}",
                    f"{error:.2f}",
                    f"{score.latency_ms[-1]:.0f}" if row == 0 else "",
                ]
                if not wide:
                    del cells[5]
                table.add_row(*cells, end_section=row == min(_SHOWN, modes) - 1)
        processed = max((len(s.best_deg) + s.lost for s in self.scores.values()), default=0)
        return Group(table, Text(f"{self.frames} images, {processed} estimated"))

    def summary(self) -> dict[str, object]:
        """Figures of the whole run; keys carry their units."""
        rows = []
        for name in sorted(self.scores, key=_order):
            s = self.scores[name]
            if not s.best_deg:
                continue
            rows.append(
                {
                    "object": name,
                    "frames": len(s.best_deg),
                    "not_found": s.lost,
                    "best_median_deg": _median(s.best_deg),
                    "best_p95_deg": _percentile(s.best_deg, 95),
                    "samples_mean_deg": statistics.fmean(s.mean_deg),
                    "position_median_mm": _median(s.position_mm),
                    "node_p50_ms": _median(s.node_ms),
                    "node_p95_ms": _percentile(s.node_ms, 95),
                    "latency_p50_ms": _median(s.latency_ms),
                    "latency_p95_ms": _percentile(s.latency_ms, 95),
                }
            )
        return {"machine": machine.describe(), "images": self.frames, "rows": rows}


def _error_deg(name: str, orientation: Quaternion, truth: np.ndarray) -> float:
    """Angle of a published orientation to the nearest pose that truly looks the same."""
    found = torch.from_numpy(rotation_of(orientation))
    return float(torch.rad2deg(_SOLIDS.symmetry(name).distance(torch.from_numpy(truth), found)))


def _order(name: str) -> int:
    return next((index for index, known in enumerate(_SOLIDS) if known == name), len(_SOLIDS))


def _median(values: list[float]) -> float:
    return _percentile(values, 50)


def _percentile(values: list[float], q: float) -> float:
    return float(np.percentile(values, q))


def _watch(view: DemoView, console: Console, timeout: float, alive: Callable[[], bool]) -> str:
    """Spin until the recording is over. Returns what went wrong, or nothing."""
    started, seen_player, over_at, printed = time.monotonic(), False, None, 0.0
    executor = SingleThreadedExecutor()
    executor.add_node(view)
    with Live(console=console, refresh_per_second=4, auto_refresh=False) as live:
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.05)
            now = time.monotonic()
            playing = view.is_played
            seen_player |= playing
            if seen_player and not playing:
                over_at = over_at or now
            if over_at and now - over_at > _LAST_RESULT_S:
                break
            if not alive():
                return "pose_node or the player ended before the recording did"
            if not view.scores and now - started > timeout:
                return "no hypotheses arrived: is pose_node running, with the same ROS_DOMAIN_ID?"
            if view.scores and now - printed > (0.5 if console.is_terminal else 3.0):
                printed = now
                live.update(view.table(console.width), refresh=console.is_terminal)
    if not view.scores:
        return "no hypotheses arrived: is pose_node running, with the same ROS_DOMAIN_ID?"
    return "" if view.picture else "nothing was found: /diagnostics says why"


def _too_slow(summary: Mapping[str, Any]) -> str:
    """What to say where most images were dropped; else nothing."""
    rows = summary["rows"]
    estimated = max((row["frames"] + row["not_found"] for row in rows), default=0)
    if not rows or 2 * estimated >= summary["images"]:
        return ""
    took = max(row["node_p50_ms"] for row in rows)
    return (
        f"Only {estimated} of {summary['images']} images were estimated: one takes {took:.0f} ms here. What moves far "
        "between two of them is lost more easily. Close other programs, or play the recording slower: --rate 0.3 "
        "(demo.launch.py: rate:=0.3)."
    )


def _print_summary(console: Console, summary: dict[str, object]) -> None:
    table = Table(title=f"summary of {summary['images']} images", title_justify="left", **_NARROW)
    # In the order of a row of the summary.
    headings = ("object", "found\nimages", "lost\nimages", "best\nmedian\n[deg]", "best\np95\n[deg]",
                "samples\nmean\n[deg]", "position\nmedian\n[mm]", "node\np50\n[ms]", "node\np95\n[ms]",
                "latency\np50\n[ms]", "latency\np95\n[ms]")  # fmt: skip
    for heading in headings:
        table.add_column(Text(heading), justify="left" if heading == "object" else "right", no_wrap=True)
    for row in summary["rows"]:  # type: ignore[attr-defined]
        name, frames, lost, *figures = row.values()
        table.add_row(
            name, str(frames), str(lost), *(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in figures)
        )
    console.print(table)
    console.print("lost: images in which it was searched and not found, such as those that do not show it.")
    console.print("deg: angle to the nearest pose that truly looks the same. best: the pose that is followed.")
    console.print(
        "node: computation of all objects of an image. latency: from the image's arrival here to the hypotheses'."
    )


def _file(text: str) -> Path:
    """A file that can be written, as argparse's type: what cannot is said before the recording is played."""
    file = Path(text)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' cannot be written: give a file in a folder that exists")
    return file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    parser.add_argument(
        "--picture", type=_file, default=Path("demo.png"), help="picture to write (default %(default)s)"
    )
    parser.add_argument("--json", type=_file, help="write the summary there")
    parser.add_argument("--timeout", type=float, default=60.0, help="give up without results after this [s]")


def show(
    args: argparse.Namespace, alive: Callable[[], bool] = lambda: True, on_end: Callable[[], None] = lambda: None
) -> int:
    """Watch a recording to its end. Gives up when what it watches is no longer alive. Returns the exit status.

    Args:
        on_end: called when the end was reached; not where a signal came before.
    """
    console = Console(width=None if sys.stdout.isatty() else 130)

    def watch() -> int:
        view = DemoView()
        try:
            if wrong := _watch(view, console, args.timeout, alive):
                if rclpy.ok():  # else it was told to end
                    console.print(f"demo: {wrong}")
                return int(rclpy.ok())
        finally:
            view.destroy_node()  # a player would take it for a listener of the next recording
        console.print()
        summary = view.summary()
        _print_summary(console, summary)
        if remark := _too_slow(summary):
            console.print(remark)
        if args.json:
            args.json.write_text(json.dumps(summary, indent=1))
        save_picture(args.picture, view.info, view.picture)
        console.print(f"picture: {args.picture}")
        on_end()
        return 0

    return run("demo_view", watch)


def main() -> int:
    """Entry point of the executable `demo_view`."""
    parser = argparse.ArgumentParser(prog="demo_view", description=__doc__)
    add_arguments(parser)
    return show(parser.parse_args(remove_ros_args(sys.argv)[1:]))


if __name__ == "__main__":
    sys.exit(main())
