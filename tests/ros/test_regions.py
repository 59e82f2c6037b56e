"""Regions from masks and detections: the sphere around what they bound, and what they cannot tell."""

import math
import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lie_picard import ImageError, so3
from lie_picard.data.seeds import test_generator
from lie_picard.estimation.regions import (
    SPHERE_PER_CIRCLE,
    SPHERE_PER_SIDE,
    Detected,
    misnamed,
    regions_of_detections,
    regions_of_mask,
)
from lie_picard.geometry.camera import Camera, Region, sphere_region
from lie_picard.objects.symsol.solids import solid
from lie_picard_pose.parameters import detection_type

CAMERA = Camera(np.array([[500.0, 0, 159.5], [0, 500.0, 119.5], [0, 0, 1]]), np.zeros(0), 320, 240)


def silhouette(name, seed, direction=(0.05, -0.04)):
    """A solid's mask (240, 320) at a random rotation, and the region of its sphere."""
    rotation = so3.uniform(1, generator=test_generator(seed))
    centre = np.array([*direction, 1.0]) * 10
    v, u = np.meshgrid(np.arange(CAMERA.height), np.arange(CAMERA.width), indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(CAMERA.matrix).T
    seen = solid(name).cast(rotation, torch.from_numpy(centre)[None].float(), torch.from_numpy(rays).float())
    return seen.hit[0].numpy().reshape(CAMERA.height, CAMERA.width), sphere_region(CAMERA, centre, 1.0)


def disc(x, y, radius, label=1):
    """A filled circle about a pixel."""
    image = np.zeros((240, 320), np.int32)
    cv2.circle(image, (x, y), radius, label, -1)
    return image


def difference(found, truth):
    """Distance of the centres and error of the size, both as shares of the sphere's diameter."""
    diameter = (truth.width + truth.height) / 2
    shift = math.hypot(found.x + found.width / 2 - truth.x - truth.width / 2,
                       found.y + found.height / 2 - truth.y - truth.height / 2)  # fmt: skip
    return shift / diameter, found.width / diameter - 1


def detection(x=100.0, y=80.0, width=40.0, height=30.0, theta=0.0, results=(("cube", 0.9),)):
    """What vision_msgs/Detection2D looks like; its own types where they are installed."""
    kind = detection_type()
    if kind is None:
        hypotheses = [SimpleNamespace(hypothesis=SimpleNamespace(class_id=c, score=s)) for c, s in results]
        centre = SimpleNamespace(position=SimpleNamespace(x=x, y=y), theta=theta)
        return SimpleNamespace(results=hypotheses, bbox=SimpleNamespace(center=centre, size_x=width, size_y=height))
    from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

    made = Detection2D()
    made.bbox.center.position.x, made.bbox.center.position.y, made.bbox.center.theta = x, y, theta
    made.bbox.size_x, made.bbox.size_y = width, height
    for name, score in results:
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = name, score
        made.results.append(result)
    return made


def detections(*made):
    """The array of them."""
    kind = detection_type()
    return SimpleNamespace(detections=list(made)) if kind is None else kind(detections=list(made))


def test_the_message_type_is_that_of_an_installed_package_or_none():
    kind = detection_type()
    assert kind is None or kind.__name__ == "Detection2DArray"
    assert (kind is not None) or not os.environ.get("LIE_PICARD_EXPECT_VISION_MSGS")


@pytest.mark.parametrize(
    ("name", "per_circle", "per_side", "shift"),
    [("tet", 1.14, 1.31, 0.11), ("cube", 1.03, 1.12, 0.03), ("icosa", 1.02, 1.06, 0.03), ("cone", 1.06, 1.17, 0.11),
     ("cyl", 1.02, 1.06, 0.03), ("sphereX", 0.98, 0.99, 0.01)],
)  # fmt: skip
def test_a_silhouette_tells_the_sphere_as_well_as_stated(name, per_circle, per_side, shift):
    """The module states these averages over random poses."""
    circles, boxes = [], []
    for seed in range(24):
        mask, truth = silhouette(name, seed)
        circles.append(difference(regions_of_mask(mask.astype(np.int32), ["it"])["it"], truth))
        rows, columns = np.nonzero(mask)
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        found, _ = regions_of_detections(
            detections(detection((left + right) / 2, (top + bottom) / 2, float(right - left), float(bottom - top)))
        )
        boxes.append(difference(found[0].region, truth))
    for errors, factor, stated in ((circles, SPHERE_PER_CIRCLE, per_circle), (boxes, SPHERE_PER_SIDE, per_side)):
        moved, larger = np.array(errors).T
        assert math.sqrt((moved**2).mean()) < shift
        assert (factor / (1 + larger)).mean() == pytest.approx(stated, abs=0.04)
        assert np.abs(larger).max() < 0.3


def test_a_mask_of_any_label_is_the_only_object():
    for label in (1, 7, 255):
        region = regions_of_mask(disc(100, 80, 20, label), ["mug"])["mug"]
        centre = region.x + region.width / 2, region.y + region.height / 2
        assert centre == pytest.approx((100.5, 80.5), abs=0.5)
        assert region.width == region.height == pytest.approx(1.04 * 41, abs=1.0)


def test_label_k_is_the_kth_object_and_who_is_not_there_has_no_region():
    labels = disc(60, 60, 15, 1) + disc(200, 150, 25, 3)
    regions = regions_of_mask(labels, ["a", "b", "c"])
    assert list(regions) == ["a", "c"]
    assert regions["c"].x > 150 and regions["c"].width > regions["a"].width
    assert list(regions_of_mask(disc(60, 60, 15, 1), ["a", "b"])) == ["a"]
    assert regions_of_mask(np.zeros((240, 320), np.int32), ["a", "b"]) == {}
    assert regions_of_mask(np.zeros((240, 320), np.int32), ["a"]) == {}


@pytest.mark.parametrize("label", [4, 255])
def test_a_mask_without_labels_cannot_tell_several_objects_apart(label):
    with pytest.raises(ImageError, match=rf"holds label {label} but there are 3 objects"):
        regions_of_mask(disc(60, 60, 15, label), ["a", "b", "c"])


def test_specks_do_not_enlarge_a_region():
    clean = regions_of_mask(disc(100, 80, 20), ["mug"])
    noisy = disc(100, 80, 20)
    noisy[[5, 200, 230], [10, 300, 20]] = 1
    assert regions_of_mask(noisy, ["mug"]) == clean
    assert regions_of_mask(disc(100, 80, 0), ["mug"]) == {}


@given(st.floats(-math.pi, math.pi), st.floats(5, 80), st.floats(5, 80))
def test_a_turned_box_has_the_same_square(theta, width, height):
    turned = regions_of_detections(detections(detection(width=width, height=height, theta=theta)))[0][0]
    plain = regions_of_detections(detections(detection(width=height, height=width)))[0][0]
    assert turned == plain and turned.object_id == "cube"
    assert turned.region.x + turned.region.width / 2 == pytest.approx(100)
    assert turned.region.width == turned.region.height == pytest.approx(1.12 * max(width, height))


def test_the_best_hypothesis_of_a_detection_counts():
    results = (("cone", 0.3), ("cube", 0.6), ("tet", math.nan), ("", 0.9))
    found, skipped = regions_of_detections(detections(detection(results=results), detection(results=(("tet", 0.5),))))
    assert [(one.object_id, one.score) for one in found] == [("cube", 0.6), ("tet", 0.5)] and not skipped


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 0.0}, "sizes must be positive"),
        ({"height": -3.0}, "sizes must be positive"),
        ({"width": math.nan}, "sizes must be positive"),
        ({"x": math.inf}, "sizes must be positive"),
        ({"results": ()}, "no hypothesis"),
        ({"results": (("cube", math.nan),)}, "no hypothesis"),
    ],
)
def test_a_useless_detection_is_skipped_with_a_reason(changes, reason):
    found, skipped = regions_of_detections(detections(detection(**changes), detection()))
    assert len(found) == 1 and len(skipped) == 1
    assert reason in skipped[0] and "detection 0" in skipped[0] and "\n" not in skipped[0]


def test_no_detections_are_no_regions():
    assert regions_of_detections(detections()) == ([], [])


@pytest.mark.parametrize(
    ("names", "said"),
    [(["Cube"], True), (["cubes", "person"], True), (["0", "1"], True), (["person"], False), ([], False),
     (["cube", "Cube"], False)],
)  # fmt: skip
def test_detections_that_name_the_object_otherwise_are_said(names, said):
    detected = [Detected(name, 0.9, Region(0, 0, 10, 10)) for name in names]
    problem = misnamed(detected, ["cube"])
    assert (problem is not None) == said
    assert not said or ("'cube'" in problem and repr(names[0]) in problem)
