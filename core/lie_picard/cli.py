"""The `lie-picard` command."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from lie_picard.model.config import ENCODERS, HEADS, PRESETS
from lie_picard.symsol.solids import SOLIDS
from lie_picard.training import TrainingOptions, train


def _train(args: argparse.Namespace) -> None:
    config = PRESETS[args.preset]
    changes = {k: getattr(args, k) for k in ("head", "encoder") if getattr(args, k) is not None}
    config = dataclasses.replace(config, objects=tuple(args.solids), **changes)
    options = TrainingOptions(images=args.images, batch=args.batch, rotations=args.rotations, seed=args.seed)
    with tqdm(total=options.steps, unit="step", mininterval=args.progress_s, maxinterval=60) as bar:
        def show(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        train(config, options, args.output, torch.device(args.device), args.resume, shlex.join(["lie-picard", *sys.argv[1:]]), show)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="lie-picard")
    sub = parser.add_subparsers(required=True)
    p = sub.add_parser("train")
    p.add_argument("--preset", choices=PRESETS, default="compact")
    p.add_argument("--head", choices=HEADS)
    p.add_argument("--encoder", choices=ENCODERS)
    p.add_argument("--solids", nargs="+", choices=SOLIDS, default=list(SOLIDS))
    p.add_argument("--images", type=int, default=640_000)
    p.add_argument("--batch", type=int, default=80)
    p.add_argument("--rotations", type=int, default=16)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cpu")
    p.add_argument("--resume", action="store_true")
    p.add_argument("--progress-s", type=float, default=1.0)
    p.add_argument("--output", type=Path, required=True)
    p.set_defaults(run=_train)
    args = parser.parse_args(argv)
    args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
