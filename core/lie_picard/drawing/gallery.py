"""Images of a model's objects, each beside its posterior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lie_picard.drawing.distribution import hue_bar, plot_distribution
from lie_picard.estimation.estimator import PoseEstimator


def plot_gallery(
    path: Path,
    estimator: PoseEstimator,
    pictures: Sequence[tuple[str, torch.Tensor, torch.Tensor | None]],
    samples: int,
) -> None:
    """One panel an image: the image, and its samples on the globe with the true poses as rings.

    Args:
        pictures: name of the object, (S, S[, 3]) uint8 image, (M, 3, 3) true poses or None.
    """
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.5 * rows + 0.6), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 3 * columns, height_ratios=[1.0] * rows + [0.06])
    for k, (name, image, truth) in enumerate(pictures):
        row, column = divmod(k, columns)
        left = figure.add_subplot(grid[row, 3 * column])
        left.imshow(image.numpy(), cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
        left.set_axis_off()
        found = estimator.estimate(image.numpy(), samples, seed=k, name=name)
        globe = figure.add_subplot(grid[row, 3 * column + 1 : 3 * column + 3], projection="mollweide")
        plot_distribution(globe, found.rotations, truth=truth, title=f"{name}: {found.ambiguity.value}")
    hue_bar(figure.add_subplot(grid[rows, columns : 2 * columns]))
    figure.suptitle(f"{samples} samples of an image (dots) and all its true poses (rings)")
    figure.savefig(path, dpi=110)
