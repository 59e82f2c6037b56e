"""Rendered scenes as a BOP data set: models, images with depth and masks, true poses; in folders or in shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.data.bop.annotations import MILLIMETRE, BopError, runs_of_mask
from lie_picard.data.bop.render import SHARPNESS, View, draw_camera, draw_placements, render
from lie_picard.data.seeds import stream_generator, train_generator
from lie_picard.files import atomic_write, file_name
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects import MeshObject, Object
from lie_picard.objects.folder import widest
from lie_picard.rendering.clean import BACKGROUND
from lie_picard.rendering.randomisation import Rng, photograph_crops

Array = NDArray[np.float64]

LAYOUTS = "scenes", "shards"
BACKGROUNDS = "dark", "photographs"
DIAMETER = 0.1  # metres, of objects of any size
_DEPTH_UNIT = 0.1  # millimetres in one unit of depth images
_MIN_VISIBLE = 0.1  # of a target
_A_SHARD = 1000
_MAX_SCENES = 1000  # streams of random numbers
_FACE = 0.04  # of the diameter: longest edge of a painted model
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scenes:
    """What is written.

    Attributes:
        objects: that appear; their numbers are their places here, from 1.
        scenes: number of them. images: of each. most: objects in an image, at most; an object may be there twice.
        width, height: of the images, pixels. background: one of `BACKGROUNDS`.
    """

    objects: Sequence[Object]
    scenes: int
    images: int
    most: int = 6
    width: int = 640
    height: int = 480
    background: str = "dark"

    def __post_init__(self) -> None:
        if not 1 <= self.scenes <= _MAX_SCENES:
            raise BopError(f"--scenes must be 1 to {_MAX_SCENES}, got {self.scenes}")
        if min(self.width, self.height) < 32 or max(self.width, self.height) > 8192:
            raise BopError(f"images must be 32 to 8192 pixels wide and high, got {self.width} x {self.height}")


def write(
    root: Path,
    split: str,
    what: Scenes,
    layout: str = "scenes",
    seed: int = 0,
    on_image: Callable[[], object] | None = None,
) -> None:
    """Render scenes and write them as a split; the models, too, where they are not there yet.

    Raises:
        BopError: the split exists already, or the models there are others. PhotographsError: no backgrounds.
    """
    folder = root / split
    if file_name(split) != split:
        raise BopError(f"'{split[:60]}' cannot be the name of a folder: call the split train, test or alike")
    if folder.exists():
        raise BopError(f"{folder} exists already: remove it, or choose another split or folder")
    offsets = _write_models(root, what.objects)
    folder.mkdir(parents=True)
    writer = _write_scenes if layout == "scenes" else _write_shards
    targets = writer(folder, what, offsets, seed, on_image or (lambda: None))
    if split.startswith("test"):
        _save(root / "test_targets_bop19.json", targets)
    camera = {"cx": what.width / 2, "cy": what.height / 2, "depth_scale": _DEPTH_UNIT, "fx": SHARPNESS * what.width,
              "fy": SHARPNESS * what.width, "height": what.height, "width": what.width}  # fmt: skip
    _save(root / "camera.json", camera)


def views(what: Scenes, split: str, seed: int) -> Iterator[tuple[int, int, View]]:
    """Scene, image and rendering, one after another; a scene depends on the split's half, the seed and its number."""
    train = split.startswith("train")
    draw = train_generator if train else stream_generator
    sizes = [(shape, number, (shape.diameter or DIAMETER) / 2) for number, shape in enumerate(what.objects, 1)]
    for scene in range(what.scenes):
        generator = draw("bop", seed, scene)
        rng = Rng(generator, _CPU)
        crops = None
        if what.background == "photographs":
            crops = photograph_crops("train" if train else "test", max(what.width, what.height), generator, 16)
        for image in range(what.images):
            count = 1 + int(rng.integers(what.most, 1))
            chosen = torch.randperm(2 * len(sizes), generator=generator)[:count] % len(sizes)
            camera = draw_camera(what.width, what.height, rng)
            placements = draw_placements([sizes[k] for k in chosen.tolist()], camera, rng)
            background = torch.full((what.height, what.width, 3), BACKGROUND)
            if crops is not None:
                crop = crops[int(rng.integers(len(crops), 1))].permute(1, 2, 0)
                background = crop[: what.height, : what.width].float() / 255
            yield scene, image, render(camera, placements, background.numpy())


def _write_scenes(
    folder: Path, what: Scenes, offsets: Sequence[Array], seed: int, on_image: Callable[[], object]
) -> list[dict[str, int]]:
    targets: list[dict[str, int]] = []
    cameras: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    infos: dict[str, Any] = {}
    for scene, image, view in views(what, folder.name, seed):
        place = folder / f"{scene:06d}"
        if image == 0:
            cameras, truths, infos = {}, {}, {}
            for name in ("rgb", "depth", "mask", "mask_visib"):
                (place / name).mkdir(parents=True)
        cameras[str(image)], truths[str(image)], infos[str(image)] = annotations_of(view, offsets)
        _picture(place / "rgb" / f"{image:06d}.png", view.picture)
        _picture(place / "depth" / f"{image:06d}.png", _stored(view.depth))
        for name, masks in (("mask", view.masks), ("mask_visib", view.visible)):
            for index, mask in enumerate(masks):
                _picture(place / name / f"{image:06d}_{index:06d}.png", mask.astype(np.uint8) * 255)
        targets += _targets(scene, image, truths[str(image)], infos[str(image)])
        if image == what.images - 1:
            for name, values in (("camera", cameras), ("gt", truths), ("gt_info", infos)):
                _save(place / f"scene_{name}.json", values)
        on_image()
    return targets


def _write_shards(
    folder: Path, what: Scenes, offsets: Sequence[Array], seed: int, on_image: Callable[[], object]
) -> list[dict[str, int]]:
    targets: list[dict[str, int]] = []
    shard: tarfile.TarFile | None = None
    where = {}
    try:
        for count, (scene, image, view) in enumerate(views(what, folder.name, seed)):
            number, place = divmod(count, _A_SHARD)
            if place == 0:
                if shard is not None:
                    shard.close()
                shard = tarfile.open(folder / f"shard-{number:06d}.tar", "w")  # noqa: SIM115
            assert shard is not None
            key = f"{scene:06d}_{image:06d}"
            where[key] = number
            camera, truth, info = annotations_of(view, offsets)
            good, coded = cv2.imencode(".jpg", cv2.cvtColor(view.picture, cv2.COLOR_RGB2BGR), _QUALITY)
            _, deep = cv2.imencode(".png", _stored(view.depth))
            if not good:
                raise BopError(f"{folder}: image {key} cannot be encoded")
            masks = {str(k): runs_of_mask(mask) for k, mask in enumerate(view.masks)}
            visible = {str(k): runs_of_mask(mask) for k, mask in enumerate(view.visible)}
            parts = {"rgb.jpg": coded.tobytes(), "depth.png": deep.tobytes()}
            for name, value in (("camera", camera), ("gt", truth), ("gt_info", info), ("mask", masks),
                                ("mask_visib", visible)):  # fmt: skip
                parts[f"{name}.json"] = json.dumps(value).encode()
            for name, content in parts.items():
                head = tarfile.TarInfo(f"{key}.{name}")
                head.size = len(content)
                shard.addfile(head, io.BytesIO(content))
            targets += _targets(scene, image, truth, info)
            on_image()
    finally:
        if shard is not None:
            shard.close()
    _save(folder / "key_to_shard.json", where)
    return targets


_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 95)


def annotations_of(view: View, offsets: Sequence[Array]) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """What scene_camera, scene_gt and scene_gt_info say of an image.

    Args:
        offsets: (3,) of each object's model, its origin in the object's frame, metres.
    """
    camera = {"cam_K": view.camera.matrix.reshape(-1).tolist(), "depth_scale": _DEPTH_UNIT}
    truth, info = [], []
    for index, one in enumerate(view.placements):
        origin = one.pose[:3, 3] + one.pose[:3, :3] @ offsets[one.number - 1]
        truth.append({
            "cam_R_m2c": one.pose[:3, :3].reshape(-1).tolist(), "cam_t_m2c": (origin / MILLIMETRE).tolist(),
            "obj_id": one.number,
        })  # fmt: skip
        every, seen = view.masks[index], view.visible[index]
        counts = int(every.sum()), int(seen.sum())
        info.append({
            "bbox_obj": _box(every), "bbox_visib": _box(seen), "px_count_all": counts[0],
            "px_count_valid": int((every & (view.depth > 0)).sum()), "px_count_visib": counts[1],
            "visib_fract": counts[1] / counts[0] if counts[0] else 0.0,
        })  # fmt: skip
    return camera, truth, info


def _targets(scene: int, image: int, truth: Sequence[Any], info: Sequence[Any]) -> list[dict[str, int]]:
    seen = [one["obj_id"] for one, about in zip(truth, info, strict=True) if about["visib_fract"] >= _MIN_VISIBLE]
    return [
        {"im_id": image, "inst_count": seen.count(number), "obj_id": number, "scene_id": scene}
        for number in sorted(set(seen))
    ]


def _box(mask: NDArray[np.bool_]) -> list[int]:
    """x, y, width, height as BOP counts them; -1 each where there is nothing."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return [-1, -1, -1, -1]
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]), int(rows[-1] - rows[0])]


def _stored(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (depth / (MILLIMETRE * _DEPTH_UNIT)).round().clip(0, 65535).astype(np.uint16)


def _write_models(root: Path, objects: Sequence[Object]) -> list[Array]:
    """Models in millimetres about the middles of their boxes; -> (3,) of each, in the object's frame, metres."""
    entries, offsets, meshes = {}, [], []
    for number, one in enumerate(objects, 1):
        diameter = one.diameter or DIAMETER
        mesh, colours = _painted(one, diameter)
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        offset = (low + high) / 2
        symmetry = Symmetry(one.symmetry.rotations, one.symmetry.axes, one.symmetry.centre - offset)
        size = (high - low) / MILLIMETRE
        entries[str(number)] = {
            "name": one.name, "diameter": _span(mesh.vertices) / MILLIMETRE,
            **{f"min_{axis}": -value / 2 for axis, value in zip("xyz", size.tolist(), strict=True)},
            **{f"size_{axis}": value for axis, value in zip("xyz", size.tolist(), strict=True)},
            **{key: value for key, value in symmetry.to_models_info().items() if value},
        }  # fmt: skip
        offsets.append(offset)
        meshes.append((mesh, colours))
    for folder in (root / "models", root / "models_eval"):
        file = folder / "models_info.json"
        if file.is_file():
            if json.loads(file.read_text()) != json.loads(json.dumps(entries)):
                raise BopError(f"{file} lists other objects: give the same ones, or choose another folder")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for number, ((mesh, colours), offset) in enumerate(zip(meshes, offsets, strict=True), 1):
            _save_mesh(folder / f"obj_{number:06d}.ply", mesh, colours, offset)
        _save(file, entries)
    return offsets


def _painted(one: Object, diameter: float) -> tuple[Mesh, NDArray[np.uint8]]:
    """An object's surface and the colours of its vertices, as a camera just outside sees them. -> (V, 3) RGB."""
    import trimesh

    mesh = one.mesh(diameter)
    surface = one.surface if isinstance(one, MeshObject) else None
    if len(one.landmarks) or (surface is not None and surface.is_coloured):  # paint has edges: smaller triangles
        vertices, triangles = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.triangles, _FACE * diameter)
        mesh = Mesh(np.asarray(vertices), np.asarray(triangles, np.int64))
    bare = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)
    normals = torch.from_numpy(np.array(bare.vertex_normals)).float()
    places = torch.from_numpy(mesh.vertices / (diameter / 2)).float()
    # Cameras that look at the vertices against their normals: the third axis of each is theirs.
    helper = torch.eye(3)[normals.abs().argmin(1)]
    first = torch.nn.functional.normalize(torch.linalg.cross(helper, -normals), dim=1)
    turns = torch.stack([first, torch.linalg.cross(-normals, first), -normals], 1)
    ahead = torch.tensor([0.0, 0.0, 0.05])
    translations = ahead - (turns @ places[..., None])[..., 0]
    seen = one.cast(turns, translations, torch.tensor([[0.0, 0.0, 1.0]]))
    colours = torch.where(seen.hit[:, None], seen.albedo, 1.0)[..., 0]
    return mesh, (colours * 255).round().to(torch.uint8).numpy()


def _span(vertices: Array) -> float:
    """Largest distance of two vertices."""
    return widest(vertices)


def _save_mesh(path: Path, mesh: Mesh, colours: NDArray[np.uint8], offset: Array) -> None:
    import trimesh

    surface = trimesh.Trimesh((mesh.vertices - offset) / MILLIMETRE, mesh.triangles, vertex_colors=colours,
                              process=False)  # fmt: skip
    with atomic_write(path) as partial:
        partial.write_bytes(trimesh.exchange.ply.export_ply(surface, encoding="ascii", vertex_normal=True))


def _picture(path: Path, image: NDArray[Any]) -> None:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), image):
        raise BopError(f"cannot write {path}")


def _save(path: Path, value: Any) -> None:
    """JSON with a line for each entry, as BOP's files have."""
    with atomic_write(path) as partial:
        if isinstance(value, dict):
            lines = [f"  {json.dumps(key)}: {json.dumps(one)}" for key, one in value.items()]
            partial.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        else:
            partial.write_text("[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n]\n")
