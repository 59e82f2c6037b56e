"""True poses of a recording: chains of transforms, between samples, and nothing where nothing is known."""

import numpy as np
import pytest
from bags import CAMERA, FRAME, START_NS, STEP_NS, header, info, pose_of, scene, transform, write
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lie_picard.node.settings import settings_of
from lie_picard.node.table import TABLE
from lie_picard.recording.bag import BagError, find
from lie_picard.recording.frames import Topics, frames, resolve
from lie_picard.recording.message_types import types
from lie_picard.recording.recorder import Recorder
from lie_picard.recording.truth import NoTruthError, Truth, read_truth

SETTINGS = settings_of({name: entry.default for name, entry in TABLE.items()} | {"objects": ["cube"]})


def matrix(position, rotation):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.as_matrix(), position
    return pose


def random_pose(generator):
    return generator.normal(size=3), Rotation.random(random_state=generator)


@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_a_chain_through_a_moving_camera_is_the_product_of_its_parts(seed, share):
    """world <- robot <- camera and world <- table <- truth/cube, the robot moving between two samples."""
    generator = np.random.default_rng(seed)
    truth = Truth({"cube": "truth/cube"})
    parts = {name: random_pose(generator) for name in ("camera", "table", "cube")}
    truth.add("camera", "robot", 0, *parts["camera"], static=True)
    truth.add("table", "/world", 0, *parts["table"], static=True)
    truth.add("truth/cube", "table", 0, *parts["cube"], static=True)
    (p0, r0), (p1, _) = random_pose(generator), random_pose(generator)
    step = Rotation.from_rotvec(generator.normal(size=3) * 0.3)
    truth.add("robot", "world", 1000, p1, r0 * step, static=False)  # samples may come in any order
    truth.add("robot", "world", 0, p0, r0, static=False)
    stamp = round(1000 * share)
    robot = matrix(p0 + stamp / 1000 * (p1 - p0), r0 * Rotation.from_rotvec(stamp / 1000 * step.as_rotvec()))
    expected = np.linalg.inv(robot @ matrix(*parts["camera"])) @ matrix(*parts["table"]) @ matrix(*parts["cube"])
    np.testing.assert_allclose(truth.pose("cube", "/camera", stamp), expected, atol=1e-9)


def test_nothing_is_made_up_in_gaps_and_beyond_the_ends():
    truth = Truth({"cube": "truth/cube"}, gap_s=1.0)
    for second in (1, 2, 4):
        truth.add("truth/cube", "camera", second * 10**9, np.zeros(3), Rotation.identity(), static=False)
    truth.pose("cube", "camera", 1_500_000_000)
    truth.pose("cube", "camera", 4_000_000_000)
    for stamp, why in ((3_000_000_000, "gap of 2.00 s"), (0, "before its first"), (5_000_000_000, "after its last")):
        with pytest.raises(NoTruthError, match=why):
            truth.pose("cube", "camera", stamp)
    with pytest.raises(NoTruthError, match="no transforms link"):
        truth.pose("cube", "elsewhere", 1_500_000_000)


def test_frames_that_form_a_loop_are_said_so():
    truth = Truth({"cube": "truth/cube"})
    truth.add("truth/cube", "a", 0, np.zeros(3), Rotation.identity(), static=True)
    truth.add("a", "truth/cube", 0, np.zeros(3), Rotation.identity(), static=True)
    with pytest.raises(NoTruthError, match="loop"):
        truth.pose("cube", "camera", 0)


@pytest.mark.parametrize(("kind", "given_"), [("tf", {}), ("topic", {"cube": "/truth/cube"})])
def test_truth_is_read_from_transforms_and_from_topics(tmp_path, kind, given_):
    bag = find(write(tmp_path / "bag", truth=kind), tmp_path)
    with bag.opened() as reader:
        truth = read_truth(reader, ["cube", "cone"], given_, 1.0)
    placed, _ = scene(12)
    np.testing.assert_allclose(truth.pose("cube", FRAME, START_NS + STEP_NS), pose_of(placed[0], 1), atol=1e-6)
    assert ("cone" in truth) == (kind == "tf")


def test_a_topic_that_is_not_there_is_named(tmp_path):
    bag = find(write(tmp_path / "bag", frames=2), tmp_path)
    with bag.opened() as reader, pytest.raises(BagError, match="there is no topic '/mocap'"):
        read_truth(reader, ["cube"], {"cube": "/mocap"}, 1.0)


def test_a_tracker_that_lost_its_object_gives_no_truth(tmp_path):
    with Recorder(tmp_path / "bag", {"/tf": "tf2_msgs/msg/TFMessage"}) as recorder:
        lost = transform(0, FRAME, "truth/cube", np.eye(4))
        lost.transform.rotation = types().Quaternion()
        recorder.write("/tf", START_NS, types().TFMessage(transforms=[lost]))
    with find(tmp_path / "bag", tmp_path).opened() as reader:
        assert "cube" not in read_truth(reader, ["cube"], {}, 1.0)


# --- images and what belongs to them


def companions(folder, depth_delay=5_000_000):
    """Images with a calibration that was latched long before, depth images, and regions that change."""
    t = types()
    kinds = {"/cam/image_raw": "sensor_msgs/msg/Image", "/cam/depth": "sensor_msgs/msg/Image",
             "/cam/camera_info": "sensor_msgs/msg/CameraInfo",
             "/pose_node/region/cube": "sensor_msgs/msg/RegionOfInterest"}  # fmt: skip
    with Recorder(folder, kinds) as recorder:
        recorder.write("/cam/camera_info", START_NS - 60 * 10**9, info())
        for k in range(8):
            now = START_NS + k * STEP_NS
            if k % 3 == 1:
                roi = t.RegionOfInterest(x_offset=10 * k, y_offset=5, width=40, height=40, do_rectify=False)
                recorder.write("/pose_node/region/cube", now, roi)
            for topic, delay, value in (("/cam/image_raw", 0, k), ("/cam/depth", depth_delay, 100 + k)):
                stamped = header(k)
                stamped.stamp.nanosec += delay
                data = np.full(CAMERA.width * CAMERA.height, value, np.uint8)
                image = t.Image(header=stamped, height=CAMERA.height, width=CAMERA.width, encoding="mono8",
                                step=CAMERA.width, data=data)  # fmt: skip
                recorder.write(topic, now + delay, image)
    return folder


def collected(bag, settings, start=None, stop=None):
    with bag.opened() as reader:
        return list(frames(reader, resolve(reader, Topics(), settings), settings, start, stop))


def test_an_image_gets_the_last_regions_and_calibration_and_the_nearest_depth(tmp_path):
    import dataclasses

    bag = find(companions(tmp_path / "bag"), tmp_path)
    settings = dataclasses.replace(SETTINGS, depth=True, regions_from="topics")
    seen = collected(bag, settings)
    assert [s.frame.image.data[0] for s in seen] == list(range(8))
    assert [s.frame.depth.data[0] for s in seen] == [100 + k for k in range(8)]
    regions = [s.frame.regions.get("cube") for s in seen]
    assert [None if r is None else r.x_offset for r in regions] == [None, 10, 10, 10, 40, 40, 40, 70]
    assert all(s.frame.info.width == CAMERA.width for s in seen)
    # In parts it is the same as in one go: any process may take any part.
    middle = START_NS + 4 * STEP_NS
    parts = collected(bag, settings, START_NS, middle) + collected(bag, settings, middle, middle + 10 * STEP_NS)
    assert [(s.frame.image.data[0], s.frame.depth.data[0]) for s in parts] == [(k, 100 + k) for k in range(8)]
    again = [s.frame.regions.get("cube") for s in parts]
    assert [r and r.x_offset for r in again] == [r and r.x_offset for r in regions]


def test_a_companion_that_is_too_late_is_none(tmp_path):
    import dataclasses

    bag = find(companions(tmp_path / "bag", depth_delay=50_000_000), tmp_path)
    seen = collected(bag, dataclasses.replace(SETTINGS, depth=True))
    assert all(s.frame is None and "no depth image within sync_tolerance" in s.problem for s in seen)


def test_topics_that_cannot_be_found_out_are_asked_for(tmp_path):
    kinds = dict.fromkeys(("/left/image", "/right/image"), "sensor_msgs/msg/Image")
    with Recorder(tmp_path / "bag", kinds) as recorder:
        for name in kinds:
            recorder.write(name, START_NS, types().Image(header=header(0)))
    with find(tmp_path / "bag", tmp_path).opened() as reader:
        with pytest.raises(BagError, match="give --image one of /left/image, /right/image"):
            resolve(reader, Topics(), SETTINGS)
        with pytest.raises(BagError, match="record the camera_info too"):
            resolve(reader, Topics(image="/left/image"), SETTINGS)
        with pytest.raises(BagError, match="no topic '/up'"):
            resolve(reader, Topics(image="/up"), SETTINGS)
