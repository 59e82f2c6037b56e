"""The node's parameters: `lie_picard.node.settings`, declared, with descriptions and ranges."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from lie_picard.node import params_file, settings
from lie_picard.node.settings import Settings
from lie_picard.node.table import TABLE, Entry


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


def oddities(node: Node) -> list[str]:
    """What is odd about the parameters that were given at the start, one line each."""
    given = node._parameter_overrides  # rclpy tells it nowhere else
    unknown = sorted(name for name in given if name not in TABLE and name.split(".")[0] not in settings.OF_EVERY_NODE)
    lines = [f"there is no parameter '{name}': see docs/node.md, or `ros2 param list`" for name in unknown]
    full_name = node.get_fully_qualified_name()
    for path in _parameter_files(sys.argv):
        with contextlib.suppress(params_file.ParamsFileError):  # where ROS could read it, so can we
            found = params_file.read_sections(Path(path))
            if not any(section.fits(full_name) for section in found):
                names = ", ".join(dict.fromkeys(f"'{section.node}'" for section in found)) or "nobody"
                lines.append(
                    f"params file {path} has nothing for this node: its sections are for "
                    f"{names}, the node is '{full_name}'; begin the section with '{full_name}:', "
                    "or with '/**:' for any node"
                )
    return lines


def _parameter_files(arguments: Sequence[str]) -> list[str]:
    """The files that a command line gives to ROS."""
    found, of_ros = [], False
    for before, argument in zip(["", *arguments], arguments, strict=False):
        of_ros = argument == "--ros-args" or (of_ros and argument != "--")
        if of_ros and before == "--params-file":
            found.append(argument)
    return found


def is_fixed_as(node: Node, parameter: Parameter) -> bool:
    """Whether a parameter cannot be changed, and has this value."""
    if not node.has_parameter(parameter.name) or not node.describe_parameter(parameter.name).read_only:
        return False
    return bool(node.get_parameter(parameter.name).value == parameter.value)


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
