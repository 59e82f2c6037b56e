"""The whole demo without a launch system: pose node and player as processes of their own, the view in this one."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from ament_index_python import get_package_prefix, get_package_share_directory

from lie_picard_pose import demo_view
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


def _parameters(names: list[str]) -> list[str]:
    """The node's parameters for some of the recorded solids."""
    chosen = [placed for placed in scene(frames=1) if placed.name in names]
    regions = [placed.region(CAMERA) for placed in chosen]
    numbers = [f"{value:.2f}" for r in regions for value in (r.x, r.y, r.width, r.height)]
    values = {
        "objects": ", ".join(placed.name for placed in chosen),
        "diameters": ", ".join([str(DIAMETER)] * len(chosen)),
        "regions": ", ".join(numbers),
    }
    return [a for name, value in values.items() for a in ("-p", f"{name}:=[{value}]")]


def main() -> int:
    """Entry point of the executable `demo`."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    demo_view.add_arguments(parser)
    parser.add_argument("--objects", nargs="+", choices=OBJECTS, default=list(OBJECTS), help="which of the solids")
    args = parser.parse_args()
    # Every demo has a domain of its own, so two on one machine or network do not mix.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    name = "lie_picard_pose"
    share, programs = Path(get_package_share_directory(name)), Path(get_package_prefix(name)) / "lib" / name
    files = [a for f in ("pose", "demo") for a in ("--params-file", str(share / "config" / f"{f}.yaml"))]
    with tempfile.TemporaryDirectory() as folder:
        logs = {part: Path(folder) / f"{part}.log" for part in ("pose_node", "bag_player")}
        print("starting pose_node (loads the model) and the player; Ctrl-C stops all", flush=True)
        # Two listeners: the node, which subscribes once its model is loaded, and the view.
        commands = {
            "pose_node": ["--ros-args", *files, *_parameters(args.objects)],
            "bag_player": [str(share / "demo" / "turning_solids"), "--ros-args", "-p", "listeners:=2"],
        }
        processes = [_start(programs / part, arguments, logs[part]) for part, arguments in commands.items()]
        try:
            # The player ends with the recording; the node must not.
            status = demo_view.show(args, lambda: processes[0].poll() is None and processes[1].poll() in (None, 0))
        finally:
            for process in processes:
                _stop(process)
        if status:
            for part, log in logs.items():
                print(f"--- last words of {part}:\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
