"""Whole camera images with several objects among clutter: what the locator is trained and measured on.

Each object is rendered alone, under light and with surfaces of its own, as an RGBA picture; pictures are pasted, the
nearer over the farther, onto photographs, gradients and tables; then a random camera takes the whole. The pictures are
kept and exchanged little by little, as rendering costs most. Shadows between objects are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.data.random_parts import PartBank
from lie_picard.data.stream import cast_randomly
from lie_picard.objects import Object, polyhedra
from lie_picard.rendering.buffers import Castable
from lie_picard.rendering.randomisation import TEXTURED, Randomisation, Rng, World, photograph_crops
from lie_picard.rendering.randomisation.hands import draw_hands
from lie_picard.rendering.randomisation.surroundings import backdrop, lay_tables
from lie_picard.rendering.randomisation.world import develop, lit

Picture = NDArray[np.float32]  # (S, S, 4) premultiplied RGBA

_FILL = 0.95  # share of a picture's side that the sphere covers
_TRIES = 8  # at a place for each thing
_PARTS_AT_ONCE = 4
_CLUTTER = 192  # pictures of it that are kept
_BACKDROPS = 192


@dataclass(frozen=True)
class SceneOptions:
    """What scenes vary in. Lengths are pixels of the scene.

    Attributes:
        side: of the square scene. height: of what is kept of it, from the top; 0: all.
        sizes: side of an object's region, log-uniform. most: objects in a scene.
        empty: share of scenes without any. clutter: other things in a scene, at most.
        hidden: share of an object that may be covered or outside, at most.
        layer: side of the pictures that objects are rendered to. kept: pictures of each object.
        fresh: of them that are exchanged from one batch to the next.
        textured: share of pictures with prints, wear and strong colours. prints: of these that carry prints.
    """

    side: int = 256
    height: int = 0
    sizes: tuple[float, float] = (20.0, 200.0)
    most: int = 4
    empty: float = 0.15
    clutter: int = 7
    hidden: float = 0.4
    layer: int = 96
    kept: int = 192
    fresh: int = 2
    textured: float = 0.6
    prints: float = TEXTURED.prints


class SceneObject(NamedTuple):
    """An object in a scene: its number, and the centre and side of its region, pixels. visible: share of it."""

    label: int
    x: float
    y: float
    side: float
    visible: float


class Scene(NamedTuple):
    """(S, S, 3) uint8 RGB, and what it shows."""

    image: NDArray[np.uint8]
    objects: list[SceneObject]


class SceneStream:
    """Endless batches of scenes; each depends on the options, the seed and the batches before it."""

    def __init__(
        self,
        objects: Sequence[Object],
        options: SceneOptions,
        generator: torch.Generator,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        """Args:
            split: train or test: of photographs and random parts.

        Raises:
            PhotographsError: backgrounds are not installed.
        """
        self.objects, self.options = list(objects), options
        self._rng = Rng(generator, torch.device("cpu"))
        self._numpy = np.random.default_rng(int(torch.randint(1 << 31, (1,), generator=generator)))
        self._bank = PartBank(seed, split=split)
        self._asked = 0
        plain, textured = (
            dataclasses.replace(one, shift=0.0, fill=(_FILL, _FILL), centred=0.0)
            for one in (Randomisation(), dataclasses.replace(TEXTURED, prints=options.prints))
        )
        crops = photograph_crops(split, options.layer, generator, count=512)
        self._worlds = World.of(plain, crops, generator), World.of(textured, crops, generator)
        self._backdrops = photograph_crops(split, options.side, generator, count=_BACKDROPS)
        # Lengths of blur are said of images of 64 pixels, and scenes hold objects of that size, not one.
        self._sensor = dataclasses.replace(
            TEXTURED, photographs=0.75, blur=64 / options.side, motion=3 * 64 / options.side, grey=0.15, exposure=0.4
        )
        self._pictures = [self._of_object(one, options.kept) for one in self.objects]
        self._clutter = self._of_clutter(_CLUTTER)

    def batch(self, count: int) -> list[Scene]:
        """The next scenes."""
        options, rng = self.options, self._rng
        scenes = backdrop(count, self._backdrops, self._sensor, rng)
        pictures = self._worlds[1].pictures
        if pictures is not None:
            scenes = lay_tables(scenes, pictures.prints, rng.some(0.4, count), rng)
        canvases = scenes.permute(0, 2, 3, 1).contiguous().numpy()
        shown = [self._fill(canvas) for canvas in canvases]
        images = develop(torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous(), self._sensor, rng)
        images = images[..., : options.height or None, :]
        final = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        self._exchange(options.fresh)
        return [Scene(image, objects) for image, objects in zip(final, shown, strict=True)]

    def _fill(self, canvas: Picture) -> list[SceneObject]:
        """Paste things into a canvas; which objects it then shows."""
        rng, options = self._numpy, self.options
        wanted = 0 if rng.random() < options.empty else int(rng.integers(1, options.most + 1))
        things = [int(rng.integers(len(self.objects))) for _ in range(wanted)]
        things += [-1] * int(rng.integers(0, options.clutter + 1))
        rng.shuffle(things)
        size = options.side, options.height or options.side
        placed: list[_Pasted] = []
        for label in things:
            pool = self._clutter if label < 0 else self._pictures[label]
            picture = np.rot90(pool[rng.integers(len(pool))], int(rng.integers(4)))
            low, high = (0.6 * options.sizes[0], 1.1 * options.sizes[1]) if label < 0 else options.sizes
            for _ in range(_TRIES):
                side = float(low * (high / low) ** rng.random())
                pasted = _Pasted.at(picture, label, side / _FILL, rng.random(2) * size, size)
                if pasted is None or not self._leaves_enough(pasted, placed):
                    continue
                for one in placed:
                    one.cover(pasted)
                pasted.paste(canvas, rng.uniform(0.6, 1.15) * rng.uniform(0.9, 1.1, 3))
                placed.append(pasted)
                break
        return [one.described for one in placed if one.label >= 0]

    def _leaves_enough(self, pasted: _Pasted, placed: Sequence[_Pasted]) -> bool:
        """Whether objects are seen far enough, the new thing and those under it."""
        least = 1 - self.options.hidden
        if pasted.label >= 0 and pasted.share < least:
            return False
        return all(one.label < 0 or one.share_under(pasted) >= least for one in placed)

    def _of_object(self, one: Object, count: int) -> list[Picture]:
        few = len(self._rng.some(self.options.textured, count))
        found = [*self._rendered([one], count - few, self._worlds[0]), *self._rendered([one], few, self._worlds[1])]
        self._numpy.shuffle(found)  # type: ignore[arg-type]
        return found

    def _of_clutter(self, count: int) -> list[Picture]:
        """Random parts, convex bodies, hands and rods: a half, three eighths, an eighth."""
        held, bodies = count // 8, 3 * count // 8
        parts = count - held - bodies
        asked = max(1, min(parts // _PARTS_AT_ONCE, 32)) if parts else 0
        shapes: list[Castable] = [
            one.part for one in self._bank.drawn(self._rng.generator, self._asked, asked)
        ] if asked else []  # fmt: skip
        self._asked += 1
        world = self._worlds[int(self._rng.happens(self.options.textured, 1))]
        found = self._rendered(shapes, parts, world) if shapes else []
        if bodies:
            found += self._rendered([polyhedra(bodies, self._rng)], bodies, world)
        if held:
            found += _pictures(draw_hands(held, self.options.layer, self._rng))
        return found

    def _rendered(self, shapes: Sequence[Castable], count: int, world: World) -> list[Picture]:
        if not count:
            return []
        shares = [count // len(shapes) + (k < count % len(shapes)) for k in range(len(shapes))]
        several = zip(shapes, shares, strict=True)
        parts = [(one, so3.uniform(n, generator=self._rng.generator)) for one, n in several if n]
        buffers, _ = cast_randomly(parts, world, self._rng)
        return _pictures(lit(buffers, world, self._rng))

    def _exchange(self, fresh: int) -> None:
        if not fresh:
            return
        for pool, one in zip(self._pictures, self.objects, strict=True):
            self._replace(pool, self._of_object(one, fresh))
        self._replace(self._clutter, self._of_clutter(4 * fresh))

    def _replace(self, pool: list[Picture], fresh: list[Picture]) -> None:
        for picture in fresh:
            pool[int(self._numpy.integers(len(pool)))] = picture


def _pictures(layers: Tensor) -> list[Picture]:
    return list(layers.permute(0, 2, 3, 1).contiguous().numpy())


class _Pasted:
    """A picture at a place, and what of it is still seen."""

    def __init__(
        self, label: int, picture: Picture, rows: slice, columns: slice, described: SceneObject, whole: float
    ) -> None:
        self.label, self._picture, self._rows, self._columns = label, picture, rows, columns
        self._described, self._whole = described, whole
        self._seen = picture[..., 3].copy()

    @classmethod
    def at(
        cls, picture: Picture, label: int, side: float, centre: NDArray[np.float64], size: tuple[int, int]
    ) -> _Pasted | None:
        """Scaled to a side and cut at the border of a canvas (width, height); None where nothing is left."""
        pixels = max(4, round(side))
        way = cv2.INTER_AREA if pixels < len(picture) else cv2.INTER_LINEAR
        scaled: Picture = cv2.resize(picture, (pixels, pixels), interpolation=way).astype(np.float32)
        left, top = (round(float(c) - pixels / 2) for c in centre)
        begin = max(0, left), max(0, top)
        end = min(size[0], left + pixels), min(size[1], top + pixels)
        if begin[0] >= end[0] or begin[1] >= end[1]:
            return None
        part = scaled[begin[1] - top : end[1] - top, begin[0] - left : end[0] - left]
        rows, columns = slice(begin[1], end[1]), slice(begin[0], end[0])
        what = SceneObject(label, left + pixels / 2, top + pixels / 2, pixels * _FILL, 1.0)
        return cls(label, part, rows, columns, what, max(1e-6, float(scaled[..., 3].sum())))

    @property
    def share(self) -> float:
        """Of the object that is seen."""
        return float(self._seen.sum()) / self._whole

    @property
    def described(self) -> SceneObject:
        """As labels have it."""
        return self._described._replace(visible=self.share)

    def _common(self, other: _Pasted) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        top, bottom = max(self._rows.start, other._rows.start), min(self._rows.stop, other._rows.stop)
        left, right = max(self._columns.start, other._columns.start), min(self._columns.stop, other._columns.stop)
        if top >= bottom or left >= right:
            return None
        mine, theirs = (
            (slice(top - one._rows.start, bottom - one._rows.start),
             slice(left - one._columns.start, right - one._columns.start))
            for one in (self, other)
        )  # fmt: skip
        return mine, theirs

    def share_under(self, other: _Pasted) -> float:
        """What of the object would be seen under another picture."""
        common = self._common(other)
        if common is None:
            return self.share
        mine, theirs = common
        hidden = float((self._seen[mine] * other._picture[..., 3][theirs]).sum())
        return (float(self._seen.sum()) - hidden) / self._whole

    def cover(self, other: _Pasted) -> None:
        """Another picture lies over it now."""
        if (common := self._common(other)) is not None:
            mine, theirs = common
            self._seen[mine] *= 1 - other._picture[..., 3][theirs]

    def paste(self, canvas: Picture, gain: NDArray[np.float64]) -> None:
        """Onto a canvas, brighter or darker by a gain of each colour."""
        alpha = self._picture[..., 3:]
        under = canvas[self._rows, self._columns]
        shown = np.minimum(self._picture[..., :3] * gain.astype(np.float32), alpha)
        canvas[self._rows, self._columns] = shown + (1 - alpha) * under
