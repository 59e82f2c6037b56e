"""Images of objects, each beside the set of poses that give the same image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lie_picard.drawing.distribution import hue_bar, plot_distribution
from lie_picard.objects.catalogue import TruePoses


def plot_ambiguity(path: Path, pictures: Sequence[tuple[str, torch.Tensor, TruePoses]], step_deg: float = 6.0) -> None:
    """One row an image, beside its true poses on the globe.

    Args:
        path: of the picture. pictures: caption, (S, S[, 3]) uint8 image, true poses of that one image.
        step_deg: between the poses that are drawn of an arc.
    """
    from matplotlib.figure import Figure

    rows = len(pictures)
    figure = Figure(figsize=(8.0, 2.9 * rows + 0.7), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 3, height_ratios=[1.0] * rows + [0.06])
    for row, (caption, image, poses) in enumerate(pictures):
        left = figure.add_subplot(grid[row, 0])
        left.imshow(image.numpy(), cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
        left.set_axis_off()
        left.set_title(caption, fontsize=10)
        globe = figure.add_subplot(grid[row, 1:3], projection="mollweide")
        listed = poses.listed(0, step_deg)
        shown = poses.truth[:0] if listed is None else listed
        count = (
            "every pose that shows no mark"
            if listed is None
            else "one pose"
            if len(listed) == 1
            else f"{len(listed)} dots"
        )
        plot_distribution(globe, shown, title=f"true poses: {count}")
    hue_bar(figure.add_subplot(grid[rows, 1:3]))
    figure.savefig(path, dpi=110)
