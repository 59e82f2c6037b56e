"""The README's moving picture: a part that turns, its hypotheses, its posterior. `python scripts/moving_picture.py`.

The marked cylinder turns once. While its dot is seen there is one pose; while it is hidden, every turn about the axis
looks the same. Each image is estimated alone.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lie_picard import PoseEstimator, so3
from lie_picard.drawing.distribution import distribution_image
from lie_picard.drawing.overlay import colour_of, draw_overlay
from lie_picard.estimation.poses import Target, estimate_poses
from lie_picard.geometry.camera import Camera, sphere_region
from lie_picard.node.pictures import drawn
from lie_picard.posterior.tracking import ModeTracker
from lie_picard.rendering.clean import Crop, render

SIDE, PANEL = 400, (600, 400)
DIAMETER = 0.08  # metres


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--object", default="cylO", help="one of the checkpoint's (default %(default)s)")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("docs/images/turning.gif"))
    args = parser.parse_args()
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, "cpu")
    shape, config = estimator.catalogue[args.object], estimator.config
    crop = Crop(config.distance, config.fill)
    focal = SIDE / 2 / crop.half_angle_tangent
    middle = SIDE / 2 - 0.5
    matrix = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
    camera = Camera(matrix, np.zeros(0), SIDE, SIDE)
    place = np.array([0, 0, crop.distance * DIAMETER / 2])
    target = Target(args.object, DIAMETER, sphere_region(camera, place, DIAMETER / 2))
    tracker, frames = ModeTracker(), []
    tilt = so3.exp(torch.tensor([[1.15, 0.0, 0.0]], dtype=torch.float64))
    for k in range(args.frames):
        turn = so3.exp(torch.tensor([[0.0, 0.0, 2 * math.pi * k / args.frames]], dtype=torch.float64))
        rotation = (so3.exp(torch.tensor([[0.0, 0.0, 0.35]], dtype=torch.float64)) @ tilt @ turn).float()
        image = render(shape, rotation, SIDE, crop, 3)[0].numpy()
        poses = estimate_poses(estimator, image, camera, [target], args.samples, seed=0)[0]
        item = drawn(
            poses, tracker.update(poses.hypotheses, k / 10, poses.symmetry), shape.mesh(DIAMETER), colour_of(0)
        )
        seen = shape.true_poses(rotation, crop.view(1)).listed(0)
        found = poses.hypotheses
        modes = found.modes
        title = f"{found.ambiguity.value}; hypotheses: {len(modes)}, the first has {modes[0].weight:.0%}"
        means, weights = torch.stack([mode.rotation for mode in modes]), [mode.weight for mode in modes]
        globe = distribution_image(found.rotations, means, weights, seen, title, PANEL)
        frames.append(np.concatenate([draw_overlay(image, camera, [item]), globe], 1))
    pictures = [Image.fromarray(frame).quantize(250, dither=Image.Dither.NONE) for frame in frames]
    pictures[0].save(args.output, save_all=True, append_images=pictures[1:], duration=120, loop=0, optimize=True)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
