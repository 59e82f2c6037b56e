"""Training images from a BOP data set: crops around the true poses, as inference cuts them around regions.

What is kept of a data set in memory is where each instance is, about 100 bytes; images are read when they are drawn.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.data.bop import pixels
from lie_picard.data.bop.annotations import BopError
from lie_picard.data.bop.folder import Dataset, Unit
from lie_picard.data.bop.shards import Shard
from lie_picard.data.seeds import train_generator
from lie_picard.data.stream import Batch
from lie_picard.geometry.camera import Camera, CameraError, Region, fit, look_at, sphere_region
from lie_picard.model.config import ModelConfig
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.clean import quantised
from lie_picard.rendering.randomisation import Randomisation, Rng, develop

_log = logging.getLogger(__name__)

_SHARDS, _VISIT = 8, 200  # that are looked into together, and batches until others are
_TRIES = 20  # of instances, or of places without one, that cannot be cut out
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Source:
    """Which instances are drawn.

    Attributes:
        root, split: of the data set. names: of its objects by number, where they are the user's.
        visible: least share of a silhouette that is seen.
        randomised: share of images with shift, scale and the camera's faults as `randomisation` has them; the rest is
            cut out as it is. absent: share of images that show no object of the model.
    """

    root: Path
    split: str = "train_pbr"
    names: Mapping[int, str] = field(default_factory=dict)
    visible: float = 0.25
    randomised: float = 0.0
    absent: float = 0.0
    randomisation: Randomisation = field(default_factory=Randomisation)


class _Table(NamedTuple):
    """Where instances are: one row each, those of an image together.

    Attributes:
        unit, scene, image: (N,) which file. label: (N,) index of the object; len(objects): another one.
        good: (N,) whether it can be drawn. rotation: (N, 3, 3), centre: (N, 3) metres, of the object's frame.
        radius: (N,). matrix: (N, 3, 3) K.
        first: (N,) row of the first instance in the same image, and fellows: (N,) how many there are.
    """

    unit: NDArray[np.int32]
    scene: NDArray[np.int32]
    image: NDArray[np.int32]
    label: NDArray[np.int16]
    good: NDArray[np.bool_]
    rotation: NDArray[np.float32]
    centre: NDArray[np.float32]
    radius: NDArray[np.float32]
    matrix: NDArray[np.float32]
    first: NDArray[np.int32]
    fellows: NDArray[np.int32]


class _Wish(NamedTuple):
    """What one image of a batch is to be: rows to try, of an object or beside one, and how it is cut."""

    rows: NDArray[np.int64]
    absent: bool
    fill: float
    shift: NDArray[np.float64]
    places: NDArray[np.float64]


def batches(
    source: Source, config: ModelConfig, batch: int, seed: int, start: int, stride: int, device: torch.device
) -> Iterator[Batch]:
    """Endless batches start, start + stride, ...; batch k depends on the data set, the seed and k alone.

    The next batch is read on threads while the last one is trained on.

    Raises:
        BopError: the data set is missing or damaged, or has no instance of an object of the model.
    """
    dataset = Dataset(source.root, source.names)
    units = dataset.units(source.split)
    pool = _Pool(dataset, units, source, config)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
        waiting: deque[tuple[Rng, list[bool], list[Future[_Cut]]]] = deque()
        step = start
        while True:
            while len(waiting) < 2:
                rng = Rng(train_generator("images", seed, step), _CPU)
                table = pool.table(seed, step)
                wild = rng.happens(source.randomised, batch).tolist()
                wishes = _drawn(table, pool.rows, source, len(config.objects), wild, rng)
                waiting.append((rng, wild, [threads.submit(_cut, table, units, wish, config) for wish in wishes]))
                step += stride
            rng, wild, futures = waiting.popleft()
            found = [one.result() for one in futures]
            images = torch.from_numpy(np.stack([one.image for one in found]))
            images = _developed(images, wild, source.randomisation, rng, config.channels)
            rotations = torch.stack([one.rotation for one in found])
            view = ViewGeometry.joined([one.view for one in found])
            labels = torch.tensor([one.label for one in found])
            yield Batch(images.to(device), rotations.to(device), labels.to(device), view.to(device))


class _Pool:
    """The instances that batches are drawn from: all of them, or those of some shards after others."""

    def __init__(self, dataset: Dataset, units: Sequence[Unit], source: Source, config: ModelConfig) -> None:
        self._dataset, self._units, self._source, self._objects = dataset, units, source, config.objects
        self.rows: list[NDArray[np.int64]] = []
        self._turns = len(units) > _SHARDS and all(isinstance(unit, Shard) for unit in units)
        self._visit = -1
        self._known: _Table | None = None
        unknown = sorted(set(config.objects) - set(dataset.models.names.values()))
        if unknown:
            raise BopError(
                f"{dataset.root} has no object '{unknown[0]}': it has {', '.join(dataset.models.names.values())}; "
                "choose with model.objects, or name them with --bop-object NUMBER=NAME"
            )

    def table(self, seed: int, step: int) -> _Table:
        """What batch `step` is drawn from."""
        visit = step // _VISIT if self._turns else 0
        if visit != self._visit or self._known is None:
            chosen: Sequence[int] = range(len(self._units))
            if self._turns:
                for unit in self._units:
                    unit.forget()
                order = torch.randperm(len(self._units), generator=train_generator("bop", seed, visit))
                chosen = sorted(order[:_SHARDS].tolist())
            self._known, self._visit = self._made(chosen), visit
        return self._known

    def _made(self, chosen: Sequence[int]) -> _Table:
        table = _table(self._dataset, self._units, chosen, self._objects, self._source.visible)
        self.rows = [np.flatnonzero(table.good & (table.label == k)) for k in range(len(self._objects))]
        there = [name for name, rows in zip(self._objects, self.rows, strict=True) if len(rows)]
        if not there or (not self._turns and len(there) < len(self._objects)):
            missing = next(name for name in self._objects if name not in there)
            raise BopError(
                f"{self._dataset.root / self._source.split} has no instance of '{missing}' that is seen by "
                f"{self._source.visible:g} or more: leave it out (--set model.objects=...), or lower --min-visible"
            )
        _log.info("%d instances in %d images", int(table.good.sum()), len(np.unique(table.first)))
        return table


def _table(
    dataset: Dataset, units: Sequence[Unit], chosen: Sequence[int], objects: Sequence[str], visible: float
) -> _Table:
    labels = {number: objects.index(name) if name in objects else len(objects)
              for number, name in dataset.models.names.items()}  # fmt: skip
    rows: list[tuple[int, int, int, int, bool, float, int, int]] = []
    floats: list[NDArray[np.float32]] = []
    for which in chosen:
        for image in dataset.images(units[which]):
            first, instances = len(rows), image.instances
            if instances is None:
                raise BopError(f"{image.where} has no true poses: train on a split that has them")
            for one in instances:
                if one.object_id not in dataset.models:
                    raise BopError(f"{image.where}, true pose {one.index}: there is no model {one.object_id}")
                model, label = dataset.models[one.object_id], labels[one.object_id]
                pose = model.object_pose(one.pose)
                seen = one.visible is None or one.visible >= visible
                good = label < len(objects) and seen and pose[2, 3] > model.radius
                rows.append((which, image.scene_id, image.image_id, label, bool(good), model.radius, first,
                             len(instances)))  # fmt: skip
                floats.append(
                    np.concatenate([pose[:3, :3].ravel(), pose[:3, 3], image.matrix.ravel()], dtype=np.float32)
                )
        if not isinstance(units[which], Shard):  # whose files are found by what it keeps
            units[which].forget()
    if not rows:
        raise BopError(f"{dataset.root} has no annotated instance in {len(chosen)} scenes or shards")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    numbers = np.stack(floats)
    places, scene, number, kinds, good, radius, begin, fellows = columns
    return _Table(
        places.astype(np.int32), scene.astype(np.int32), number.astype(np.int32), kinds.astype(np.int16), good,
        numbers[:, :9].reshape(-1, 3, 3), numbers[:, 9:12], radius.astype(np.float32),
        numbers[:, 12:].reshape(-1, 3, 3), begin.astype(np.int32), fellows.astype(np.int32),
    )  # fmt: skip


def _drawn(
    table: _Table, rows: Sequence[NDArray[np.int64]], source: Source, objects: int, wild: Sequence[bool], rng: Rng
) -> list[_Wish]:
    """What the images of a batch are to be: as many of each object as chance has it, and without any."""
    options, count = source.randomisation, len(wild)
    there = [k for k in range(objects) if len(rows[k])]
    kinds = rng.integers(len(there), count).tolist()
    absent = rng.happens(source.absent, count).tolist()
    picks = rng.uniform(count, _TRIES).double().numpy()
    fills = rng.uniform(count, between=options.fill).tolist()
    shifts = rng.uniform(count, 2, between=(-options.shift, options.shift)).double().numpy()
    places = rng.uniform(count, _TRIES, 2).double().numpy()
    wishes = []
    for k in range(count):
        mine = rows[there[kinds[k]]]
        chosen = mine[(picks[k] * len(mine)).astype(np.int64).clip(0, len(mine) - 1)]
        wishes.append(_Wish(chosen, absent[k], fills[k] if wild[k] else 0.0, shifts[k] * wild[k], places[k]))
    return wishes


class _Cut(NamedTuple):
    """One image (S, S[, 3]), its rotation (3, 3) as the virtual camera sees it, its label, and how it was taken."""

    image: NDArray[np.uint8]
    rotation: Tensor
    label: int
    view: ViewGeometry


def _cut(table: _Table, units: Sequence[Unit], wish: _Wish, config: ModelConfig) -> _Cut:
    """The first instance of a wish that lies in its image."""
    none = len(config.objects)
    for row in wish.rows.tolist():
        files = units[table.unit[row]].at(int(table.scene[row]), int(table.image[row]))
        content = files.content("image")
        if content is None:
            raise BopError(f"{files.where} has no image file (rgb or gray; png, jpg, tif): download the split again")
        picture = pixels.picture(*content)
        camera = Camera(table.matrix[row].astype(float), np.zeros(0), picture.shape[1], picture.shape[0])
        regions = [(_jittered(_sphere(table, row, camera), wish, config.fill), int(table.label[row]))]
        if wish.absent:  # where there is no room beside the objects, an image of one
            beside = [_beside(table, row, camera, place, none) for place in wish.places]
            regions = [*((region, none) for region in beside if region is not None), *regions]
        for region, label in regions:
            try:
                look = look_at(camera, region, config.image_size, config.fill)
            except CameraError:
                continue
            image = fit(look.cut(picture), config.image_size, config.channels)
            turn = look.camera_from_view.T
            at = torch.from_numpy(turn @ table.centre[row] / table.radius[row]).float()
            half = torch.full((1, 2), math.tan(look.angular_radius) / config.fill)
            view = ViewGeometry(at[None], half)
            return _Cut(image, torch.from_numpy(turn @ table.rotation[row]).float(), label, view)
    raise BopError(f"none of {_TRIES} instances lies in its image, as in {files.where}: check cam_K, poses and models")


def _sphere(table: _Table, row: int, camera: Camera) -> Region:
    return sphere_region(camera, table.centre[row].astype(float), float(table.radius[row]))


def _jittered(region: Region, wish: _Wish, fill: float) -> Region:
    """A region such that the sphere in it fills what is wished of the image, and lies beside its middle."""
    if not wish.fill:
        return region
    scale = fill / wish.fill
    width, height = region.width * scale, region.height * scale
    x = region.x + region.width / 2 - wish.shift[0] * width / fill / 2
    y = region.y + region.height / 2 - wish.shift[1] * height / fill / 2
    return Region(x - width / 2, y - height / 2, width, height)


def _beside(table: _Table, row: int, camera: Camera, place: NDArray[np.float64], objects: int) -> Region | None:
    """A region as large as the instance's where no object of the model is; None where one is."""
    like = _sphere(table, row, camera)
    side = max(like.width, like.height)
    x, y = place * (camera.width, camera.height)
    first = int(table.first[row])
    for other in range(first, first + int(table.fellows[row])):
        if table.label[other] >= objects or table.centre[other, 2] <= table.radius[other]:
            continue
        one = _sphere(table, other, camera)
        away = math.hypot(x - one.x - one.width / 2, y - one.y - one.height / 2)
        if away < (side + max(one.width, one.height)) / 2:
            return None
    return Region(x - side / 2, y - side / 2, side, side)


def _developed(images: Tensor, wild: Sequence[bool], options: Randomisation, rng: Rng, channels: int) -> Tensor:
    """The same with the faults of a random camera where it is wild. (B, S, S[, 3]) uint8."""
    chosen = torch.tensor(wild)
    if not chosen.any():
        return images
    light = images[chosen].float() / 255
    light = light[:, None].expand(-1, 3, -1, -1) if channels == 1 else light.permute(0, 3, 1, 2)
    images = images.clone()
    images[chosen] = quantised(develop(light.contiguous(), options, rng), channels)
    return images
