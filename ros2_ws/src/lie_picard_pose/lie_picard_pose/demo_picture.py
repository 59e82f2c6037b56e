"""The demo's picture: the camera image with every hypothesis drawn in, beside each object's distribution on SO(3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lie_picard.drawing.distribution import hue_bar, plot_distribution
from lie_picard.drawing.overlay import Colour, Drawn, colour_of, draw_overlay, enlarged
from lie_picard.messages.read import camera_of, poses_of, rotation_of, tracked_of
from lie_picard.node.pictures import drawn
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose.conversions import to_rgb
from lie_picard_pose.demo_recording import DIAMETER

_OVERSIZE = 2  # the camera image is enlarged so that thin lines stay thin


@dataclass(frozen=True)
class Found:
    """One object's result: its message, samples (N, 3, 3), the true rotation (3, 3), and the image it came from."""

    message: PoseHypothesisArray
    samples: torch.Tensor
    truth: torch.Tensor
    image: Image | CompressedImage


def save_picture(path: Path, info: CameraInfo | None, found: dict[str, Found]) -> None:
    """Write the picture of one image's results."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert info is not None
    names = [name for name in catalogue(BUILT_IN) if name in found]
    image = _overlay(info, [found[name] for name in names])
    figure = pyplot.figure(figsize=(15, 7.2), layout="constrained")
    left, right = np.ravel(figure.subfigures(1, 2, width_ratios=[1.25, 1]))  # type: ignore[arg-type]
    axes = left.subplots()
    axes.imshow(image)
    axes.set_axis_off()
    axes.set_title("camera image with every hypothesis drawn in, opacity by weight", fontsize=11)
    columns = 1 if len(names) <= 3 else 2
    rows = -(-len(names) // columns)
    grid = right.add_gridspec(rows + 1, columns, height_ratios=[*[1.0] * rows, 0.08])
    for index, name in enumerate(names):
        one, symmetry = found[name], catalogue(BUILT_IN)[name].symmetry
        panel = right.add_subplot(grid[index // columns, index % columns], projection="mollweide")
        truth = symmetry.equivalents(one.truth, 3.0)
        modes = len(one.message.hypotheses)
        title = f"{name}: {len(one.samples)} samples, {modes} mode{'s' if modes > 1 else ''}"
        hypotheses = one.message.hypotheses
        means = torch.from_numpy(np.stack([rotation_of(one.pose.pose.orientation) for one in hypotheses]))
        weights = [hypothesis.weight for hypothesis in hypotheses]
        plot_distribution(panel, one.samples, truth, title, means, weights)
        panel.title.set_color([c / 255 * 0.7 for c in colour_of(index)])
    bar = right.add_subplot(grid[rows, :])
    hue_bar(bar)
    right.suptitle("SO(3): where a pointer on the object points; discs: modes, rings: true poses", fontsize=11)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _overlay(info: CameraInfo, found: list[Found]) -> np.ndarray:
    camera = camera_of(info, rectified=False)
    image, large = enlarged(to_rgb(found[0].image), camera, _OVERSIZE)
    items = [_drawn(one.message, colour_of(index)) for index, one in enumerate(found)]
    return draw_overlay(image, large, items)


def _drawn(message: PoseHypothesisArray, colour: Colour) -> Drawn:
    shape = catalogue(BUILT_IN)[message.object_id]
    return drawn(poses_of(message, shape.symmetry), tracked_of(message), shape.mesh(DIAMETER), colour)
