"""A BOP data set in a folder: its splits, images in scene folders or shards, targets. Read as it is asked for.

ROOT/models[_eval]/models_info.json, obj_000001.ply
ROOT/SPLIT/000001/scene_camera[_SENSOR].json, scene_gt..., scene_gt_info..., rgb|gray..., depth..., mask_visib...
ROOT/SPLIT/shard-000000.tar        (or in ROOT itself)
ROOT/test_targets_bop19.json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lie_picard.data.bop import annotations as labels
from lie_picard.data.bop import pixels, scenes, shards
from lie_picard.data.bop.annotations import BopError, Instance
from lie_picard.data.bop.models import Models
from lie_picard.files import expanded
from lie_picard.geometry.camera import Camera

Array = NDArray[np.float64]

TARGETS = "test_targets_bop19.json", "test_targets_bop24.json"


class Target(NamedTuple):
    """What is to be found: so many instances of an object in an image; None: of all that are there."""

    scene_id: int
    image_id: int
    object_id: int | None = None
    instances: int | None = None


class Files(Protocol):
    """Where the parts of one image are."""

    where: str

    def annotation(self, kind: str) -> Any:
        """Of "camera", "gt" or "gt_info", from JSON; None where there is none."""
        ...

    def content(self, kind: str) -> tuple[bytes, str] | None:
        """Bytes and name of the "image" or "depth" file; None where there is none."""
        ...

    def mask(self, kind: str, index: int) -> NDArray[np.bool_] | None:
        """The "mask" or "mask_visib" of an annotation; None where there is none."""
        ...


@dataclass(frozen=True, eq=False)
class Image:
    """One image of a data set; nothing of it is read before it is asked for.

    All methods raise BopError, with the file and the remedy, where what they read is damaged.
    """

    scene_id: int
    image_id: int
    files: Files

    @property
    def where(self) -> str:
        """Which image, for messages."""
        return self.files.where

    @cached_property
    def matrix(self) -> Array:
        """(3, 3) K, pixels."""
        camera = self.files.annotation("camera")
        if camera is None:
            raise BopError(f"{self.where} has no camera: give its cam_K")
        return labels.intrinsics(camera, self.where)

    def camera(self, shape: tuple[int, ...]) -> Camera:
        """The camera of an image of that shape (H, W[, 3])."""
        return Camera(self.matrix, np.zeros(0), shape[1], shape[0])

    @cached_property
    def instances(self) -> tuple[Instance, ...] | None:
        """The true poses; None where they are not known, as in test images that are kept secret."""
        truth = self.files.annotation("gt")
        return None if truth is None else labels.instances(truth, self.files.annotation("gt_info"), self.where)

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB or (H, W) grey."""
        found = self.files.content("image")
        if found is None:
            raise BopError(f"{self.where} has no image file (rgb or gray; png, jpg, tif): download the split again")
        return pixels.picture(*found)

    def depth(self) -> NDArray[np.float32] | None:
        """(H, W) metres along the optical axis, NaN where unknown; None where there is no depth image."""
        found = self.files.content("depth")
        if found is None:
            return None
        return pixels.depth(*found, labels.depth_scale(self.files.annotation("camera") or {}, self.where))

    def mask(self, index: int, visible: bool = True) -> NDArray[np.bool_] | None:
        """(H, W) of an annotation: what is seen of it, or its whole silhouette; None where there is none."""
        return self.files.mask("mask_visib" if visible else "mask", index)


class Unit(Protocol):
    """A scene's folder or a shard: images that are read together."""

    name: str
    path: Path
    problems: list[str]

    def entries(self) -> Iterator[tuple[int, int, Files]]:
        """Scene, image and files of each image.

        Raises:
            BopError: nothing of it can be read.
        """
        ...

    def forget(self) -> None:
        """Let go of what was read of it."""
        ...

    def at(self, scene_id: int, image_id: int) -> Files:
        """Files of an image that is one of the entries."""
        ...


class Dataset:
    """A BOP data set."""

    def __init__(self, root: str | Path, names: Mapping[int, str] | None = None) -> None:
        """`names`: of objects by BOP's number; others are called as in `models_info.json` ("name"), or obj_000001.

        Raises:
            BopError: no such folder, or no models.
        """
        self.root = expanded(root)
        if not self.root.is_dir():
            raise BopError(f"{self.root}: no such folder; give the one that holds models and splits (test, train_pbr)")
        self.models = Models(self.root, names)

    @property
    def name(self) -> str:
        """Of the folder, as results files carry it."""
        return self.root.resolve().name

    def splits(self) -> list[str]:
        """Folders that hold scenes or shards."""
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and self._holds(p))

    @staticmethod
    def _holds(folder: Path) -> bool:
        return bool(shards.files_of(folder) or scenes.folders_of(folder))

    def units(self, split: str, sensor: str = "") -> list[Unit]:
        """Scenes or shards of a split, in order. An empty name means shards in the root itself.

        Args:
            sensor: whose images, where a scene has those of several (scene_camera_SENSOR.json).

        Raises:
            BopError: there is no such split, or nothing in it.
        """
        if split in (".", "..") or "/" in split or "\\" in split:
            raise BopError(f"'{split}' is no name of a split: give a folder of {self.root}")
        folder = self.root / split
        found: list[Unit] = [scenes.SceneFolder(path, sensor) for path in scenes.folders_of(folder)]
        found += [shards.Shard(path) for path in shards.files_of(folder)]
        if not found:
            there = f"it has {', '.join(known)}" if (known := self.splits()) else "it has none"
            reason = "no such split" if not folder.is_dir() else "no scenes (000001/scene_camera.json) and no shards"
            raise BopError(f"{folder}: {reason}; {there}")
        return found

    def images(self, unit: Unit) -> Iterator[Image]:
        """Of a unit, in order.

        Raises:
            BopError: nothing of it can be read.
        """
        for scene, number, files in unit.entries():
            yield Image(scene, number, files)

    def targets(self, split: str) -> list[Target] | None:
        """What the challenge asks for in the test split; None where no file says it.

        Raises:
            BopError: the file is damaged.
        """
        if not split.startswith("test"):
            return None
        file = next((self.root / name for name in TARGETS if (self.root / name).is_file()), None)
        return None if file is None else _targets(labels.read_json(file), str(file))


def _targets(value: Any, where: str) -> list[Target]:
    if not isinstance(value, list) or not value:
        raise BopError(f"{where} must be a list of targets: download it again, or remove it to look for all objects")
    found = []
    for index, one in enumerate(value):
        numbers = [one.get(key) if isinstance(one, dict) else None for key in ("scene_id", "im_id", "obj_id")]
        count = one.get("inst_count", 1) if isinstance(one, dict) else None
        whole = all(type(number) is int and number >= 0 for number in (*numbers[:2], count))
        if not whole or not (numbers[2] is None or type(numbers[2]) is int):
            raise BopError(f"{where}, target {index} needs scene_id, im_id, obj_id and inst_count, got {str(one)[:80]}")
        scene, image, number = numbers
        assert isinstance(scene, int) and isinstance(image, int)
        found.append(Target(scene, image, number, None if number is None else count))
    return found
