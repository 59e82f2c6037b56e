"""Following: where objects are looked for, which of them is which, when one is lost, and how it comes back."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lie_picard import so3
from lie_picard.estimation.following import FOLLOWED, LOCATED, Following, confidence
from lie_picard.estimation.locate import Finder, Proposal, overlap
from lie_picard.estimation.poses import ObjectPoses, Target
from lie_picard.geometry.camera import Camera, Region, sphere_region
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model.locator import STRIDE, Locator, LocatorConfig, StoredLocator
from lie_picard.posterior.hypotheses import posed, summarise

CAMERA = Camera(np.array([[700.0, 0, 319.5], [0, 700.0, 239.5], [0, 0, 1]]), np.zeros(0), 640, 480)
DIAMETER = 0.1
IMAGE = np.full((480, 640, 3), 128, np.uint8)


class World:
    """Balls at places; a locator that sees those in the image, and a pose model that sees what is in its region."""

    def __init__(self, count=1, name="ball"):
        ids = [name] if count == 1 else [f"{name}#{k}" for k in range(count)]
        self.targets = [Target(one, DIAMETER, None, name if count > 1 else "") for one in ids]
        self.name, self.following, self.searches = name, Following(), 0
        self.places, self.false, self.likeness, self.blind = {}, [], 1.0, False

    def locate(self, image, names):
        self.searches += 1
        if self.blind:
            return []
        seen = [Proposal(self.name, 0.9, region) for region in map(self.region, self.places.values()) if region]
        return [*seen, *(Proposal(self.name, 0.4, region) for region in self.false)]

    def region(self, place):
        region = sphere_region(CAMERA, np.array(place), DIAMETER / 2)
        x, y = region.x + region.width / 2, region.y + region.height / 2
        return region if 0 <= x < 640 and 0 <= y < 480 else None

    def estimate(self, target):
        near = [(overlap(target.region, region), place) for place in self.places.values()
                if (region := self.region(place))]  # fmt: skip
        share, place = max(near, default=(0.0, None))
        rotations = so3.exp(0.01 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
        there = share > 0.15
        one = dataclasses.replace(summarise(rotations), presence=0.95 if there else 0.05, likeness=self.likeness)
        x, y = target.region.x + target.region.width / 2, target.region.y + target.region.height / 2
        guess = CAMERA.rays(np.array([[x, y]]))[0] if place is None or not there else np.array(place)
        centre = torch.from_numpy(np.asarray(guess, np.float64))
        modes = torch.stack([mode.rotation for mode in one.modes]).double()
        covariance = 1e-6 * torch.eye(6, dtype=torch.float64).expand(len(modes), 6, 6)
        one = posed(one, rotations.double(), centre.expand(8, 3), modes, centre.expand(len(modes), 3), covariance)
        poses = ObjectPoses.told(target.object_id, one, Symmetry.none())
        return dataclasses.replace(poses, region=sphere_region(CAMERA, centre.numpy(), DIAMETER / 2))

    def image(self, stamp, every=15):
        candidates = self.following.candidates(IMAGE, CAMERA, self.targets, stamp, self.locate, every)
        found = [self.estimate(one.target) for one in candidates]
        kept, missing = self.following.learned(candidates, found, self.targets, CAMERA, stamp, 0.0)
        return {one.object_id: one for one in kept}, {one.target.object_id: one for one in missing}


def test_an_object_is_located_once_and_followed_from_then_on():
    world = World()
    for k in range(15):
        world.places = {"a": (0.01 * k - 0.1, 0.0, 1.0)}
        found, missing = world.image(k / 30)
        assert found["ball"].state == (FOLLOWED if k else LOCATED) and not missing
    assert world.searches == 1


def test_an_object_that_leaves_is_lost_at_once_and_found_when_it_is_back():
    world, states = World(), []
    for k in range(240):
        side = 0.6 * math.sin(2 * math.pi * k / 200)
        world.places = {"a": (side, 0.0, 1.0)}
        found, missing = world.image(k / 30)
        inside = world.region((side, 0.0, 1.0)) is not None
        states.append((inside, bool(found), bool(missing)))
    assert {inside for inside, *_ in states} == {True, False}
    wrong = [(k, *one) for k, one in enumerate(states) if not (one[1] == one[0] and one[2] != one[0])]
    assert not wrong


def test_two_instances_keep_their_names_while_they_pass_each_other():
    world = World(2)
    for k in range(40):
        world.places = {"a": (-0.2 + 0.01 * k, -0.1, 1.0), "b": (0.2 - 0.01 * k, 0.1, 1.0)}
        found, _ = world.image(k / 30)
        if not k:
            names = {name: float(poses.position[1]) for name, poses in found.items()}
        assert {name: float(poses.position[1]) for name, poses in found.items()} == pytest.approx(names)
    assert set(names) == {"ball#0", "ball#1"}


def test_an_instance_never_becomes_another_one():
    world = World(2)
    world.places = {"a": (-0.2, 0.0, 1.0), "b": (0.2, 0.0, 1.0)}
    before, _ = world.image(0.0)
    gone = next(name for name, poses in before.items() if poses.position[0] < 0)
    stays = next(name for name in before if name != gone)
    del world.places["a"]
    for k in range(1, 5):
        found, missing = world.image(k / 30)
        assert set(found) == {stays} and found[stays].position[0] > 0 and set(missing) == {gone}
    world.places["a"] = (-0.15, 0.05, 1.0)
    found, _ = world.image(5 / 30)
    assert found[gone].position[0] < 0 < found[stays].position[0]


def test_what_the_locator_no_longer_sees_is_lost_after_some_searches():
    world = World()
    world.places = {"a": (0.0, 0.0, 1.0)}
    world.image(0.0, every=5)
    world.blind, there = True, []
    for k in range(1, 30):
        found, missing = world.image(k / 30, every=5)
        there.append(bool(found))
        if not found:
            assert "did not see it" in missing["ball"].why
            break
    assert sum(there) >= 10 and not there[-1]  # the pose model goes on seeing a ball there


def test_a_locator_that_misses_it_now_and_then_loses_nothing():
    world = World()
    world.places = {"a": (0.0, 0.0, 1.0)}
    for k in range(60):
        world.blind = k % 10 == 5
        found, _ = world.image(k / 30, every=5)
        assert found


def test_what_the_pose_model_does_not_support_is_not_published():
    world = World()
    world.false = [Region(100, 100, 80, 80)]
    found, missing = world.image(0.0)
    assert not found and "presence there 0.05" in missing["ball"].why


def test_what_looks_like_another_object_is_not_published():
    world = World()
    world.places, world.likeness = {"a": (0.0, 0.0, 1.0)}, 0.1
    found, missing = world.image(0.0)
    assert not found and missing


def test_one_thing_is_not_two_objects():
    """Where two names fit a place, as a bare solid's and that of the same with a mark, the surer one counts."""
    world = World()
    world.places = {"a": (0.0, 0.0, 1.0)}
    twin = Target("twin", DIAMETER, None)
    targets = [twin, *world.targets]
    locate = lambda image, names: [*world.locate(image, names), Proposal("twin", 0.7, world.region((0.005, 0.0, 1.0)))]  # noqa: E731
    candidates = world.following.candidates(IMAGE, CAMERA, targets, 0.0, locate, 15)
    found = [world.estimate(one.target) for one in candidates]
    assert len(found) == 2
    kept, missing = world.following.learned(candidates, found, targets, CAMERA, 0.0, 0.0)
    assert [one.object_id for one in kept] == ["ball"] and [one.target.object_id for one in missing] == ["twin"]


@pytest.mark.parametrize("worse", [{"score": 0.3}, {"presence": 0.4}, {"likeness": 0.2}])
def test_confidence_falls_with_each_of_its_parts(worse):
    good = {"score": 0.8, "presence": 0.95, "likeness": 0.9}
    assert confidence(**good | worse) < confidence(**good) < 1
    assert 0 < confidence(0.2, math.nan, math.nan) < 0.5 < confidence(0.8, math.nan, math.nan) < 1


def test_a_jump_is_a_loss():
    world = World()
    world.places = {"a": (0.0, 0.0, 1.0)}
    world.image(0.0)
    world.places = {"a": (0.065, 0.0, 1.0)}  # beside it, near enough to be in the region
    found, missing = world.image(1 / 30)
    assert not found and "another instance" in missing["ball"].why
    found, _ = world.image(2 / 30)
    assert found["ball"].state == LOCATED


def test_further_instances_are_searched_now_and_then():
    world = World(3)
    world.places = {"a": (-0.2, 0.0, 1.0)}
    for k in range(100):
        world.image(k / 30, every=10)
    assert 9 <= world.searches <= 12


def test_a_dark_image_is_named_as_a_reason():
    world = World()
    candidates = world.following.candidates(IMAGE // 30, CAMERA, world.targets, 0.0, world.locate, 15)
    _, missing = world.following.learned(candidates, [], world.targets, CAMERA, 0.0, 0.0)
    assert "dark" in missing[0].why


@pytest.mark.parametrize(
    ("change", "says"),
    [((0, 2, 600.0), "cropped"), ((1, 1, 400.0), "square"), ((0, 0, 0.004), "not square"), (None, None)],
)
def test_a_calibration_that_hardly_fits_is_named_as_a_reason(change, says):
    matrix = CAMERA.matrix.copy()
    if change is not None:
        matrix[change[:2]] = change[2]
    world, camera = World(), dataclasses.replace(CAMERA, matrix=matrix)
    candidates = world.following.candidates(IMAGE, camera, world.targets, 0.0, world.locate, 15)
    _, missing = world.following.learned(candidates, [], world.targets, camera, 0.0, 0.0)
    assert (says or "highest score") in missing[0].why and ("calibration" in missing[0].why) == (says is not None)


def test_a_lens_of_another_unit_is_doubted():
    matrix = CAMERA.matrix.copy()
    matrix[0, 0] = matrix[1, 1] = 4.0  # millimetres
    assert "pixels" in dataclasses.replace(CAMERA, matrix=matrix).doubt and CAMERA.doubt is None


def test_regions_overlap_by_their_common_share():
    one = Region(0, 0, 10, 10)
    assert overlap(one, one) == 1 and overlap(one, Region(20, 0, 5, 5)) == 0
    assert overlap(one, Region(5, 0, 10, 10)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (540, 960), (100, 100), (1, 3000)])
def test_proposals_are_pixels_of_the_image_whatever_its_size(height, width):
    torch.manual_seed(0)
    finder = Finder(StoredLocator.of(Locator(LocatorConfig(("a",)))))
    maps, scale = finder._maps(np.zeros((height, width, 3), np.uint8))
    rows, columns = maps.heat.shape[-2:]
    assert math.ceil(height * scale / STRIDE) == rows or rows == 1
    assert math.ceil(width * scale / STRIDE) == columns or columns == 1
    heat = torch.full_like(maps.heat, -9.0)
    heat[0, 0, rows // 2, columns // 2] = 5.0
    (one,) = finder._decoded(maps._replace(heat=heat, box=torch.zeros_like(maps.box)), 0, scale, 8, 0.5)
    x, y = one.region.x + one.region.width / 2, one.region.y + one.region.height / 2
    assert x == pytest.approx((columns // 2 + 0.5) * STRIDE / scale) and one.score > 0.9
    assert y == pytest.approx((rows // 2 + 0.5) * STRIDE / scale)
    assert one.region.width == pytest.approx(STRIDE / scale)


def test_onnx_and_torch_see_the_same():
    torch.manual_seed(0)
    stored = StoredLocator.of(Locator(LocatorConfig(("a", "b"))))
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    fast, slow = Finder(stored), Finder(stored)
    slow._session = None
    for one, other in zip(fast._maps(image)[0], slow._maps(image)[0], strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)
