"""A second look where the first one finds the object beside its region's middle, or of another size; only there."""

import dataclasses
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lie_picard import so3
from lie_picard.estimation.poses import Target, estimate_poses
from lie_picard.geometry.camera import Camera, Region, sphere_region
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.posterior.hypotheses import posed, summarise

CAMERA = Camera(np.array([[600.0, 0, 319.5], [0, 610.0, 239.5], [0, 0, 1]]), np.zeros(0), 640, 480)
DIAMETER = 0.1


def circle(white):
    """Of a disc that the image may cut off: middle and radius in half images, through the outline that is seen."""
    outline = cv2.findContours(white.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0][:, 0]
    outline = outline[((outline > 0) & (outline < 63)).all(1)]
    points = (outline + 0.5) / 32 - 1
    (x, y, rest), *_ = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)
    return x, y, math.sqrt(rest + x * x + y * y) + 0.5 / 32


class Seer:
    """Stands for a model: sees where a white disc is in its crop, and how large it is there."""

    def __init__(self, presence=lambda look: 1.0, positions=True):
        self.config = SimpleNamespace(image_size=64, fill=0.9, objects=("cube",))
        self.catalogue, self.looks = catalogue(BUILT_IN), 0
        self._presence, self._positions = presence, positions

    def estimate_batch(self, cuts, samples, seed, options, warm, names, half_tangent):
        self.looks += 1
        found = []
        for cut, (opening, _) in zip(cuts, half_tangent.tolist(), strict=True):
            x, y, radius = circle(np.asarray(cut).max(-1) > 127)
            middle, size = np.array([x, y]), radius * opening  # tangent of the sphere's angular radius, about
            away = math.sqrt(1 + 1 / size**2)
            ray = np.array([*(middle * opening), 1.0])
            centre = torch.from_numpy(away * ray / np.linalg.norm(ray))
            rotations = so3.exp(0.01 * torch.randn(samples, 3, generator=torch.Generator().manual_seed(0)))
            one = dataclasses.replace(summarise(rotations), presence=self._presence(self.looks))
            if self._positions:
                modes = torch.stack([mode.rotation for mode in one.modes]).double()
                covariance = 1e-4 * torch.eye(6, dtype=torch.float64).expand(len(modes), 6, 6)
                one = posed(one, rotations.double(), centre.expand(samples, 3), modes, centre.expand(len(modes), 3),
                            covariance)  # fmt: skip
            found.append(one)
        return found


def pictured(position):
    """The image of a white ball, and the true region."""
    region = sphere_region(CAMERA, position, DIAMETER / 2)
    v, u = np.mgrid[:480, :640]
    near = ((u + 0.5 - region.x) / region.width * 2 - 1) ** 2 + ((v + 0.5 - region.y) / region.height * 2 - 1) ** 2 < 1
    return np.repeat(near[..., None], 3, 2).astype(np.uint8) * 255, region


def off_by(region, sideways=0.0, size=1.0):
    """A region whose middle is off by a share of its side, `size` times as large."""
    x, y = region.x + region.width * (0.5 + sideways), region.y + region.height * 0.5
    width, height = region.width * size, region.height * size
    return Region(x - width / 2, y - height / 2, width, height)


@pytest.mark.parametrize(
    ("sideways", "size", "looks"),
    [(0.0, 1.0, 1), (0.02, 1.0, 1), (0.0, 1.03, 1), (0.15, 1.0, 2), (0.0, 2.5, 2), (0.1, 0.8, 2), (0.6, 2.2, 2)],
)
def test_it_looks_again_where_the_region_is_off(sideways, size, looks):
    position, seer = np.array([0.06, -0.04, 0.8]), Seer()
    image, region = pictured(position)
    found = estimate_poses(seer, image, CAMERA, [Target("cube", DIAMETER, off_by(region, sideways, size))], samples=8)
    assert seer.looks == looks
    if looks == 2:  # the crop is about the object now
        assert np.linalg.norm(found[0].position - position) < 0.02 * np.linalg.norm(position)


def test_only_the_objects_that_are_off_are_looked_at_again():
    position, seer, counts = np.array([-0.05, 0.02, 0.7]), Seer(), []
    image, region = pictured(position)
    batch = seer.estimate_batch
    seer.estimate_batch = lambda cuts, *rest: counts.append(len(cuts)) or batch(cuts, *rest)
    targets = [Target("cube", DIAMETER, region), Target("far", DIAMETER, off_by(region, 0.4))]
    found = estimate_poses(seer, image, CAMERA, targets, samples=8)
    assert counts == [2, 1]
    for one in found:
        assert np.linalg.norm(one.position - position) < 0.03 * np.linalg.norm(position)


@pytest.mark.parametrize(("second", "kept"), [(0.9, True), (0.55, True), (0.2, False), (math.nan, True)])
def test_a_second_look_that_sees_less_of_the_object_does_not_count(second, kept):
    image, region = pictured(np.array([0.0, 0.0, 0.8]))
    seer = Seer(lambda look: 0.6 if look == 1 else second)
    found = estimate_poses(seer, image, CAMERA, [Target("cube", DIAMETER, off_by(region, 0.0, 2.5))], samples=8)
    presence = found[0].hypotheses.presence
    assert seer.looks == 2 and (presence == 0.6) is not kept


def test_a_model_that_tells_no_positions_looks_once():
    image, region = pictured(np.array([0.0, 0.0, 0.8]))
    seer = Seer(positions=False)
    estimate_poses(seer, image, CAMERA, [Target("cube", DIAMETER, off_by(region, 0.3, 2.5))], samples=8)
    assert seer.looks == 1
