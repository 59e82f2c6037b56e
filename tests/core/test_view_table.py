"""What views leave open, looked up: never more than the view itself leaves, and most of it."""

import math

import pytest
import torch
import view_parts

from lie_picard import so3
from lie_picard.objects.alike import GRID
from lie_picard.objects.view_table import ViewTable
from lie_picard.rendering.clean import Crop


@pytest.fixture(scope="module")
def mug():
    return view_parts.mug(sections=48)


def test_a_mugs_arcs_are_those_of_its_views(mug):
    table = ViewTable.of(mug, directions=120)
    about = torch.deg2rad(torch.tensor([90.0, 180.0, 185.0, 0.0, 270.0]))
    # The z axis up in the image, seen a little from above, turned about it: the handle is seen at the side, or hidden.
    rotations = so3.exp(torch.tensor([[1.9, 0.0, 0.0]])) @ so3.about_axis(torch.eye(3)[2], about)
    view = Crop().view(len(rotations))
    found, truth = table.at(rotations, view), mug.true_poses(rotations, view)
    arcs = found.circles.sum((1, 2)) * (360 / GRID)
    for k in range(len(rotations)):
        long = sum(math.degrees(arc.length) for arc in truth.found(k).arcs)
        assert arcs[k] <= long + 15
        assert (arcs[k] > 0) == (found.turns[k].sum() == 0)
        if long > 60:
            assert arcs[k] > 0.3 * long
    assert (arcs > 0).any() and (arcs == 0).any()


def test_the_rendered_pose_is_always_among_them(mug):
    table = ViewTable.of(mug, directions=20)
    rotations = so3.uniform(50, generator=torch.Generator().manual_seed(0))
    found = table.at(rotations, Crop().view(50))
    assert ((found.turns[:, 0] > 0) | (found.circles[:, :, 0] > 0).any(1)).all()
