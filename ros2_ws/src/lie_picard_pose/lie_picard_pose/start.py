"""The executable `pose_node`. Imports take seconds, in which a signal must end the program as cleanly as later."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def main() -> int:
    """Entry point."""
    # Threads of torch that wait actively take the cores from those of ONNX Runtime, and from cameras and planners.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    from lie_picard_pose import pose_node

    return pose_node.main()


if __name__ == "__main__":
    sys.exit(main())
