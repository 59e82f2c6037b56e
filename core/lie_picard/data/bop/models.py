"""The 3D models of a BOP data set: millimetres in their files, metres here; two frames, BOP's and this project's.

BOP's frame is where the model's author put it, the middle of its box as a rule. An object of this project is about the
centre of the smallest ball that holds it, which is what a region in an image is of. The axes are the same:

    camera_from_object = camera_from_model * (turn: none, translation: `Model.centre`)
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.data.bop.annotations import MILLIMETRE, BopError
from lie_picard.geometry import mesh_files, models_info
from lie_picard.geometry.enclosing import smallest_ball
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.mesh_files import MeshError
from lie_picard.geometry.models_info import Listed
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry, SymmetryError
from lie_picard.objects import MeshObject, Object

Array = NDArray[np.float64]

FOLDERS = "models_eval", "models", "models_cad"  # that with the vertices that errors are defined on first
_DIRECTIONS, _SAME = 500, 0.02  # that hulls are compared in, and by how much they may differ, in radii
_FIT = 0.9, 2.0  # diagonal of the vertices' box over BOP's diameter: 1 to 1.74, and some error


@dataclass(frozen=True, eq=False)
class Model:
    """One object of a data set.

    Attributes:
        object_id: BOP's number. name: the user's.
        diameter: BOP's, the largest distance of two vertices, metres.
        vertices: (V, 3) as the file has them, metres, model's frame. triangles: (T, 3) indices.
        colours: (T, 3, 3) RGB in [0, 1] of each corner; None: the file has none.
        textured: whether it has a texture, which is not read: its colours are unknown.
        listed: its symmetries as `models_info.json` lists them, metres, model's frame.
        centre, radius: of the smallest ball that holds the vertices, metres, model's frame.
        symmetry: the group that they generate, in the object's frame.
    """

    object_id: int
    name: str
    diameter: float
    vertices: Array
    triangles: NDArray[np.int64]
    colours: NDArray[np.float32] | None
    textured: bool
    listed: Listed
    centre: Array
    radius: float
    symmetry: Symmetry

    def object_pose(self, pose: Array) -> Array:
        """camera_from_object of a camera_from_model (4, 4)."""
        return self._moved(pose, self.centre)

    def model_pose(self, pose: Array) -> Array:
        """camera_from_model of a camera_from_object (4, 4)."""
        return self._moved(pose, -self.centre)

    @staticmethod
    def _moved(pose: Array, by: Array) -> Array:
        result = np.array(pose, float)
        result[:3, 3] += pose[:3, :3] @ by
        return result

    @cached_property
    def mesh(self) -> Mesh:
        """In the object's frame: about the centre of its ball."""
        return Mesh(self.vertices - self.centre, self.triangles)

    @cached_property
    def shape(self) -> MeshObject | None:
        """The object, to be rendered; None where the file has vertices alone."""
        if not len(self.triangles):
            return None
        surface = Surface(self.mesh.vertices, self.triangles, self.colours)
        return MeshObject(self.name, surface, self.symmetry, diameter=2 * self.radius)


class Models(Mapping[int, Model]):
    """The models of a folder by BOP's numbers. A model is read when it is first asked for."""

    def __init__(self, root: Path, names: Mapping[int, str] | None = None) -> None:
        """Args:
            root: of the data set. names: of objects, by number; else the file's "name" or obj_000001.

        Raises:
            BopError: there are no models, or `models_info.json` is damaged.
        """
        places = [root / name for name in FOLDERS]
        places += sorted(path for path in root.glob("models_*") if path not in places)
        self.folder = next((path for path in places if (path / "models_info.json").is_file()), root / FOLDERS[1])
        self.file = self.folder / "models_info.json"
        if not self.file.is_file():
            raise BopError(f"{self.file}: no such file; download the data set's models to there")
        try:
            self._info = models_info.read(self.file)
        except SymmetryError as error:
            raise BopError(str(error)) from None
        self._keys = {int(key): key for key in self._info if re.fullmatch("[0-9]{1,6}", key)}
        if not self._keys:
            raise BopError(f"{self.file} lists no object by its number: expected keys such as 5 in quotes")
        if unknown := sorted(set(names or {}) - set(self._keys)):
            raise BopError(f"{self.file} has no object {unknown[0]}: it has {_some(self._keys)}")
        self.names = {number: self._name(number, names or {}) for number in self._keys}
        twice = next((name for name in self.names.values() if list(self.names.values()).count(name) > 1), None)
        if twice is not None:
            raise BopError(f"two objects are called '{twice}': give each a name of its own")
        self._read: dict[int, Model] = {}

    def _name(self, number: int, names: Mapping[int, str]) -> str:
        entry = self._info[self._keys[number]]
        named = entry.get("name") if isinstance(entry, dict) else None
        return names.get(number) or (named if isinstance(named, str) and named else f"obj_{number:06d}")

    def __getitem__(self, number: int) -> Model:
        """The model of that number.

        Raises:
            KeyError: there is none. BopError: its file or entry is damaged.
        """
        if number not in self._read:
            self._read[number] = self._model(number)
        return self._read[number]

    def __contains__(self, number: object) -> bool:
        return number in self._keys

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def number(self, name: str) -> int | None:
        """Of the object of that name."""
        return next((number for number, one in self.names.items() if one == name), None)

    def _model(self, number: int) -> Model:
        key = self._keys[number]
        entry: Any = self._info[key]
        size = entry.get("diameter") if isinstance(entry, dict) else None
        if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < 1e6:
            raise BopError(f"{self.file}: object {number} needs a diameter in millimetres, got {str(size)[:40]}")
        diameter = float(size) * MILLIMETRE
        try:
            listed = models_info.symmetries_of(self.file, key)
            vertices, triangles, colours, textured = self._surface(number)
            centre, radius = smallest_ball(vertices)
            symmetry = Symmetry.generated(*_about(listed, centre))
        except (MeshError, SymmetryError) as error:
            raise BopError(f"object {number}: {error}") from None
        extent = float(np.linalg.norm(np.ptp(vertices, axis=0)))
        if not _FIT[0] <= extent / diameter <= _FIT[1]:
            raise BopError(
                f"{self.file}: object {number} has a diameter of {size:g}, but the box of its mesh a diagonal of "
                f"{extent / MILLIMETRE:.4g}: both are in millimetres; write one of them again"
            )
        return Model(number, self.names[number], diameter, vertices, triangles, colours, textured, listed, centre,
                     radius, symmetry)  # fmt: skip

    def _surface(self, number: int) -> tuple[Array, NDArray[np.int64], NDArray[np.float32] | None, bool]:
        """Vertices in metres as the file has them, repeated ones included: errors are means over them. And triangles,
        colours, and whether there is a texture."""
        import trimesh

        path = self.folder / f"obj_{number:06d}.ply"
        if not path.is_file():
            raise BopError(f"{path}: no such file; download the data set's models again, or remove {number} from "
                           f"{self.file.name}")  # fmt: skip
        content, kind = mesh_files.read(path)
        try:
            loaded = trimesh.load_mesh(io.BytesIO(content), kind, process=False)
        except Exception as error:  # whatever a parser raises, the file is bad
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MeshError(f"mesh {path} cannot be read: {reason[:200]}; download it again") from None
        vertices = np.asarray(getattr(loaded, "vertices", ()), np.float64).reshape(-1, 3) * MILLIMETRE
        triangles = np.asarray(getattr(loaded, "faces", ()), np.int64).reshape(-1, 3)
        if not len(vertices) or not (np.abs(vertices) < 1e6).all():
            raise MeshError(f"mesh {path} has no finite vertices: download it again")
        if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
            raise MeshError(f"mesh {path} has triangles of corners that are not in the file: download it again")
        paint: Any = getattr(loaded, "visual", None)
        colours: NDArray[np.float32] | None = None
        if getattr(paint, "kind", None) == "vertex" and len(paint.vertex_colors) == len(vertices):
            colours = np.asarray(np.asarray(paint.vertex_colors)[triangles][..., :3] / 255, np.float32)
        return vertices, triangles, colours, bool(getattr(paint, "kind", None) == "texture")


def agrees(model: Model, known: Object) -> bool:
    """Whether a model has the shape of an object of a catalogue, in the same frame: their convex hulls are compared."""
    heights = np.linspace(-1, 1, _DIRECTIONS)
    angles = np.arange(_DIRECTIONS) * (np.pi * (3 - 5**0.5))  # the golden angle: directions spread evenly
    across = np.sqrt(1 - heights**2)
    directions = np.stack([across * np.cos(angles), across * np.sin(angles), heights], 1)
    mine, other = model.mesh.vertices, known.mesh(2 * model.radius).vertices
    extents = [(vertices @ directions.T).max(0) for vertices in (mine, other)]
    return bool(np.abs(extents[0] - extents[1]).max() <= _SAME * model.radius)


def _about(listed: Listed, centre: Array) -> Listed:
    """Symmetries of a frame whose origin is moved to `centre`: t' = t + R c - c."""
    moved = listed.translations + listed.rotations @ centre - centre
    return listed._replace(translations=moved, offsets=listed.offsets - centre)


def object_names(texts: Sequence[str]) -> dict[int, str]:
    """Names by number, from words such as 5=bracket.

    Raises:
        BopError: one is none, or a number or a name is there twice.
    """
    found: dict[int, str] = {}
    for text in texts:
        number, equals, name = text.partition("=")
        if not equals or not name or not re.fullmatch("[0-9]{1,6}", number):
            raise BopError(f"'{text}' names no object: write NUMBER=NAME, as 5=bracket")
        if int(number) in found or name in found.values():
            raise BopError(f"'{text}': give each object one name, and each name to one object")
        found[int(number)] = name
    return found


def _some(numbers: Mapping[int, str]) -> str:
    known = [str(number) for number in sorted(numbers)]
    return ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
