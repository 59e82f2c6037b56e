"""The table of the node's parameters, which the recording tools share: defaults, meanings, ranges, types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lie_picard.sampling import INTEGRATORS


@dataclass(frozen=True)
class Entry:
    """A parameter: its default, what it means, its range, and whether it is fixed at start."""

    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    read_only: bool = False


REGION_SOURCES = "auto", "parameters", "topics", "mask", "detections"
TRANSPORTS = "raw", "compressed"
MAX_SAMPLES = 10_000  # their distances are a matrix

# Defaults are repeated in config/pose.yaml, where users change them; a test keeps the two equal.
TABLE: dict[str, Entry] = {
    "checkpoint": Entry(
        "default",
        "Model file (.safetensors) or 'default' for the embedded one; several, of different objects, with commas "
        "between them. Also a launch argument.",
    ),
    "device": Entry("auto", "Where to compute: auto, cpu or cuda.", read_only=True),
    "threads": Entry(0, "CPU threads of the computation; 0 leaves it to torch.", 0, 256, read_only=True),
    "objects": Entry(
        ["object"],
        "Name of each object in messages and TF. One of the model's own names (`lie-picard info`) is looked for as "
        "such, any other name as any of them, with a warning. Left as it is, with a checkpoint that carries its "
        "objects: these.",
    ),
    "diameters": Entry(
        [0.1],
        "Diameter [m] of each object's circumscribed sphere; 0: as its own mesh is large. Left as it is, with a "
        "checkpoint that carries its objects: as large as each one's mesh.",
    ),
    "regions": Entry(
        [0.0, 0.0, 0.0, 0.0],
        "x, y, width, height [px] of each object's circumscribed sphere in the image; "
        "width 0: found in the image where the model can, else the largest centred square.",
    ),
    "regions_from": Entry(
        "auto",
        "Where the regions come from: auto (the parameters where they give some, else found in the image and followed "
        "from then on); parameters; topics (region/<object>, RegionOfInterest); mask (an image of labels); detections "
        "(vision_msgs).",
    ),
    "instances": Entry(
        1, "How many of each object may be there, where they are found in the image: <object>#0, <object>#1, ...", 1, 50
    ),
    "search_every": Entry(
        15,
        "Images from one search for further instances to the next; in each while none of an object is followed.",
        1,
        10_000,
    ),
    "transport": Entry("raw", "Images to subscribe to: raw (image) or compressed (image/compressed)."),
    "depth": Entry(False, "Also use depth images for the range (topic depth, registered to the image)."),
    "sync_tolerance": Entry(0.02, "Stamps of image, depth, mask and detections may differ by this [s].", 0.0, 10.0),
    "symmetries": Entry(
        "",
        "File of symmetries, BOP's models_info.json by object name or BOP's number (5, obj_000005); lengths in the "
        "unit in which its diameter fits, mm without one. Empty: those of the model's own objects, and of objects that "
        "were added by these names.",
    ),
    "meshes": Entry(
        [""],
        "Mesh file (PLY, OBJ, STL) of each object, around its centre, for pictures and markers, in metres or in the "
        "unit (mm, cm, inches) in which it fits the diameter within 10%. Empty: the embedded solid of the object's "
        "name, the object that the checkpoint carries or that was added by that name, or none.",
    ),
    "rectified": Entry(False, "The image is rectified (image_rect): use P of camera_info and no distortion."),
    "image_bits": Entry(
        0,
        "Bits that mono16, 16UC1, Bayer and colour images of 16 bits use, such as 12; 0: found from the brightest "
        "pixels so far.",
        0,
        16,
    ),
    "samples": Entry(32, "Rotations drawn for each object.", 1, MAX_SAMPLES),
    "method": Entry(
        "auto",
        "How the steps are solved: one after another (ode), in parallel (picard, newton), whichever is fastest here "
        "(auto; measured once, kept in ~/.cache/lie_picard), as a random walk (walk), or by a flow map in very few "
        "(map; of a checkpoint that has one).",
    ),
    "integrator": Entry("multistep", f"Integrator of the ODE: {', '.join(INTEGRATORS)}."),
    "steps": Entry(
        0, "Noise levels; 0: the method's own, 8 (of multistep as good as 100 of euler) or, of map, 4.", 0, 1000
    ),
    "window": Entry(0, "Evaluations in flight of picard and newton; 0: their own choice.", 0, 1000),
    "tolerance": Entry(0.03, "Tolerance of picard and newton, relative to the noise level.", 0.0, 1.0),
    "restarts": Entry(3, "How often a sample that ends between two poses starts again.", 0, 100),
    "warm_start": Entry(
        False, "Begin picard and newton with the last image's solution, turned on; for video. Saves rounds."
    ),
    "seed": Entry(0, "Seed of every image's draw; -1: a fresh one each.", -1, 2**31 - 1),
    "max_rate": Entry(0.0, "Images a second to estimate at most; 0: all.", 0.0, 1000.0),
    "least_presence": Entry(
        0.0,
        "An object is lost, and no longer published, where its presence is below this; 0: never, or 0.5 where "
        "it is found in the image.",
        0.0,
        1.0,
    ),
    "max_age": Entry(0.0, "Drop images older than this when their turn comes [s]; 0: never.", 0.0, 3600.0),
    "predict_ahead": Entry(
        0.0,
        "Also publish where each object will be so long after its image, at constant velocity [s]; 0: not.",
        0.0,
        0.5,
    ),
    "autostart": Entry(True, "Configure and activate at once; off where a lifecycle manager does it.", read_only=True),
    "publish_tf": Entry(True, "Publish the best hypothesis and the leading modes to TF."),
    "tf_prefix": Entry(
        "auto", "Put before every frame's name in TF, so that two nodes' objects differ; auto: the node's namespace."
    ),
    "tf_modes": Entry(4, "Modes published to TF as <object>/mode_0, mode_1, ... besides the best.", 0, 100),
}


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as their parameters' types and in their ranges, as a node takes them.

    Raises:
        ValueError: one is not.
    """
    return {name: _typed(name, value, TABLE[name]) for name, value in values.items()}


def changed(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Values with changes NAME=VALUE, as a command line gives them; a value is JSON, or text.

    Raises:
        ValueError: one is not of this form, or there is no such parameter.
    """
    result = dict(values)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in TABLE:
            raise ValueError(f"--set {change}: give NAME=VALUE, of a parameter in docs/node.md")
        try:
            result[name] = json.loads(text)
        except ValueError:
            result[name] = text
    return result


def _typed(name: str, value: Any, entry: Entry) -> Any:
    """The value as the parameter's type, in its range; a node would refuse another one.

    Raises:
        ValueError: it is not.
    """
    default = entry.default
    if isinstance(default, list):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"parameter {name} must be a list, got {_short(value)}")
        return [_scalar(name, one, type(default[0])) for one in value]
    number = _scalar(name, value, type(default))
    if entry.low is not None and entry.high is not None and not entry.low <= number <= entry.high:
        raise ValueError(f"parameter {name} must be in {entry.low:g} to {entry.high:g}, got {number:g}")
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _scalar(name: str, value: Any, kind: type) -> Any:
    kinds = (int, float) if kind is float else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"parameter {name}: {_short(value)} must be a {kind.__name__}")
    return kind(value)
