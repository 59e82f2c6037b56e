"""The node's parameters: one table, checked as a whole, read into one immutable value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from lie_picard import SamplerOptions
from lie_picard.camera import Region
from lie_picard.poses import Target
from lie_picard.sampling import INTEGRATORS


@dataclass(frozen=True)
class _Entry:
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    read_only: bool = False


MOST_SAMPLES = 10_000  # their distances are a matrix

# Defaults are repeated in config/pose.yaml, where users change them; a test keeps the two equal.
TABLE: dict[str, _Entry] = {
    "checkpoint": _Entry("default", "Model file (.safetensors) or 'default' for the embedded one."),
    "device": _Entry("auto", "Where to compute: auto, cpu or cuda.", read_only=True),
    "threads": _Entry(0, "CPU threads of the computation; 0 leaves it to torch.", 0, 256, read_only=True),
    "objects": _Entry(["object"], "Name of each object in messages and TF."),
    "diameters": _Entry([0.1], "Diameter [m] of each object's circumscribed sphere."),
    "regions": _Entry(
        [0.0, 0.0, 0.0, 0.0],
        "x, y, width, height [px] of each object's circumscribed sphere in the image; "
        "width 0: the largest centred square of the image.",
    ),
    "rectified": _Entry(False, "The image is rectified (image_rect): use P of camera_info and no distortion."),
    "samples": _Entry(32, "Rotations drawn for each object.", 1, MOST_SAMPLES),
    "method": _Entry(
        "auto",
        "How the steps are solved: one after another (ode), in parallel (picard, newton), whichever is fastest here "
        "(auto), or as a random walk (walk).",
    ),
    "integrator": _Entry("multistep", f"Integrator of the ODE: {', '.join(INTEGRATORS)}."),
    "steps": _Entry(8, "Noise levels; 8 for multistep are as good as 100 for euler.", 2, 1000),
    "window": _Entry(0, "Evaluations in flight of picard and newton; 0: their own choice.", 0, 1000),
    "tolerance": _Entry(0.03, "Tolerance of picard and newton, relative to the noise level.", 0.0, 1.0),
    "restarts": _Entry(3, "How often a sample that ends between two poses starts again.", 0, 100),
    "warm_start": _Entry(
        False, "Begin picard and newton with the last image's solution, turned on; for video. Saves rounds."
    ),
    "seed": _Entry(0, "Seed of every image's draw; -1: a fresh one each.", -1, 2**31 - 1),
    "max_age": _Entry(0.0, "Drop images older than this when their turn comes [s]; 0: never.", 0.0, 3600.0),
    "publish_tf": _Entry(True, "Publish the best hypothesis and the leading modes to TF."),
    "tf_modes": _Entry(4, "Modes published to TF as <object>/mode_<id> besides the best.", 0, 100),
}


@dataclass(frozen=True)
class Settings:
    """The parameters' values, checked together."""

    checkpoint: str
    targets: tuple[Target, ...]
    rectified: bool
    samples: int
    options: SamplerOptions
    warm_start: bool
    seed: int | None
    max_age: float
    publish_tf: bool
    tf_modes: int


def declare(node: Node) -> None:
    """Declare every parameter with its description and range."""
    for name, entry in TABLE.items():
        descriptor = ParameterDescriptor(description=entry.description, read_only=entry.read_only)
        if entry.low is not None and entry.high is not None:
            if isinstance(entry.default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=entry.low, to_value=entry.high)]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(entry.low), to_value=int(entry.high), step=1)]
        node.declare_parameter(name, entry.default, descriptor)


def settings_of(values: dict[str, Any]) -> Settings:
    """Check values together and make them one thing.

    Raises:
        ValueError: one line that names the parameter and the remedy.
    """
    objects, diameters = list(values["objects"]), list(values["diameters"])
    flat = [float(value) for value in values["regions"]]
    if not objects or len(set(objects)) != len(objects) or not all(objects):
        raise ValueError(f"objects must be distinct names, got {objects}")
    if len(diameters) != len(objects) or len(flat) != 4 * len(objects):
        raise ValueError(
            f"{len(objects)} objects need {len(objects)} diameters and {4 * len(objects)} numbers in regions, "
            f"got {len(diameters)} and {len(flat)}"
        )
    targets = []
    for index, (name, diameter) in enumerate(zip(objects, diameters, strict=True)):
        x, y, width, height = box = flat[4 * index : 4 * index + 4]
        whole = width == height == 0
        if not all(map(math.isfinite, box)) or not (whole or min(width, height) >= 2):
            raise ValueError(f"region {box} of '{name}': width and height must be at least 2 pixels, or both 0")
        targets.append(Target(name, diameter, None if whole else Region(x, y, width, height)))
    return Settings(
        checkpoint=values["checkpoint"],
        targets=tuple(targets),
        rectified=values["rectified"],
        samples=values["samples"],
        options=SamplerOptions(
            values["method"],
            values["steps"],
            values["window"] or None,
            values["tolerance"],
            values["integrator"],
            values["restarts"],
        ),
        warm_start=values["warm_start"],
        seed=values["seed"] if values["seed"] >= 0 else None,
        max_age=values["max_age"],
        publish_tf=values["publish_tf"],
        tf_modes=values["tf_modes"],
    )


def values_of(node: Node) -> dict[str, Any]:
    """The present value of every parameter in the table."""
    return {name: node.get_parameter(name).value for name in TABLE}
