"""The whole demo without a launch system: pose node and player as processes of their own, the view in this one."""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ament_index_python import get_package_prefix, get_package_share_directory

from lie_picard_pose import demo_view
from lie_picard_pose.bag_player import TABLE
from lie_picard_pose.demo_recording import CAMERA, DIAMETER, OBJECTS, scene

_STOP_S = 5.0


def _start(program: Path, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class _Part:
    """A recording of the demo, and what it shows."""

    recording: str
    config: str
    title: str


_PARTS = {
    "turning": _Part("turning_solids", "demo", "five solids turn; parameters say where they are"),
    "moving": _Part(
        "moving_solids", "demo_moving", "three solids move before a photograph; the camera alone finds them"
    ),
}


def _parameters(names: list[str]) -> list[str]:
    """The node's parameters for some of the solids that turn."""
    chosen = [placed for placed in scene(frames=1) if placed.name in names]
    regions = [placed.region(CAMERA) for placed in chosen]
    numbers = [f"{value:.2f}" for r in regions for value in (r.x, r.y, r.width, r.height)]
    values = {
        "objects": ", ".join(placed.name for placed in chosen),
        "diameters": ", ".join([str(DIAMETER)] * len(chosen)),
        "regions": ", ".join(numbers),
    }
    return [a for name, value in values.items() for a in ("-p", f"{name}:=[{value}]")]


def _show(part: _Part, parameters: list[str], args: argparse.Namespace) -> tuple[int, bool]:
    """Run one recording through the node. Returns the exit status, and whether it was shown to its end."""
    name = "lie_picard_pose"
    share, programs = Path(get_package_share_directory(name)), Path(get_package_prefix(name)) / "lib" / name
    files = [a for f in ("pose", part.config) for a in ("--params-file", str(share / "config" / f"{f}.yaml"))]
    ended: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = {program: Path(folder) / f"{program}.log" for program in ("pose_node", "bag_player")}
        # Two listeners: the node, which subscribes once its model is loaded, and the view.
        played = [a for parameter in ("listeners:=2", f"rate:={args.rate}") for a in ("-p", parameter)]
        commands = {
            "pose_node": ["--ros-args", *files, *parameters],
            "bag_player": [str(share / "demo" / part.recording), "--ros-args", *played],
        }
        processes = [_start(programs / program, arguments, logs[program]) for program, arguments in commands.items()]
        try:
            # The player ends with the recording; the node must not.
            alive = lambda: processes[0].poll() is None and processes[1].poll() in (None, 0)  # noqa: E731
            status = demo_view.show(args, alive, lambda: ended.append(True))
        finally:
            for process in processes:
                _stop(process)
        if status:
            for program, log in logs.items():
                print(f"--- last words of {program}:\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
    return status, bool(ended)


def _rate(text: str) -> float:
    """A rate that the player takes."""
    low, high = TABLE["rate"].low or 0.0, TABLE["rate"].high or math.inf
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"'{text}' is no rate: give a number from {low:g} to {high:g}")
    return value


def _second(file: Path | None) -> Path | None:
    """The second part's file beside the first one's: demo.png, demo_moving.png."""
    return None if file is None else file.with_name(f"{file.stem}_moving{file.suffix}")


def main() -> int:
    """Entry point of the executable `demo`."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    demo_view.add_arguments(parser)
    parser.add_argument("--recording", choices=("both", *_PARTS), default="both", help="what to show (default both); "
                        "the second one's files are named *_moving")  # fmt: skip
    parser.add_argument("--rate", type=_rate, default=1.0, help="how fast to play, relative to the recording: less "
                        "than 1 where the node drops images (default %(default)s)")  # fmt: skip
    parser.add_argument("--objects", nargs="+", choices=OBJECTS, default=list(OBJECTS), help="which of the solids that "
                        "turn")  # fmt: skip
    args = parser.parse_args()
    # Every demo has a domain of its own, so two on one machine or network do not mix.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    chosen = list(_PARTS) if args.recording == "both" else [args.recording]
    for index, name in enumerate(chosen, 1):
        print(f"{index} of {len(chosen)}: {_PARTS[name].title}", flush=True)
        print("starting pose_node (loads the model) and the player; Ctrl-C stops all", flush=True)
        if name == "moving":
            args.picture, args.json = _second(args.picture), _second(args.json)
        try:
            status, ended = _show(_PARTS[name], _parameters(args.objects) if name == "turning" else [], args)
        except KeyboardInterrupt:  # before the view had begun
            return 0
        if status or not ended:  # Ctrl-C ends all
            return status
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
