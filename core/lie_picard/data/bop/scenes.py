"""Scene folders: JSON for all images of a scene, and an image file each. Newer data sets have several sensors a scene.

Files are found by numbers alone: no name that stands in a JSON file is ever opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.data.bop import pixels
from lie_picard.data.bop.annotations import BopError, by_image, read_json
from lie_picard.files import read_at_most

_SCENE = re.compile("[0-9]{1,9}")
_CAMERA = re.compile(r"scene_camera(?:_([A-Za-z0-9-]+))?\.json")
_ENDINGS = ".png", ".jpg", ".jpeg", ".tif", ".tiff"
_FILES = {"camera": ("scene_camera", dict), "gt": ("scene_gt", list), "gt_info": ("scene_gt_info", list)}


def folders_of(split: Path) -> list[Path]:
    """The scenes of a split, by number."""
    if not split.is_dir():
        return []
    found = [path for path in split.iterdir() if _SCENE.fullmatch(path.name) and path.is_dir()]
    found = [path for path in found if any(_CAMERA.fullmatch(file.name) for file in path.iterdir())]
    return sorted(found, key=lambda path: int(path.name))


class SceneFolder:
    """One scene as one sensor saw it. What was read is kept as long as this is."""

    def __init__(self, path: Path, sensor: str = "") -> None:
        self.path, self.name, self.scene_id = path, f"scene {path.name}", int(path.name)
        self.problems: list[str] = []
        self._sensor = sensor
        self._places: dict[str, Path | None] = {}
        self._endings: dict[Path, str] = {}

    def entries(self) -> Iterator[tuple[int, int, _SceneFiles]]:
        """`folder.Unit.entries`."""
        for number in sorted(self.of("camera") or {}):
            yield self.scene_id, number, _SceneFiles(self, number)

    def at(self, scene_id: int, image_id: int) -> _SceneFiles:
        """`folder.Unit.at`."""
        return _SceneFiles(self, image_id)

    def forget(self) -> None:
        """Let go of the annotations, which are read again when they are asked for."""
        for name in ("_cameras", "_truths", "_infos"):
            self.__dict__.pop(name, None)

    @cached_property
    def suffix(self) -> str:
        """What stands behind the names of files and folders of this sensor."""
        names = [found[1] or "" for file in self.path.iterdir() if (found := _CAMERA.fullmatch(file.name))]
        if self._sensor in names:
            return f"_{self._sensor}" if self._sensor else ""
        known = ", ".join(sorted(name or "(no name)" for name in names))
        if self._sensor or len(names) != 1:
            asked = f"no sensor '{self._sensor}'" if self._sensor else "several sensors"
            raise BopError(f"{self.path} has {asked}: choose with --sensor one of {known}")
        return f"_{names[0]}"

    def of(self, kind: str) -> dict[int, Any] | None:
        """A file's content by image; None where it does not exist. It is read once."""
        return {"camera": self._cameras, "gt": self._truths, "gt_info": self._infos}[kind]

    @cached_property
    def _cameras(self) -> dict[int, Any] | None:
        return self._load("camera")

    @cached_property
    def _truths(self) -> dict[int, Any] | None:
        return self._load("gt")

    @cached_property
    def _infos(self) -> dict[int, Any] | None:
        return self._load("gt_info")

    def _load(self, kind: str) -> dict[int, Any] | None:
        name, type_ = _FILES[kind]
        file = self.path / f"{name}{self.suffix}.json"
        return by_image(read_json(file), str(file), type_) if file.is_file() else None

    def place(self, kind: str) -> Path | None:
        """The folder of images, "depth", "mask" or "mask_visib"; None where there is none."""
        if kind not in self._places:
            bare = self.suffix.removeprefix("_")
            # HOT3D's folders are called as the sensor is; those of others have its name behind theirs.
            names = [f"rgb{self.suffix}", f"gray{self.suffix}", bare] if kind == "image" else [f"{kind}{self.suffix}"]
            there = [self.path / name for name in names if name and (self.path / name).is_dir()]
            self._places[kind] = there[0] if there else None
        return self._places[kind]

    def file(self, kind: str, name: str) -> Path | None:
        """The file of that name without its ending; None where there is none."""
        folder = self.place(kind)
        if folder is None:
            return None
        likely = self._endings.get(folder, _ENDINGS[0])
        for ending in (likely, *_ENDINGS):
            if (path := folder / f"{name}{ending}").is_file():
                self._endings[folder] = ending
                return path
        return None


class _SceneFiles:
    """One image's files (`folder.Files`)."""

    def __init__(self, scene: SceneFolder, number: int) -> None:
        self._scene, self._number = scene, number
        self.where = f"{scene.path}, image {number}"

    def annotation(self, kind: str) -> Any:
        """`folder.Files.annotation`."""
        return (self._scene.of(kind) or {}).get(self._number)

    def content(self, kind: str) -> tuple[bytes, str] | None:
        """`folder.Files.content`."""
        path = self._scene.file(kind, f"{self._number:06d}")
        if path is None and kind == "image" and (folder := self._scene.place("image")) is not None:
            raise BopError(f"{folder}/{self._number:06d}.png: no such file (nor .jpg, .tif): download the split again")
        return None if path is None else _content(path)

    def mask(self, kind: str, index: int) -> NDArray[np.bool_] | None:
        """`folder.Files.mask`."""
        path = self._scene.file(kind, f"{self._number:06d}_{index:06d}")
        return None if path is None else pixels.mask(*_content(path))


def _content(path: Path) -> tuple[bytes, str]:
    try:
        return read_at_most(path, pixels.MAX_BYTES), str(path)
    except OSError as error:
        raise BopError(f"{path} cannot be read: {error.strerror}; download or write it again") from None
