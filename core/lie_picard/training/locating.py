"""Training of the locator (`model.locator`) on rendered scenes; resumable, seeded, never pickled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lie_picard import machine
from lie_picard.data.scenes import Scene, SceneObject, SceneOptions, SceneStream
from lie_picard.data.seeds import train_generator
from lie_picard.model.locator import STRIDE, Locator, LocatorConfig, Maps, StoredLocator
from lie_picard.objects import Object
from lie_picard.training.losses import finite
from lie_picard.training.optimizers import Muon
from lie_picard.training.states import digest, load_state, run_by_the_clock, save_state

_ALIKE = 1e-3  # relative difference of area and volume up to which two objects are of one shape
_TAUGHT = 0.4  # of the heat at an object's centre: where the box is taught
_BOX = 2.0  # weight of the box beside the heat
_POSITIVE, _NEGATIVE = 2, 4  # exponents of the focal loss (Law and Deng, "CornerNet", 2018)


@dataclass(frozen=True)
class LocatorTraining:
    """Settings of a run.

    Attributes:
        minutes: how long. batch: scenes a step. repeats: how often each is shown, turned and mirrored otherwise.
        kept: scenes that a batch is drawn from. learning_rate: after `warmup_steps`; it falls to zero along half a
            cosine in the last `decay` of the run. ema: decay of the averaged weights. seed: of everything.
    """

    minutes: float
    batch: int = 16
    repeats: int = 3
    kept: int = 768
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    decay: float = 0.6
    ema: float = 0.998
    weight_decay: float = 0.01
    seed: int = 0

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate of a step."""
        fallen = 1 - (1 - seconds / (60 * self.minutes)) / self.decay
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, fallen))))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * falling


class Targets(NamedTuple):
    """What the maps should say of B scenes.

    Attributes:
        heat: (B, K, h, w) 1 at the centres, falling off around them. counted: (B, K, h, w) 0 where an object of the
            same shape is, which another name's map may show or not. box: (B, 3, h, w). taught: (B, h, w) bool, where.
    """

    heat: Tensor
    counted: Tensor
    box: Tensor
    taught: Tensor


def same_shapes(objects: Sequence[Object]) -> list[list[int]]:
    """For each object the others that have its shape, as a solid with a mark has that of the bare one."""
    sizes = []
    for one in objects:
        mesh = one.mesh(1.0)
        a, b, c = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
        cross = np.cross(b - a, c - a)
        sizes.append((float(np.linalg.norm(cross, axis=1).sum() / 2), abs(float((a * cross).sum() / 6))))
    same = lambda p, q: all(math.isclose(a, b, rel_tol=_ALIKE) for a, b in zip(p, q, strict=True))  # noqa: E731
    return [[j for j, q in enumerate(sizes) if j != i and same(p, q)] for i, p in enumerate(sizes)]


def targets(scenes: Sequence[Sequence[SceneObject]], side: int, kinds: int, alike: Sequence[Sequence[int]]) -> Targets:
    """The maps of scenes of a side in pixels that show these objects."""
    cells, count = side // STRIDE, len(scenes)
    heat = np.zeros((count, kinds, cells, cells), np.float32)
    counted = np.ones_like(heat)
    box = np.zeros((count, 3, cells, cells), np.float32)
    taught = np.zeros((count, cells, cells), bool)
    middles = (np.arange(cells, dtype=np.float32) + 0.5) * STRIDE
    for index, objects in enumerate(scenes):
        for one in objects:
            dx, dy = one.x - middles[None, :], one.y - middles[:, None]
            spread = STRIDE * (0.5 + 0.06 * one.side / STRIDE)
            around = np.exp(-(dx**2 + dy**2) / (2 * spread**2))
            row, column = np.unravel_index(np.argmax(around), around.shape)
            around = around / max(float(around[row, column]), 1e-6)
            heat[index, one.label] = np.maximum(heat[index, one.label], around)
            for other in alike[one.label]:
                counted[index, other][around > 0.05] = 0
            here = around > _TAUGHT
            box[index, 0][here] = (np.broadcast_to(dx, here.shape) / one.side)[here]
            box[index, 1][here] = (np.broadcast_to(dy, here.shape) / one.side)[here]
            box[index, 2][here] = math.log(one.side / STRIDE)
            taught[index] |= here
    counted = np.where(heat >= 1, 1, counted)
    return Targets(torch.from_numpy(heat), torch.from_numpy(counted), torch.from_numpy(box), torch.from_numpy(taught))


def loss(maps: Maps, wanted: Targets) -> dict[str, Tensor]:
    """Focal loss of the heat over the number of objects, and absolute errors of the boxes."""
    probability, centre = maps.heat.sigmoid(), wanted.heat >= 1
    right, wrong = F.logsigmoid(maps.heat), F.logsigmoid(-maps.heat)
    found = torch.where(
        centre,
        -((1 - probability) ** _POSITIVE) * right,
        -((1 - wanted.heat) ** _NEGATIVE) * probability**_POSITIVE * wrong * wanted.counted,
    )
    box = (maps.box - wanted.box).abs().sum(1) * wanted.taught
    return {"heat": found.sum() / centre.sum().clamp_min(1), "box": box.sum() / wanted.taught.sum().clamp_min(1)}


def turned(scene: Scene, how: int) -> Scene:
    """A scene turned by quarters (`how` % 4) and, from 4 on, mirrored: a thing is where it is in a mirror, too."""
    side = scene.image.shape[0]
    image, found = np.rot90(scene.image, how % 4), list(scene.objects)
    for _ in range(how % 4):
        found = [one._replace(x=one.y, y=side - one.x) for one in found]
    if how >= 4:
        image, found = image[:, ::-1], [one._replace(x=side - one.x) for one in found]
    return Scene(np.ascontiguousarray(image), found)


class LocatorTrainer:
    """Network, its moving average, optimiser and position in the run."""

    def __init__(
        self,
        objects: Sequence[Object],
        options: LocatorTraining,
        scenes: SceneOptions,
        initial: StoredLocator | Mapping[str, Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Args:
        initial: weights to begin at: another locator's, or of `MobileFeatures` alone. None: random plain ones.
        device: of the network; scenes are made on the CPU.
        """
        torch.manual_seed(options.seed)
        self.options, self.scenes, self.objects = options, scenes, list(objects)
        self.device = torch.device(device)
        if isinstance(initial, StoredLocator):
            features = initial.config.features
        else:
            features = "plain" if initial is None else "mobile"
        config = LocatorConfig(tuple(one.name for one in objects), sizes=scenes.sizes, features=features)
        self.model, self.average = Locator(config), Locator(config)
        if isinstance(initial, StoredLocator):
            self.model.begin(initial)
        elif initial is not None:
            self.model.features.load_state_dict(dict(initial))
        self.average.load_state_dict(self.model.state_dict())
        self.average.to(self.device).eval().requires_grad_(False)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = Muon(
            [one for one in self.model.parameters() if one.requires_grad], options.learning_rate, options.weight_decay
        )
        self.alike = same_shapes(self.objects)
        self.step, self.seconds = 0, 0.0

    def run(
        self, state: Path | None = None, on_step: Callable[[int, float, Mapping[str, float]], None] | None = None
    ) -> StoredLocator:
        """Train on until the time is over; -> the averaged network.

        Args:
            state: file that is kept up to date for `resume`, also when the run is interrupted.
            on_step: called with (steps done, seconds, losses).

        Raises:
            ValueError: the losses are not finite any more; the state before that is kept.
        """
        options = self.options
        generator = train_generator("scenes", options.seed, self.step)
        choose = np.random.default_rng([options.seed, self.step])
        stream = SceneStream(self.objects, self.scenes, generator, seed=options.seed)
        pool: list[Scene] = []

        def advance() -> dict[str, float]:
            nonlocal pool
            if self.step % options.repeats == 0 or len(pool) < options.batch:
                pool = [*pool, *stream.batch(options.batch)][-options.kept :]
            picked = choose.choice(len(pool), options.batch, replace=False)
            return self._advance([turned(pool[k], int(choose.integers(8))) for k in picked])

        self.model.train()  # once: what it keeps as it is, it then prepares anew
        run_by_the_clock(self, options.minutes, advance, state, on_step)
        return StoredLocator.of(self.average)

    def _advance(self, scenes: Sequence[Scene]) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self.step, self.seconds)
        made = targets([one.objects for one in scenes], self.scenes.side, len(self.objects), self.alike)
        wanted = Targets(*(one.to(self.device) for one in made))
        images = torch.from_numpy(np.stack([one.image for one in scenes])).to(self.device).permute(0, 3, 1, 2)
        kind = self.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=machine.computes_bfloat16(kind)):
            maps = self.model((images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        parts = loss(Maps(maps.heat.float(), maps.box.float()), wanted)
        self.optimizer.zero_grad(set_to_none=True)
        (parts["heat"] + _BOX * parts["box"]).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        losses = {name: float(value.detach()) for name, value in parts.items()}
        finite(losses | {"gradient": float(norm)}, "go on from the state before with --resume")
        self.optimizer.step()
        share = 1 - min(self.options.ema, (self.step + 1) / (self.step + 10))
        for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)
        self.step += 1
        return losses

    @property
    def images(self) -> int:
        """Scenes that were shown so far."""
        return self.step * self.options.batch

    def save(self, path: Path) -> None:
        """All that `resume` needs, as one file."""
        save_state(
            path, "lie_picard_locator_training", self._networks(), self.optimizer, self._run(), self.step, self.seconds
        )

    def resume(self, path: Path) -> None:
        """Continue where `save` stood; other scenes follow.

        Raises:
            CheckpointError: the file is damaged or belongs to a run with other settings.
        """
        self.step, self.seconds = load_state(path, self._networks(), self.optimizer, self._run())

    def _networks(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average}

    def _run(self) -> dict[str, object]:
        return {
            "objects": [one.name for one in self.objects],
            "shapes": [digest(one) for one in self.objects],
            # A run may go on for longer than it was meant to.
            "training": {k: v for k, v in asdict(self.options).items() if k != "minutes"},
            "features": self.model.config.features,
            "scenes": asdict(self.scenes),
        }
