"""What BOP's JSON files say of an image, checked: camera, true poses, visibility, masks as run lengths.

Rotations are row by row, translations in millimetres; here everything is in metres.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.files import read_at_most
from lie_picard.geometry.camera import Region

Array = NDArray[np.float64]

MILLIMETRE = 1e-3
MAX_JSON_BYTES = 1 << 28  # scene_gt.json of a thousand images of fifty objects takes a twentieth
MAX_PIXELS = 1 << 26
_ROUNDING = 0.02  # of a rotation, from the nearest one (Frobenius norm)


class BopError(ValueError):
    """A BOP data set that is missing or damaged; the message names the file and the remedy, in one line."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One object's true pose in an image.

    Attributes:
        index: of the annotation in its image, as in the masks' names. object_id: BOP's number.
        pose: (4, 4) camera_from_model, metres; the model's frame is BOP's.
        visible: share of the silhouette that is seen; None: not told.
        box, box_visible: of the silhouette and of what is seen of it; None: not told.
    """

    index: int
    object_id: int
    pose: Array
    visible: float | None = None
    box: Region | None = None
    box_visible: Region | None = None


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        BopError: there is none, it is too large, or no JSON.
    """
    try:
        content = read_at_most(path, MAX_JSON_BYTES)
    except OSError as error:
        raise BopError(f"{path} cannot be read: {error.strerror}; download or write it again") from None
    return parsed(content, str(path))


def parsed(content: bytes, where: str) -> Any:
    """JSON from memory; errors name `where` it is from."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise BopError(f"{where} is not JSON: nested too deeply; download or write it again") from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:160]
        raise BopError(f"{where} is not JSON: {reason}; download or write it again") from None


def by_image(value: Any, where: str, kind: type) -> dict[int, Any]:
    """An object of JSON whose keys are numbers of images and whose values are of one kind.

    Raises:
        BopError: it is something else.
    """
    if not isinstance(value, dict):
        raise BopError(f"{where} must map numbers of images to what is known of them, not be a {_kind(value)}")
    found = {}
    for key, one in value.items():
        if not (key.isdecimal() and key.isascii() and len(key) < 10):
            raise BopError(f"{where} has the key '{key[:40]}': keys are numbers of images")
        if not isinstance(one, kind):
            raise BopError(f"{where}, image {key}: expected {_NAMES[kind]}, got a {_kind(one)}")
        found[int(key)] = one
    return found


def intrinsics(camera: Any, where: str) -> Array:
    """(3, 3) K of an image, pixels (0, 0 is the centre of the first one).

    Raises:
        BopError: it is no camera matrix, or of a lens that BOP's images are not rectified for.
    """
    if not isinstance(camera, dict):
        raise BopError(f"{where}: expected an object with cam_K, got a {_kind(camera)}")
    if "cam_K" in camera:
        matrix = numbers(camera["cam_K"], 9, f"{where}: cam_K").reshape(3, 3)
    elif isinstance(camera.get("cam_model"), dict):
        matrix = _of_model(camera["cam_model"], where)
    else:
        raise BopError(f"{where} has no cam_K: give the camera matrix, nine numbers row by row")
    good = matrix[0, 0] > 0 and matrix[1, 1] > 0 and matrix[1, 0] == 0 and np.allclose(matrix[2], (0, 0, 1))
    if not good:
        raise BopError(f"{where}: cam_K {matrix.reshape(-1).tolist()} is no camera matrix: fx, s, cx, 0, fy, cy, 0, 0, "
                       "1 with fx, fy > 0")  # fmt: skip
    return matrix


def _of_model(model: Mapping[str, Any], where: str) -> Array:
    """K of the newer files' cam_model, where that is a pinhole camera."""
    kind = str(model.get("projection_model_type", ""))
    if "pinhole" not in kind.lower():
        raise BopError(f"{where}: its lens is '{kind[:60]}', images must be rectified: undistort them, and give cam_K")
    values = model.get("projection_params")
    count = len(values) if isinstance(values, list) else 0
    if count not in (3, 4):
        raise BopError(f"{where}: cam_model of a pinhole needs projection_params f, cx, cy or fx, fy, cx, cy")
    found = numbers(values, count, f"{where}: projection_params")
    fx, fy, cx, cy = found if count == 4 else found[[0, 0, 1, 2]]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def depth_scale(camera: Mapping[str, Any], where: str) -> float:
    """Metres of one unit of the depth image; BOP's default is 1 mm.

    Raises:
        BopError: it is no positive number.
    """
    value = camera.get("depth_scale", 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise BopError(f"{where}: depth_scale must be a positive number of millimetres, got {str(value)[:40]}")
    return float(value) * MILLIMETRE


def instances(truth: Any, info: Any, where: str) -> tuple[Instance, ...]:
    """The annotations of an image; `info` of `scene_gt_info.json` may be None.

    Raises:
        BopError: one of them is damaged.
    """
    if not isinstance(truth, list):
        raise BopError(f"{where}: expected a list of true poses, got a {_kind(truth)}")
    if info is not None and (not isinstance(info, list) or len(info) != len(truth)):
        told = f"{len(info)} entries" if isinstance(info, list) else f"a {_kind(info)}"
        raise BopError(f"{where}: scene_gt_info has {told} of {len(truth)} true poses: write it again, or remove it")
    found = []
    for index, one in enumerate(truth):
        place = f"{where}, true pose {index}"
        if not isinstance(one, dict):
            raise BopError(f"{place}: expected obj_id, cam_R_m2c and cam_t_m2c, got a {_kind(one)}")
        number = one.get("obj_id")
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**6:
            raise BopError(f"{place}: obj_id must be a number of a model, got {str(number)[:40]}")
        pose = np.eye(4)
        pose[:3, :3] = rotation(one.get("cam_R_m2c"), f"{place}: cam_R_m2c")
        pose[:3, 3] = numbers(one.get("cam_t_m2c"), 3, f"{place}: cam_t_m2c") * MILLIMETRE
        about = {} if info is None else info[index]
        if not isinstance(about, dict):
            raise BopError(f"{place}: scene_gt_info holds a {_kind(about)} instead of visib_fract and others")
        found.append(Instance(index, number, pose, _share(about.get("visib_fract"), place),
                              box(about.get("bbox_obj"), place), box(about.get("bbox_visib"), place)))  # fmt: skip
    return tuple(found)


def rotation(values: Any, what: str) -> Array:
    """The rotation nearest to nine rounded numbers, row by row. -> (3, 3).

    Raises:
        BopError: they are none.
    """
    matrix = numbers(values, 9, what).reshape(3, 3)
    u, _, vt = np.linalg.svd(matrix)
    nearest = u @ vt
    if np.linalg.norm(nearest - matrix) > _ROUNDING or np.linalg.det(nearest) < 0:
        raise BopError(f"{what} is no rotation: {np.round(matrix, 3).reshape(-1).tolist()}")
    return np.asarray(nearest)


def numbers(values: Any, count: int, what: str) -> Array:
    """So many finite numbers, of a list or of lists in it.

    Raises:
        BopError: they are not.
    """
    try:
        found = np.array(values, float).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.size != count or not np.isfinite(found).all():
        got = "none" if values is None else str(values)[:60]
        raise BopError(f"{what} must be {count} finite numbers, got {got}")
    return found


def box(values: Any, where: str) -> Region | None:
    """A box x, y, width, height of pixels that belong to it, each length the difference of the outermost two; None
    where there is none, which BOP writes with a length below 0."""
    if values is None:
        return None
    x, y, width, height = numbers(values, 4, f"{where}: a bounding box")
    if width < 0 or height < 0:
        return None
    return Region(float(x), float(y), float(width) + 1, float(height) + 1)


def _share(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e-6 <= value <= 1 + 1e-6:
        raise BopError(f"{where}: visib_fract is a share between 0 and 1, got {str(value)[:40]}")
    return float(value)


def mask_of_runs(runs: Any, where: str) -> NDArray[np.bool_]:
    """A mask from COCO's run lengths, {"size": [H, W], "counts": [...] or COCO's text}. -> (H, W).

    Column by column; lengths of 0 and 1 alternate and begin with 0.

    Raises:
        BopError: they do not fill the mask.
    """
    size: Any = runs.get("size") if isinstance(runs, dict) else None
    good = isinstance(size, list) and len(size) == 2 and all(type(one) is int and one > 0 for one in size)
    if not good or size[0] * size[1] > MAX_PIXELS:
        raise BopError(f"{where}: run lengths need a size [height, width] of at most {MAX_PIXELS} pixels")
    counts = runs.get("counts")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(type(one) is int and one >= 0 for one in counts):
        raise BopError(f"{where}: counts of run lengths must be numbers from 0 on, or COCO's text of them")
    if sum(counts) != size[0] * size[1]:
        raise BopError(f"{where}: run lengths add up to {sum(counts)}, the mask has {size[0]} x {size[1]} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.asarray(np.repeat(values, counts).reshape(size[1], size[0]).T)


def runs_of_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The inverse of `mask_of_runs`."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])  # what comes first is a length of 0
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": [int(one) for one in mask.shape], "counts": counts.tolist()}


def _unpacked(text: str) -> list[int] | None:
    """COCO's text of lengths: five bits a letter, least first; from the fourth on, differences to the last but one."""
    found: list[int] = []
    value, shift = 0, 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 40:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value, shift = 0, 0
    return found if shift == 0 else None


def _kind(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


_NAMES: dict[type, str] = {dict: "JSON object", list: "list", str: "text", int: "number", float: "number",
                           bool: "true or false"}  # fmt: skip
