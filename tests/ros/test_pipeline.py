"""From messages to results without a node: the same result as offline, what is bad is refused, nothing else happens."""

import dataclasses
import json
import math
import os
import random
import re

import cv2
import numpy as np
import pytest
import ros_messages as messages
import torch
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from lie_picard import PoseEstimator
from lie_picard.data.scene import Placed, render_scene
from lie_picard.estimation.estimator import ImageError
from lie_picard.geometry.camera import Camera, CameraError, Region, look_at, sphere_region
from lie_picard.messages.read import poses_of, rotation_of
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard.objects.symsol.solids import solid
from lie_picard.posterior.covariance import Calibration
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard_pose import parameters
from lie_picard_pose.conversions import WRITER

DEFAULTS = {name: entry.default for name, entry in parameters.TABLE.items()}
CUBE = messages.placed("cube", seed=7)
INFO = messages.camera_info()


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(PoseEstimator.from_checkpoint("default", "cpu"), WRITER)


def settings(placed=CUBE, **changes):
    r = placed.region(messages.CAMERA)
    values = {"objects": [placed.name], "diameters": [messages.DIAMETER], "regions": [r.x, r.y, r.width, r.height]}
    return parameters.settings_of(DEFAULTS | values | changes)


def test_a_rehearsal_asks_the_pose_model_where_objects_are_found_in_the_image(pipeline, monkeypatch):
    calls = []
    estimate = pipeline.estimator.estimate_batch

    def counted(images, *arguments, **named):
        calls.append(len(images))
        return estimate(images, *arguments, **named)

    monkeypatch.setattr(pipeline.estimator, "estimate_batch", counted)
    found = settings(regions=[0.0] * 4)
    assert pipeline.finds(found)
    pipeline.rehearse(found)
    assert calls


def test_a_rehearsal_refuses_what_the_model_cannot_do():
    plain = checkpoint.load("default")
    plain.flow_map, plain.config = None, dataclasses.replace(plain.config, flow_map=False)
    with pytest.raises(ValueError, match="lie-picard distil"):
        Pipeline(PoseEstimator(plain), WRITER).rehearse(settings(regions=[0.0] * 4, method="map"))


def position(pose):
    return np.array([pose.position.x, pose.position.y, pose.position.z])


def test_a_compressed_image_gives_the_same_poses(pipeline):
    raw = pipeline(Frame(messages.image(CUBE), INFO), settings(), follow=False).messages[0]
    pixels = np.repeat(render_scene(messages.CAMERA, [CUBE])[0][..., None], 3, 2)
    png = CompressedImage(format="rgb8; png compressed bgr8", data=cv2.imencode(".png", pixels)[1].tobytes())
    same = pipeline(Frame(png, INFO), settings(), follow=False).messages[0]
    assert list(same.sample_quaternions) == list(raw.sample_quaternions)
    jpeg = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", pixels)[1].tobytes())
    near = pipeline(Frame(jpeg, INFO), settings(), follow=False).messages[0]
    error = solid("cube").bare.distance(torch.from_numpy(rotation_of(near.best.pose.orientation)), CUBE.rotations[0])
    assert torch.rad2deg(error) < 8


def test_regions_come_from_topics_masks_and_detections(pipeline):
    """Each puts the object where it is; an object that a mask or detector does not see is not looked for."""
    r = CUBE.region(messages.CAMERA)
    roi = RegionOfInterest(x_offset=round(r.x), y_offset=round(r.y), width=round(r.width), height=round(r.height))
    elsewhere = settings(regions=[0.0, 0.0, 50.0, 50.0])
    by_topic = pipeline(Frame(messages.image(CUBE), INFO, {"cube": roi}), elsewhere).messages[0]
    pixels = render_scene(messages.CAMERA, [CUBE])[0]
    mask = Image(height=240, width=320, encoding="mono8", step=320)
    mask.data.frombytes((pixels > 30).astype(np.uint8).tobytes())
    by_mask = pipeline(Frame(messages.image(CUBE), INFO, mask), elsewhere).messages[0]
    for message in (by_topic, by_mask):
        error = solid("cube").bare.distance(
            torch.from_numpy(rotation_of(message.best.pose.orientation)), CUBE.rotations[0]
        )
        assert torch.rad2deg(error) < 8
        assert np.linalg.norm(position(message.best.pose)[:2] - CUBE.position[:2]) < 0.005
    empty = Image(height=240, width=320, encoding="mono8", step=320)
    empty.data.frombytes(bytes(240 * 320))
    assert not pipeline(Frame(messages.image(CUBE), INFO, empty), elsewhere).messages


def test_depth_gives_the_range_where_the_region_is_wrong(pipeline):
    """A region 10% too small puts the object 10% too far away for a model without places; the depth image does not."""
    r = CUBE.region(messages.CAMERA)
    small = [r.x + 0.05 * r.width, r.y + 0.05 * r.height, 0.9 * r.width, 0.9 * r.height]
    depth = Image(height=240, width=320, encoding="32FC1", step=4 * 320)
    depth.data.frombytes(messages.depth(CUBE).tobytes())
    frame = Frame(messages.image(CUBE), INFO, None, depth)
    found = {use: pipeline(frame if use else Frame(frame.image, INFO), settings(regions=small)).messages[0]
             for use in (True, False)}  # fmt: skip
    errors = {use: abs(position(m.best.pose)[2] - CUBE.position[2]) for use, m in found.items()}
    assert errors[True] < 0.02
    assert errors[False] < 0.05 if pipeline.estimator.config.position else errors[False] > 0.08


@pytest.mark.parametrize("corner", [(90, 80), (550, 80), (90, 400), (550, 400), (320, 240)])
@pytest.mark.parametrize("name", ["tet", "cube", "cyl"])
@pytest.mark.parametrize("lights_follow", [True, False], ids=["lit alike", "fixed lights"])
def test_at_the_corners_of_a_wide_image_it_is_as_good_as_in_the_centre(pipeline, name, corner, lights_follow):
    """A camera with 80 degrees of view: the pose in its frame, not in that of the crop. Wholly in view."""
    camera = Camera(np.array([[380.0, 0, 319.5], [0, 380.0, 239.5], [0, 0, 1]]), np.zeros(0), 640, 480)
    towards = camera.rays(np.array([corner], float))[0]
    where = towards / np.linalg.norm(towards) * 0.5
    solids = Placed(solid(name), 0.1, where, messages.placed(name, seed=3).rotations)
    pixels = np.repeat(render_scene(camera, [solids], 4, lights_follow)[0][..., None], 3, 2)
    message = Image(height=480, width=640, encoding="rgb8", step=1920)
    message.data.frombytes(pixels.tobytes())
    r = sphere_region(camera, where, 0.05)
    wanted = settings(objects=[name], regions=[r.x, r.y, r.width, r.height], samples=64)
    found = pipeline(Frame(message, messages.camera_info(camera)), wanted, follow=False).messages[0]
    best = found.best.pose
    error = solid(name).bare.distance(torch.from_numpy(rotation_of(best.orientation)), solids.rotations[0])
    assert torch.rad2deg(error) < 8
    assert np.linalg.norm(position(best) - where) < 0.03 * 0.5
    covariance = np.array(found.best.covariance).reshape(6, 6)[:3, :3]
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_an_object_whose_presence_is_too_low_is_lost(pipeline):
    blank = Image(height=240, width=320, encoding="rgb8", step=960)
    blank.data.frombytes(bytes(240 * 960))
    result = pipeline(Frame(blank, INFO), settings(least_presence=0.5))
    assert not result.messages and not result.poses
    (lost,) = result.lost
    assert lost.object_id == "cube" and not lost.hypotheses and lost.presence < 0.5
    assert pipeline(Frame(messages.image(CUBE), INFO), settings(least_presence=0.5)).messages


def test_one_sample_has_the_typical_covariance_and_of_a_model_without_calibration_none(pipeline, monkeypatch):
    def variances():
        message = pipeline(Frame(messages.image(CUBE), INFO), settings(samples=1), follow=False).messages[0]
        return np.diag(np.array(message.best.covariance).reshape(6, 6))[3:]

    model = pipeline.estimator.model
    expected = 2 * (model.calibration.scale * model.calibration.spread) ** 2 + model.calibration.floor**2
    np.testing.assert_allclose(variances(), expected, rtol=1e-3)
    monkeypatch.setattr(model, "calibration", Calibration())
    assert variances().tolist() == [-1, -1, -1]


ENCODINGS = ["rgb8", "bgr8", "rgba8", "mono8", "mono16", "8UC1", "8UC3", "16UC1", "32FC1", "bayer_rggb8", "yuv422",
             "yuv422_yuy2", "rgb9", "", "64FC4", "nv21", "ä" * 50]  # fmt: skip


def malformed(chance):
    """A frame of which much or all is nonsense."""
    width, height = (chance.choice([0, 1, 2, 7, 320, 2**31, 2**32 - 1]) for _ in range(2))
    encoding = chance.choice(ENCODINGS)
    size = chance.choice([0, 1, 5, 50, 960, 4096])
    image = Image(
        width=width,
        height=height,
        encoding=encoding,
        step=chance.choice([0, 1, width % 5000, 3 * (width % 5000), 2**32 - 1]),
    )
    image.is_bigendian = chance.choice([0, 1, 255])
    image.data = chance.randbytes(size)
    image.header.stamp.sec, image.header.stamp.nanosec = (
        chance.choice([0, -5, 2**31 - 1]),
        chance.choice([0, 2**32 - 1]),
    )
    if chance.random() < 0.2:
        image = CompressedImage(
            format=chance.choice(["jpeg", "png", "", "tiff", "rgb8; jpeg compressed bgr8"]), data=chance.randbytes(size)
        )
    number = lambda: chance.choice([0.0, 1.0, -1.0, 1e-300, 1e300, 320.0, float("nan"), float("inf")])  # noqa: E731
    info = CameraInfo(width=chance.choice([0, 7, 320, width]), height=chance.choice([0, 7, 240, height]))
    info.k = [number() for _ in range(9)]
    info.p = [number() for _ in range(12)]
    info.d = [number() for _ in range(chance.choice([0, 1, 4, 5, 8, 14, 20]))]
    info.distortion_model = chance.choice(["", "plumb_bob", "equidistant", "rational_polynomial", "magic"])
    info.binning_x, info.roi.width = chance.choice([0, 1, 2, 2**32 - 1]), chance.choice([0, 5, 2**32 - 1])
    if chance.random() < 0.5:
        info = INFO
    if chance.random() < 0.1:  # a good image with a bad calibration
        image = messages.image(CUBE)
    regions = None
    if chance.random() < 0.2:
        regions = {
            "cube": RegionOfInterest(
                width=chance.choice([0, 1, 2**32 - 1]), height=3, x_offset=chance.choice([0, 2**32 - 1])
            )
        }
    depth = image if chance.random() < 0.1 and isinstance(image, Image) else None
    return Frame(image, info, regions, depth)


def test_thousands_of_malformed_frames_are_refused_in_one_line_each(pipeline):
    """Whatever a frame holds, it is refused with a reason or estimated; poses are finite."""
    fuzz = int(os.environ.get("FUZZ", "1"))  # `make fuzz TEST=tests/ros/test_pipeline.py`: others, and more of them
    chance, wanted, refused = random.Random(fuzz), settings(samples=2, steps=2, restarts=0), 0
    for _ in range(3_000 * fuzz):
        frame = malformed(chance)
        try:
            found = pipeline(frame, wanted, follow=False).messages
        except (ImageError, CameraError) as error:
            assert str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert all(np.isfinite(position(m.best.pose)).all() for m in found)
    assert refused > 0.9 * 3_000 * fuzz


# --- companion images, their units and sizes


def labels_of(mask):
    """A mono8 mask."""
    message = Image(height=mask.shape[0], width=mask.shape[1], encoding="mono8", step=mask.shape[1])
    message.data.frombytes(mask.astype(np.uint8).tobytes())
    return message


def ranges_of(depth, encoding="32FC1"):
    """A depth image of these values."""
    values = depth.astype(np.float32 if encoding == "32FC1" else np.uint16)
    message = Image(height=depth.shape[0], width=depth.shape[1], encoding=encoding, step=values[0].nbytes)
    message.data.frombytes(values.tobytes())
    return message


SILHOUETTE = render_scene(messages.CAMERA, [CUBE])[0] > 30
DEPTH = messages.depth(CUBE)


@pytest.mark.parametrize("factor", [0.5, 2, 4])
def test_a_mask_and_depth_of_another_size_but_the_same_shape_are_scaled_and_it_is_said_once(pipeline, factor):
    size = round(320 * factor), round(240 * factor)
    mask = labels_of(cv2.resize(SILHOUETTE.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST))
    depth = ranges_of(cv2.resize(DEPTH, size, interpolation=cv2.INTER_NEAREST))
    there = settings(regions_from="mask")
    first, second = (pipeline(Frame(messages.image(CUBE), INFO, mask, depth), there, follow=False) for _ in range(2))
    assert np.linalg.norm(position(first.messages[0].best.pose) - CUBE.position) < 0.02
    said = sorted(first.complaints)
    assert len(said) == 2 and all(f"is {size[0]} x {size[1]} pixels, the image 320 x 240" in line for line in said)
    assert said[0].startswith("the depth image") and said[1].startswith("the mask") and not second.complaints


@pytest.mark.parametrize("size", [(320, 200), (240, 320), (319, 240), (1, 1), (16, 12)])
def test_nothing_is_estimated_with_a_companion_image_of_another_shape(pipeline, size):
    small = np.ones(size[::-1])
    for frame in (
        Frame(messages.image(CUBE), INFO, labels_of(small)),
        Frame(messages.image(CUBE), INFO, None, ranges_of(small)),
    ):
        with pytest.raises(ImageError, match=f"is {size[0]} x {size[1]} pixels, the image 320 x 240: .*registered"):
            pipeline(frame, settings(), follow=False)


@pytest.mark.parametrize(
    ("factor", "encoding", "unit"),
    [(1000, "32FC1", "millimetres"), (100, "32FC1", "centimetres"), (10_000, "16UC1", "in 0.1 mm"),
     (4_000, "16UC1", "in 0.25 mm"), (100, "16UC1", "centimetres")],
)  # fmt: skip
def test_depth_in_another_unit_is_told_with_the_likely_one(pipeline, factor, encoding, unit):
    """The range is that of the region, as without depth."""
    frame = Frame(messages.image(CUBE), INFO, None, ranges_of(np.ceil(DEPTH * factor), encoding))
    result = pipeline(frame, settings(), follow=False)
    (complaint,) = result.complaints
    assert unit in complaint and "'cube' has its range from its size" in complaint and "\n" not in complaint
    assert abs(position(result.messages[0].best.pose)[2] - CUBE.position[2]) < 0.02


@pytest.mark.parametrize(
    ("depth", "wanted"),
    [
        (np.full((240, 320), np.nan), "holds 0 ranges"),
        (np.full((240, 320), 3.0), r"says 3.002 m where the object is.* says (1|1\.0\d*|0\.9\d*) m"),
        (np.full((240, 320), 0.4), "check the object's diameter"),
    ],
)
def test_depth_that_is_nowhere_near_the_object_is_told(pipeline, depth, wanted):
    (complaint,) = pipeline(
        Frame(messages.image(CUBE), INFO, None, ranges_of(depth)), settings(), follow=False
    ).complaints
    assert re.search(wanted, complaint)
    right = Frame(messages.image(CUBE), INFO, None, ranges_of(DEPTH))
    assert not pipeline(right, settings(), follow=False).complaints


def test_a_calibration_of_another_size_than_the_image_names_both(pipeline):
    info = messages.camera_info(
        Camera(np.array([[3000.0, 0, 319.5], [0, 3000.0, 239.5], [0, 0, 1]]), np.zeros(0), 640, 480)
    )
    with pytest.raises(CameraError, match="the image is 320 x 240 pixels but camera_info says 640 x 480: publish"):
        pipeline(Frame(messages.image(CUBE), info), settings())
    info.binning_x = info.binning_y = 2
    assert pipeline(Frame(messages.image(CUBE), info), settings(), follow=False).messages
    info.roi.width, info.roi.height = 320, 200
    with pytest.raises(CameraError, match=r"says 160 x 100 \(640 x 480, of these the roi's 320 x 200, binned 2 x 2\)"):
        pipeline(Frame(messages.image(CUBE), info), settings())
    empty = labels_of(np.zeros((240, 320)))  # even where nothing is looked for
    with pytest.raises(CameraError, match="320 x 240 pixels but camera_info says 160 x 100"):
        pipeline(Frame(messages.image(CUBE), info, empty), settings())


@pytest.mark.parametrize("bits", [10, 12])
def test_grey_of_twelve_bits_gives_the_pose_of_grey_of_eight(pipeline, bits):
    grey = render_scene(messages.CAMERA, [CUBE])[0]
    deep = Image(height=240, width=320, encoding="mono16", step=640)
    deep.data.frombytes((grey.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16).tobytes())
    poses = [
        pipeline(Frame(image, INFO), settings(), follow=False).messages[0].best.pose
        for image in (messages.image(CUBE, encoding="mono8"), deep)
    ]
    first, second = (torch.from_numpy(rotation_of(pose.orientation)) for pose in poses)
    assert torch.rad2deg(solid("cube").bare.distance(first, second)) < 0.5


def test_symmetries_beside_the_origin_reach_every_message(tmp_path):
    """Each mode is a whole pose that looks the same: all place the point alike about which the symmetries turn."""
    centre = np.array([3.0, -2.0, 4.0])  # mm, as BOP has it
    moves = []
    for turn in solid("cube").symmetry.rotations[1:]:
        move = np.eye(4)
        move[:3, :3], move[:3, 3] = turn, centre - turn @ centre
        moves.append(move.ravel().tolist())
    file = tmp_path / "models_info.json"
    file.write_text(json.dumps({"cube": {"diameter": 95.0, "symmetries_discrete": moves}}))
    wanted = settings(symmetries=str(file))
    result = Pipeline(without_places(), WRITER)(Frame(messages.image(CUBE), INFO), wanted, follow=False)
    (message,) = result.messages
    poses = [one.pose.pose for one in message.hypotheses] + [message.best.pose]
    samples = WRITER.sample_poses(message.header, result.poses).poses
    assert len(poses) > 2 and len(samples) == wanted.samples
    for pose in poses + samples:
        at = position(pose) + rotation_of(pose.orientation) @ (centre * 1e-3)
        np.testing.assert_allclose(at, result.poses[0].position, atol=1e-6)
    again = poses_of(message, wanted.symmetries["cube"])
    np.testing.assert_allclose(again.position, result.poses[0].position, atol=1e-6)
    np.testing.assert_allclose(again.position_covariance, result.poses[0].position_covariance, atol=1e-9)
    latched = WRITER.object_info(wanted.targets[0], "cube", wanted.symmetries["cube"])
    assert len(latched.symmetries_discrete) == 23
    for one in latched.symmetries_discrete:
        shift = np.array([one.translation.x, one.translation.y, one.translation.z])
        np.testing.assert_allclose(shift, (np.eye(3) - rotation_of(one.rotation)) @ (centre * 1e-3), atol=1e-9)


def without_places():
    """The embedded model without its head for places, as checkpoints of before had none."""
    embedded = checkpoint.load("default")
    model = ScoreModel(dataclasses.replace(embedded.config, position=False))
    checkpoint.initialise(model, "default")
    model.catalogue, model.calibration = embedded.catalogue, embedded.calibration
    return PoseEstimator(model, "cpu")


def telling(region):
    """The embedded model, and a head that tells where the cube is in the view of this region, to a hundredth."""
    embedded = checkpoint.load("default")
    model = ScoreModel(dataclasses.replace(embedded.config, position=True))
    checkpoint.initialise(model, "default")
    model.catalogue, model.calibration = embedded.catalogue, embedded.calibration
    look = look_at(messages.CAMERA, region, model.config.image_size, model.config.fill)
    centre = look.camera_from_view.T @ CUBE.position / (messages.DIAMETER / 2)
    half = torch.full((1, 2), math.tan(look.angular_radius) / model.config.fill, dtype=torch.float64)
    (place,) = ViewGeometry(torch.from_numpy(centre)[None], half).places()
    with torch.no_grad():
        model.position.leave.weight.zero_()
        model.position.leave.bias.copy_(torch.cat([place, torch.tensor([math.log(0.01)] * 3 + [0.0] * 3)]))
    return PoseEstimator(model, "cpu")


@pytest.mark.parametrize(("right", "larger"), [(0.0, 1.0), (0.02, 1.03), (-0.02, 0.97)])  # one look
def test_whole_poses_do_not_depend_on_where_the_region_is(right, larger):
    """Message, best, samples and PoseArray are where the model sees the object, not where the region is."""
    r = CUBE.region(messages.CAMERA)
    x, side = r.x + right * r.width, larger * r.width
    region = Region(x - (side - r.width) / 2, r.y - (side - r.height) / 2, side, side)
    estimate = Pipeline(telling(region), WRITER)
    wanted = settings(regions=[region.x, region.y, region.width, region.height])
    result = estimate(Frame(messages.image(CUBE), INFO), wanted, follow=False)
    (message,) = result.messages
    distance = np.linalg.norm(CUBE.position)
    for pose in [one.pose for one in message.hypotheses] + [message.best]:
        np.testing.assert_allclose(position(pose.pose), CUBE.position, atol=1e-4 * distance)
        covariance = np.array(pose.covariance).reshape(6, 6)
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
        assert np.linalg.eigvalsh(covariance).min() > 0
    samples = np.array(message.sample_positions).reshape(-1, 3)
    assert len(samples) == wanted.samples == len(message.sample_quaternions) // 4
    ranges = np.linalg.norm(samples, axis=1) / distance - 1
    assert 0.003 < ranges.std() < 0.03 and abs(ranges.mean()) < 0.01
    listed = WRITER.sample_poses(message.header, result.poses).poses
    np.testing.assert_allclose([position(pose) for pose in listed], samples, atol=1e-6)
    error = solid("cube").bare.distance(torch.from_numpy(rotation_of(message.best.pose.orientation)), CUBE.rotations[0])
    assert torch.rad2deg(error) < 12


def test_a_model_without_places_gives_every_sample_the_regions_position():
    pipeline = Pipeline(without_places(), WRITER)
    (message,) = pipeline(Frame(messages.image(CUBE), INFO), settings(), follow=False).messages
    samples = np.array(message.sample_positions).reshape(-1, 3)
    np.testing.assert_allclose(samples, np.tile(position(message.best.pose), (len(samples), 1)), atol=1e-6)


def test_objects_that_neither_the_file_nor_the_model_knows_are_refused(tmp_path):
    file = tmp_path / "models_info.json"
    file.write_text('{"5": {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 2, 0]}]}, "7": {}}')
    known = settings(objects=["obj_000005"], symmetries=str(file)).symmetries["obj_000005"]
    np.testing.assert_allclose(known.centre, [0, 0.002, 0])
    offset = WRITER.object_info(settings().targets[0], "", known).symmetries_continuous[0].offset
    assert (offset.x, offset.y, offset.z) == pytest.approx((0, 0.002, 0))
    assert len(settings(symmetries=str(file)).symmetries["cube"].rotations) == 24  # the model's own
    with pytest.raises(ValueError, match=r"no object 'bolt': it has 5, 7"):
        settings(objects=["bolt"], symmetries=str(file))
