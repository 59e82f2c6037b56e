"""Fast DDS with shared memory in which images fit, for the programs of this package (config/fastdds.xml says why)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

# Before and since Fast DDS 3.
_PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
_CHOICES = (*_PROFILES, "FASTDDS_BUILTIN_TRANSPORTS")


def profiles() -> Path:
    """The file of profiles."""
    return Path(get_package_share_directory("lie_picard_pose")) / "config" / "fastdds.xml"


def variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables to set before the middleware starts; none where the user has chosen."""
    if any(environment.get(name) for name in _CHOICES):
        return {}
    return dict.fromkeys(_PROFILES, str(profiles()))


def prepare() -> None:
    """Set them for this process and those that it starts: call it before `rclpy.init`."""
    os.environ.update(variables())
