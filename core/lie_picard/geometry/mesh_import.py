"""Parts as CAD and modelling programs write them: any format that trimesh reads, scenes, instances, paint.

What the file names beside itself (materials, textures, buffers) is read from its own folder alone.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.files import read_at_most
from lie_picard.geometry import mesh_files
from lie_picard.geometry.mesh_files import MeshError
from lie_picard.geometry.surface import Surface

Array = NDArray[np.float64]

FORMATS = "stl", "ply", "obj", "off", "glb", "gltf", "3mf", "dae", "zae", "3dxml", "zip"
UNPAINTED = 0.8  # grey of triangles without a colour where others have one
_MAX_BYTES = 1 << 29
_ARCHIVES = "3mf", "zae", "3dxml", "zip"


@dataclass(frozen=True, eq=False)
class Imported:
    """What a file holds.

    Attributes:
        surface: in the file's own unit and axes. unit: metres in one of its units, where it says so.
        said: what was left out or not found, for people.
    """

    surface: Surface
    unit: float | None
    said: tuple[str, ...]


def load(path: str | Path) -> Imported:
    """All triangles of a file as one surface, every instance of a scene in its place.

    Raises:
        MeshError: it cannot be read, or holds no triangles; one line with the remedy.
    """
    import trimesh

    path = Path(path)
    content, kind = _content(path)
    resolver = _resolver(path)
    try:
        scene = trimesh.load_scene(io.BytesIO(content), kind, resolver=resolver, process=False)
        parts, said = _parts(scene)
        unit = _unit(scene)
    except MeshError:
        raise
    except MemoryError:
        raise MeshError(f"mesh {path} needs more memory than there is: simplify it before") from None
    except Exception as error:  # whatever a parser raises, the file is bad
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MeshError(f"mesh {path} cannot be read: {reason[:200]}; export it again, or as STL, PLY or OBJ") from None
    if not parts:
        raise MeshError(f"mesh {path} holds no triangles: export its surface, not points, lines or a CAD model")
    lost = sorted({name for name in resolver.missing if name})
    if lost:
        some = ", ".join(name[:60] for name in lost[:5])
        said.append(f"not found beside it, so its colours are unknown: {some}")
    return Imported(_joined(parts), unit, tuple(said))


def _content(path: Path) -> tuple[bytes, str]:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise MeshError(f"mesh {path} is none of {', '.join(FORMATS)} by its name: export it as one of them")
    if kind in mesh_files.KINDS:
        return mesh_files.read(path, _MAX_BYTES, textures=True)
    try:
        content = read_at_most(path, _MAX_BYTES)
    except OSError as error:
        raise MeshError(f"mesh {path} cannot be read: {error.strerror}; export it again") from None
    if kind in _ARCHIVES:
        _check_archive(path, content)
    elif kind == "glb" and int.from_bytes(content[8:12], "little") > len(content) >= 12:
        promised = int.from_bytes(content[8:12], "little")
        raise MeshError(f"mesh {path} is truncated: {len(content)} of {promised} bytes are there; copy it again")
    return content, kind


def _check_archive(path: Path, content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        raise MeshError(f"mesh {path} is no whole archive: copy or export it again") from None
    if size > _MAX_BYTES:
        raise MeshError(f"mesh {path} unpacks to {size >> 20} MiB, at most {_MAX_BYTES >> 20} are read: simplify it")


def _resolver(path: Path) -> Any:
    """Finds the files that a mesh names, in its own folder and of bounded size, and remembers what was not there."""
    from trimesh.resolvers import FilePathResolver

    class Beside(FilePathResolver):
        def __init__(self, source: str) -> None:
            super().__init__(source)
            self.missing: list[str] = []

        def get(self, name: str) -> bytes:
            for candidate in (name.strip(), name.strip().lstrip("/"), re.split(r"[/\\]", name.strip())[-1]):
                try:
                    return read_at_most(self.absolute(candidate), _MAX_BYTES)
                except (OSError, ValueError):
                    continue
            self.missing.append(name.strip())
            raise FileNotFoundError(f"'{name[:100]}' is not in its folder")

    return Beside(str(path))


def _unit(scene: Any) -> float | None:
    """Metres in one unit of the file, where it says so."""
    from trimesh.units import unit_conversion

    if not scene.units:
        return None
    try:
        return float(unit_conversion(scene.units, "meters"))
    except (KeyError, ValueError, TypeError):
        return None


def _parts(scene: Any) -> tuple[list[Surface], list[str]]:
    """Every instance of every geometry, in the scene's frame."""
    parts, said, left = [], [], {"points": 0, "lines": 0}
    names = {"PointCloud": "points", "Path2D": "lines", "Path3D": "lines"}
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        one = scene.geometry[name]
        kind = names.get(type(one).__name__)
        if kind is not None:
            left[kind] += 1
        elif len(getattr(one, "faces", ())):
            parts.append(_placed(_surface(one), np.asarray(transform, float)))
    said += [f"left out: {count} sets of {kind}" for kind, count in left.items() if count]
    return parts, said


def _placed(surface: Surface, transform: Array) -> Surface:
    vertices = surface.vertices @ transform[:3, :3].T + transform[:3, 3]
    triangles = surface.triangles
    colours, uv = surface.colours, surface.uv
    if np.linalg.det(transform[:3, :3]) < 0:  # a mirrored instance: its triangles go the other way round
        triangles = triangles[:, ::-1]
        colours = None if colours is None else colours[:, ::-1]
        uv = None if uv is None else uv[:, ::-1]
    return Surface(vertices, triangles, colours, uv, surface.textures, surface.texture)


def _surface(mesh: Any) -> Surface:
    """A trimesh.Trimesh with its paint."""
    vertices, triangles = np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64)
    if not (triangles.min() >= 0 and triangles.max() < len(vertices)):
        raise MeshError("a mesh has triangles of corners that are not in the file: export it again")
    visual, kind = mesh.visual, getattr(mesh.visual, "kind", None)
    if kind == "vertex":
        colours = np.asarray(visual.vertex_colors)[triangles][..., :3]
        return Surface(vertices, triangles, (colours / 255).astype(np.float32))
    if kind == "face":
        colours = np.repeat(np.asarray(visual.face_colors)[:, None, :3], 3, 1)
        return Surface(vertices, triangles, (colours / 255).astype(np.float32))
    if kind != "texture":
        return Surface(vertices, triangles)
    parts = list(_materials(visual, len(triangles)))
    colours = np.full((len(triangles), 3, 3), np.nan, np.float32)
    texture = np.full(len(triangles), -1, np.int64)
    pictures: list[NDArray[np.uint8]] = []
    for chosen, factor, picture in parts:
        if factor is not None:
            colours[chosen] = factor
        if picture is not None:
            texture[chosen] = len(pictures)
            pictures.append(picture)
    uv = None if visual.uv is None else np.asarray(visual.uv, np.float32)[triangles]
    if uv is None or not np.isfinite(uv).all():
        pictures, texture = [], np.full(len(triangles), -1, np.int64)
    painted = np.isfinite(colours).all((1, 2))
    if pictures:
        colours[(texture >= 0) & ~painted] = 1.0
        return Surface(vertices, triangles, colours, uv, tuple(pictures), texture)
    return Surface(vertices, triangles, colours if painted.any() else None)


def _materials(visual: Any, count: int) -> Iterator[tuple[Any, Array | None, NDArray[np.uint8] | None]]:
    """Which triangles have which colour and which picture."""
    material = visual.material
    several = getattr(material, "materials", None)
    if several is None:
        yield slice(None), *_paint(material)
        return
    which = np.asarray(visual.face_materials)
    for index, one in enumerate(several):
        yield which[:count] == index, *_paint(one)


def _paint(material: Any) -> tuple[Array | None, NDArray[np.uint8] | None]:
    """A material's colour, where it has one, and its picture, whose colours count alone in an OBJ file's materials."""
    physical = hasattr(material, "baseColorTexture")
    picture = material.baseColorTexture if physical else getattr(material, "image", None)
    given = material.baseColorFactor if physical else getattr(material, "diffuse", None)
    if picture is not None:
        picture = np.asarray(picture.convert("RGB"), np.uint8)
        if np.array_equal(picture, _placeholder()):
            return None, None
        given = given if physical else None
    if given is None:
        return None, picture
    values = np.asarray(given, float).reshape(-1)[:3]
    scale = 255.0 if np.asarray(given).dtype.kind in "ui" else 1.0
    return np.clip(values / scale, 0, 1), picture


def _placeholder() -> NDArray[np.uint8]:
    """The picture that trimesh puts where a file names a material that is not there."""
    from trimesh.visual.material import empty_material

    return np.asarray(empty_material().image.convert("RGB"), np.uint8)


def _joined(parts: list[Surface]) -> Surface:
    """One surface of several; where some have paint, the others become grey."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])
    triangles = np.concatenate([part.triangles + offset for part, offset in zip(parts, offsets, strict=False)])
    if not any(part.is_coloured for part in parts):
        return Surface(vertices, triangles)
    colours = np.concatenate(
        [
            np.full((len(part.triangles), 3, 3), np.nan, np.float32) if part.colours is None else part.colours
            for part in parts
        ]
    )
    colours[~np.isfinite(colours)] = UNPAINTED
    if not any(part.textures for part in parts):
        return Surface(vertices, triangles, colours)
    pictures: list[NDArray[np.uint8]] = []
    uvs, textures = [], []
    for part in parts:
        count = len(part.triangles)
        uvs.append(np.zeros((count, 3, 2), np.float32) if part.uv is None else part.uv)
        index = np.full(count, -1, np.int64) if part.texture is None else part.texture
        textures.append(np.where(index < 0, -1, index + len(pictures)))
        pictures += part.textures
    return Surface(vertices, triangles, colours, np.concatenate(uvs), tuple(pictures), np.concatenate(textures))
