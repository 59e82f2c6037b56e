"""How long a training step's network takes, forward and backward, without rendering: `python scripts/training_step.py`.

128 images of the recipe `compact`, interleaved; median and range of some repeats after two that warm up.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import torch

from lie_picard import machine, so3
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.training import recipe
from lie_picard.training.losses import Denoising

KINDS = [(True, 32, False), (True, 32, True), (False, 32, False), (False, 32, True), (True, 8, False),
         (True, 64, False), (True, 128, False)]  # fmt: skip
BATCH = 128


class Step:
    """The losses of a batch and their gradients."""

    def __init__(self, bfloat16: bool, rotations: int, channels_last: bool) -> None:
        chosen = recipe.read("compact")
        options = dataclasses.replace(chosen.training, bfloat16=bfloat16, rotations=rotations, descriptions=0.0)
        model = ScoreModel(dataclasses.replace(chosen.model, position=False))
        if channels_last:
            model.encoder.to(memory_format=torch.channels_last)
        self.losses, self.rotations = Denoising(model, options, catalogue(BUILT_IN)), rotations
        self.generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 255, (BATCH, 64, 64, 3), dtype=torch.uint8, generator=self.generator)
        self.truth = so3.uniform(BATCH, generator=self.generator)
        self.labels = torch.randint(0, 5, (BATCH,), generator=self.generator)

    def __call__(self) -> None:
        sigmas = torch.rand(BATCH, self.rotations, generator=self.generator) + 0.05
        z = torch.randn(BATCH, self.rotations, 3, generator=self.generator)
        found = self.losses(self.images, self.truth, self.labels, self.labels, sigmas, z)
        self.losses.zero_grad()
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]


def main() -> None:
    """Print a line a kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    steps = {kind: Step(*kind) for kind in KINDS}
    times: dict[tuple[bool, int, bool], list[float]] = {kind: [] for kind in KINDS}
    for repeat in range(args.repeats + 2):
        for kind, step in steps.items():
            began = time.perf_counter()
            step()
            if repeat > 1:
                times[kind].append(1e3 * (time.perf_counter() - began))
    for (bfloat16, rotations, channels_last), spent in times.items():
        kind = ["bfloat16" if bfloat16 else "float32", *(["channels_last"] if channels_last else [])]
        name = ", ".join([*kind, f"{rotations} rotations an image"])
        print(f"{name:40} {statistics.median(spent):.0f} ms ({min(spent):.0f} to {max(spent):.0f})")
    print(machine.one_line(machine.describe()))


if __name__ == "__main__":
    main()
