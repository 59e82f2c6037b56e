"""The SYMSOL format on disk, read and written.

`<root>/<split>/images/<shape>_<index>.png` and `<root>/<split>/rotations.npz`, which maps each shape to an array
[N, n_equivalent, 3, 3]: entry 0 is the rotation used for rendering, the rest its symmetry equivalents.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.data.seeds import stream_generator, train_generator
from lie_picard.files import atomic_write, file_name
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects import Object
from lie_picard.rendering.clean import render

SPLITS = "train", "test"
_CHUNK = 50
_AGREE = math.radians(1.5)  # listed rotations of circles lie on grids of a degree


class DatasetError(ValueError):
    """A data set that is missing or damaged; the message names the file."""


@dataclass(frozen=True)
class ShapeData:
    """One shape of a split.

    Attributes:
        shape: its name. images: (N,) paths. rotations: (N, n_equivalent, 3, 3) float32.
    """

    shape: str
    images: tuple[Path, ...]
    rotations: Tensor

    def image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) RGB.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        picture = cv2.imread(str(self.images[index]), cv2.IMREAD_COLOR)
        if picture is None:
            raise DatasetError(f"{self.images[index]}: missing, or not a readable image")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def read(root: Path, split: str, shapes: Sequence[str] | None = None) -> list[ShapeData]:
    """The shapes of a split, images not yet loaded.

    Raises:
        DatasetError: a file is missing, or a shape is not in it.
    """
    folder, table = root / split / "images", root / split / "rotations.npz"
    if not table.is_file():
        raise DatasetError(f"{table}: no such file; expected <root>/{{train,test}}/rotations.npz and images/")
    found = []
    try:
        with np.load(table) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{table} is damaged ({str(error)[:100]}): write it again") from None
    for shape in shapes or arrays:
        if shape not in arrays:
            raise DatasetError(f"{table}: no shape '{shape}'; it holds {', '.join(arrays)}")
        rotations = arrays[shape]
        if rotations.ndim != 4 or rotations.shape[2:] != (3, 3):
            raise DatasetError(f"{table}: '{shape}' has shape {rotations.shape}, expected (N, n_equivalent, 3, 3)")
        paths = _paths(folder, shape, len(rotations))
        found.append(ShapeData(shape, paths, torch.from_numpy(rotations.astype(np.float32))))
    return found


def write(
    root: Path,
    split: str,
    shapes: Sequence[Object],
    images: int,
    size: int = 224,
    seed: int = 0,
    on_image: Callable[[], None] | None = None,
) -> None:
    """Render `images` of every shape at uniform rotations and write them in SYMSOL's format.

    Raises:
        DatasetError: the split exists already, a name cannot be part of a file's, or an image cannot be written.
    """
    folder, table = root / split / "images", root / split / "rotations.npz"
    if table.exists():
        raise DatasetError(f"{table} exists already: remove it, or choose another folder")
    if unfit := next((shape.name for shape in shapes if file_name(shape.name) != shape.name), None):
        raise DatasetError(
            f"the name {unfit[:80]!r} cannot be part of a file's: an object needs one without / to be rendered"
        )
    folder.mkdir(parents=True, exist_ok=True)
    digits = max(5, len(str(images - 1)))
    arrays = {}
    for index, shape in enumerate(shapes):
        draw = train_generator if split == "train" else stream_generator
        generator = draw("render", seed, index)
        rotations = so3.uniform(images, generator=generator)
        for start in range(0, images, _CHUNK):
            pictures = render(shape, rotations[start : start + _CHUNK], size, channels=3).numpy()
            for offset, picture in enumerate(pictures):
                path = folder / f"{shape.name}_{start + offset:0{digits}d}.png"
                if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
                    raise DatasetError(f"cannot write {path}")
                if on_image:
                    on_image()
        symmetry = _listed(shape)
        symmetry = Symmetry.none() if symmetry.is_ball else symmetry
        arrays[shape.name] = symmetry.equivalents(rotations, 1.0).numpy()
    with atomic_write(table) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _listed(shape: Object) -> Symmetry:
    """What an image's equal poses follow from.

    As in SYMSOL, marked shapes list those of the bare one, but for a ball's, which cannot be listed: what its marks
    leave is.
    """
    bare = shape.shape_symmetry
    return bare if len(shape.landmarks) and not bare.is_ball else shape.symmetry


def agrees(stored: ShapeData, known: Object) -> bool:
    """Whether the equal poses that a data set lists are an object's: then both are one shape in one frame."""
    if not len(stored.rotations):
        raise DatasetError(f"the data set holds no image of '{stored.shape}'")
    first, listed = stored.rotations[0, 0].double(), stored.rotations[0].double()
    symmetry = _listed(known)
    if symmetry.is_ball:
        return len(listed) == 1
    if float(symmetry.distance(first, listed).max()) > _AGREE:
        return False
    expected = symmetry.equivalents(first, 10.0)
    missing = so3.pairwise_angle(expected, listed).amin(1) > _AGREE
    return bool(len(known.landmarks)) or not bool(missing.any())


def _paths(folder: Path, shape: str, count: int) -> tuple[Path, ...]:
    """Image files by index, whatever the width of the number in their names."""
    by_index = {}
    for path in folder.glob(f"{shape}_*.png"):
        number = path.stem.removeprefix(f"{shape}_")
        if number.isdigit():
            by_index[int(number)] = path
    missing = next((k for k in range(count) if k not in by_index), None)
    if missing is not None:
        raise DatasetError(f"{folder}: no image {shape}_{missing}.png, but rotations.npz has {count} of that shape")
    return tuple(by_index[k] for k in range(count))
