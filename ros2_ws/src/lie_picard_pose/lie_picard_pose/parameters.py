"""The node's parameters: `lie_picard.node.settings`, declared, with descriptions and ranges."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from lie_picard.node import settings
from lie_picard.node.settings import TABLE, Entry, Settings


def declare(node: Node, table: Mapping[str, Entry]) -> None:
    """Declare every parameter of a table with its description and range."""
    for name, entry in table.items():
        descriptor = ParameterDescriptor(description=entry.description, read_only=entry.read_only)
        if entry.low is not None and entry.high is not None:
            if isinstance(entry.default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=entry.low, to_value=entry.high)]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(entry.low), to_value=int(entry.high), step=1)]
        node.declare_parameter(name, entry.default, descriptor)


def unknown(node: Node) -> list[str]:
    """Names that were given at the start and are none of the node's."""
    known = ("use_sim_time", "start_type_description_service", "qos_overrides.")
    given = node._parameter_overrides  # rclpy tells it nowhere else
    return sorted(name for name in given if name not in TABLE and not name.startswith(known))


def settings_of(values: Mapping[str, Any]) -> Settings:
    """`node.settings.settings_of`, and that what this installation lacks is not asked for.

    Raises:
        ValueError: one line that names the parameter and the remedy.
    """
    if values["regions_from"] == "detections" and detection_type() is None:
        package = f"ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-vision-msgs"
        raise ValueError(f"regions_from is detections but vision_msgs is not installed: install {package}")
    return settings.settings_of(values)


def detection_type() -> type[Any] | None:
    """vision_msgs' Detection2DArray, or None where that package is not installed."""
    try:
        from vision_msgs.msg import Detection2DArray
    except ImportError:
        return None
    return Detection2DArray  # type: ignore[no-any-return]


def values_of(node: Node) -> dict[str, Any]:
    """The present value of every parameter in the table."""
    return {name: node.get_parameter(name).value for name in TABLE}
