"""True poses of several robots, of frames that are fixed or move, and inputs that are none: never silently mixed."""

from dataclasses import replace

import numpy as np
import pytest
from bags import parameters
from dresses import (
    STEP_NS,
    T0,
    TRUE_Z,
    Stored,
    image,
    quicken,
    record,
    scene,
    score,
    settings,
    states,
    stored,
    transform,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lie_picard import cli
from lie_picard.recording.bag import BagError, find
from lie_picard.recording.message_types import types
from lie_picard.recording.truth import NoTruthError, Truth, read_truth

N = 6


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    quicken(monkeypatch)


def at(k):
    return T0 + k * STEP_NS


def truth_of(folder, messages, tf=(), gap=1.0):
    with find(record(folder, messages), folder / "rescue").opened() as reader:
        return read_truth(reader, ["cube"], {}, gap, tf)


def depths(truth, ks=range(N)):
    """The cube's distance at images; None where it is unknown."""
    found = []
    for k in ks:
        try:
            found.append(round(float(truth.pose("cube", "camera", T0 + round(k * STEP_NS))[2, 3]), 6))
        except NoTruthError:
            found.append(None)
    return found


def moved(k, z, topic="/tf", parent="camera", child="truth/cube", stamp=None):
    when = at(k) if stamp is None else stamp
    return stored(topic, at(k), transform(when, parent, child, (0.0, 0.0, z)))


# --- F7: several robots


def robots(shift=0.12, names=("/r1", "/r2"), frames=("truth/cube", "truth/cube")):
    """Each sees its own cube, the second's farther away."""
    found = []
    for k in range(N):
        for index, (name, frame) in enumerate(zip(names, frames, strict=True)):
            found.append(moved(k, 0.9 + shift * index, f"{name}/tf", child=frame))
    return found


def test_robots_with_the_same_frames_are_refused_with_their_names_or_chosen(tmp_path):
    with pytest.raises(
        BagError, match=r"/r1/tf and /r2/tf have the same frames \(truth/cube\): give --tf .*/r1/tf, /r2/tf"
    ):
        truth_of(tmp_path / "both", robots())
    assert depths(truth_of(tmp_path / "first", robots(), ["/r1/tf"])) == [0.9] * N
    assert depths(truth_of(tmp_path / "second", robots(), ["/r2/tf"])) == [1.02] * N
    with pytest.raises(BagError, match=r"no topic '/r3/tf' .* give --tf one of /r1/tf, /r2/tf"):
        truth_of(tmp_path / "third", robots(), ["/r3/tf"])


@pytest.mark.parametrize("first", ["/r1/tf", "/tf", "/r1/tf_static", "/tf_old"])
def test_any_two_topics_that_are_no_pair_are_two_trees(tmp_path, first):
    messages = [moved(k, 0.9, first) for k in range(N)] + [moved(k, 1.0, "/r2/tf") for k in range(N)]
    with pytest.raises(BagError, match="have the same frames"):
        truth_of(tmp_path / "bag", sorted(messages, key=lambda one: one.log_ns))


def test_trees_without_common_frames_are_one(tmp_path):
    messages = [*(moved(k, 0.5, "/mocap/tf", "room", "truth/cube") for k in range(N)),
                *(moved(k, -0.4, "/r1/tf", "room", "camera") for k in range(N))]  # fmt: skip
    assert depths(truth_of(tmp_path / "bag", sorted(messages, key=lambda one: one.log_ns))) == [0.9] * N


def test_the_same_fixed_frame_in_two_trees_is_no_contradiction(tmp_path):
    messages = [moved(0, 0.1, "/r1/tf_static", "mount", "camera"), moved(0, 0.1, "/tf_static", "mount", "camera")]
    messages += [moved(k, 1.0, "/r1/tf", "mount", "truth/cube") for k in range(N)]
    assert depths(truth_of(tmp_path / "bag", messages)) == [0.9] * N


def test_a_chosen_tree_takes_its_fixed_frames_along(tmp_path):
    messages = [moved(0, 0.1, "/r1/tf_static", "mount", "camera"), moved(0, 0.7, "/r2/tf_static", "mount", "camera")]
    messages += [
        moved(k, z, f"/{name}/tf", "mount", "truth/cube") for k in range(N) for name, z in (("r1", 1.0), ("r2", 9.0))
    ]
    assert depths(truth_of(tmp_path / "bag", messages, ["/r1/tf"])) == [0.9] * N


def test_the_command_asks_and_takes_the_answer(tmp_path):
    messages = scene(N, robots=("/r1", "/r2"))
    folder = record(tmp_path / "bag", messages)
    from lie_picard.recording.frames import Topics

    topics = Topics(image="/r1/image")
    with pytest.raises(BagError, match="give --tf"):
        score(folder, tmp_path / "work", topics=topics)
    report = score(folder, tmp_path / "work", topics=topics, tf=["/r1/tf"])
    assert states(report) == ["scored"] * N and report["complete"]


# --- F8: a frame's samples are each valid in their own time


def test_a_frame_that_moves_and_then_is_fixed_keeps_its_history(tmp_path):
    messages = [moved(k, 0.9 + 0.01 * k) for k in range(3)] + [moved(3, 2.0, "/tf_static")]
    assert depths(truth_of(tmp_path / "bag", messages)) == [0.9, 0.91, 0.92, 2.0, 2.0, 2.0]


def test_a_frame_that_is_fixed_and_then_moves_keeps_its_history(tmp_path):
    messages = [moved(0, 2.0, "/tf_static")] + [moved(k, 0.9 + 0.01 * k) for k in range(3, 6)]
    assert depths(truth_of(tmp_path / "bag", messages)) == [2.0, 2.0, 2.0, 0.93, 0.94, 0.95]


@pytest.mark.parametrize("stamp", [None, 0])
def test_a_frame_that_is_fixed_for_a_while_is_so_then(tmp_path, stamp):
    messages = [
        moved(0, 0.9),
        moved(1, 0.91),
        moved(2, 2.0, "/tf_static", stamp=stamp),
        moved(14, 0.94),
        moved(15, 0.95),
    ]
    found = depths(truth_of(tmp_path / "bag", messages), [0, 1, 1.5, 2, 9, 13.9, 14, 15, 16])
    assert found == [0.9, 0.91, None, 2.0, 2.0, 2.0, 0.94, 0.95, None]


@pytest.mark.parametrize("stamp", [0, T0 - 10**12, T0 + 10**12])
def test_a_fixed_frame_alone_holds_for_ever(tmp_path, stamp):
    assert depths(truth_of(tmp_path / "bag", [moved(3, 2.0, "/tf_static", stamp=stamp)])) == [2.0] * N


def test_a_fixed_frame_that_is_set_anew_is_each_in_its_time_and_named(tmp_path):
    truth = truth_of(tmp_path / "bag", [moved(0, 1.0, "/tf_static"), moved(3, 2.0, "/tf_static")])
    assert depths(truth) == [1.0] * 3 + [2.0] * 3
    assert "has several poses" in truth.problems[0]


def test_a_frame_that_changes_its_parent_keeps_its_history(tmp_path):
    """Picked up from a table, 1 m before the camera, by a gripper 0.5 m before it."""
    messages = [moved(0, 1.0, "/tf_static", "camera", "table"), moved(0, 0.5, "/tf_static", "camera", "gripper")]
    messages += [moved(k, 0.01 * k, parent="table" if k < 3 else "gripper") for k in range(N)]
    truth = truth_of(tmp_path / "bag", messages)
    assert depths(truth) == [1.0, 1.01, 1.02, 0.53, 0.54, 0.55]
    assert depths(truth, [1.5, 2.5, 3.5]) == [1.015, None, 0.535]
    with pytest.raises(NoTruthError, match="passes from 'table' to 'gripper'"):
        truth.pose("cube", "camera", at(2) + STEP_NS // 2)


def test_two_publishers_of_one_frame_are_named_and_their_poses_not_mixed(tmp_path):
    messages = [moved(k, z) for k in range(N) for z in ((0.9, 1.02) if k in (2, 3) else (0.9,))]
    truth = truth_of(tmp_path / "bag", messages)
    assert depths(truth, [0, 1, 1.5, 2, 3, 3.5, 4, 5]) == [0.9, 0.9, None, None, None, None, 0.9, 0.9]
    assert "has two poses at 2 times" in truth.problems[0]
    again = truth_of(tmp_path / "again", [moved(k, 0.9) for k in range(N) for _ in range(3)])
    assert depths(again) == [0.9] * N and again.problems == []


@given(st.permutations(range(8)), st.lists(st.sampled_from(["a", "b"]), min_size=8, max_size=8), st.floats(0, 7))
def test_the_order_in_which_samples_come_changes_nothing(order, parents, share):
    def truth(indices):
        made = Truth({"cube": "truth/cube"})
        for k in indices:
            made.add("truth/cube", parents[k], at(k), np.array([0, 0, 1.0 * k]), Rotation.identity(), static=False)
        for name, x in (("a", 0.0), ("b", 5.0)):
            made.add(name, "camera", 0, np.array([x, 0, 0]), Rotation.identity(), static=True)
        return made

    assert depths(truth(order), [share]) == depths(truth(range(8)), [share])


# --- F12: what cannot be scored is said in words


def detections(old: bool):
    """A topic of detections, as they are written since Humble, or as they were before."""
    hypothesis = "string id\nfloat64 score" if old else "vision_msgs/ObjectHypothesis hypothesis"
    centre = "geometry_msgs/Pose2D" if old else "vision_msgs/Pose2D"
    line = "=" * 80
    return f"""std_msgs/Header header
Detection2D[] detections
{line}
MSG: vision_msgs/Detection2D
std_msgs/Header header
ObjectHypothesisWithPose[] results
BoundingBox2D bbox
{line}
MSG: vision_msgs/ObjectHypothesisWithPose
{hypothesis}
{line}
MSG: vision_msgs/ObjectHypothesis
string class_id
float64 score
{line}
MSG: vision_msgs/BoundingBox2D
{centre} center
float64 size_x
float64 size_y
{line}
MSG: vision_msgs/Pose2D
vision_msgs/Point2D position
float64 theta
{line}
MSG: vision_msgs/Point2D
float64 x
float64 y
{line}
MSG: geometry_msgs/Pose2D
float64 x
float64 y
float64 theta
{line}
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{line}
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""


def refused(folder, messages, chosen=None, **options):
    with pytest.raises(BagError) as caught:
        score(record(folder / "bag", messages, **options), folder / "work", chosen)
    assert "\n" not in str(caught.value)
    return str(caught.value)


KIND = "vision_msgs/msg/Detection2DArray"


def test_detections_of_before_humble_and_without_a_definition_are_refused_in_words(tmp_path):
    one = Stored("/detections", KIND, T0, b"\0\1\0\0" + bytes(16), definition=detections(old=True))
    chosen = settings(regions_from="detections")
    assert "vision_msgs before 4.0" in refused(tmp_path / "old", [one, *scene(N)], chosen)
    bare = replace(one, definition="", schema="")
    said = refused(tmp_path / "bare", [bare, *scene(N)], chosen)
    assert f"no definition of {KIND}" in said and "'/detections'" in said
    new = replace(one, definition=detections(old=False))
    report = score(record(tmp_path / "new", [new, *scene(N)]), tmp_path / "work", chosen)
    assert len(report["frames"]) == N
    # Where nobody needs them, they do no harm.
    for k, some in enumerate((one, bare)):
        report = score(record(tmp_path / f"unused{k}", [some, *scene(N)]), tmp_path / f"work{k}")
        assert states(report) == ["scored"] * N


def test_recordings_of_before_iron_have_no_definitions_and_are_read_as_jazzys(tmp_path):
    report = score(record(tmp_path / "bag", scene(N), "sqlite", definitions=False), tmp_path / "work")
    assert states(report) == ["scored"] * N and report["complete"]


def test_only_compressed_depth_is_refused_in_words(tmp_path):
    packed = types().CompressedImage(format="16UC1; compressedDepth", data=np.zeros(9, np.uint8))
    hidden = [stored("/depth/compressedDepth", at(k), packed) for k in range(N)]
    said = refused(tmp_path / "depth", [*scene(N), *hidden], settings(depth=True))
    assert "compressedDepth is not read: record the raw topic" in said
    plain = {"encoding": "16UC1", "step": 64, "data": np.full(24 * 64, 9, np.uint8)}
    raw = [stored("/depth/image", at(k), image(at(k), **plain)) for k in range(N)]
    report = score(record(tmp_path / "both", [*scene(N), *hidden, *raw]), tmp_path / "work", settings(depth=True))
    assert report["bags"][0]["topics"]["depth"] == "/depth/image" and states(report) == ["scored"] * N
    alone = [one for one in scene(N) if one.topic != "/image"]
    said = refused(tmp_path / "alone", [*alone, *hidden])
    assert "no topic of type sensor_msgs/msg/Image" in said and "compressedDepth is not read" in said


@pytest.mark.parametrize("video", [
    Stored("/cam/ffmpeg", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", T0, b"\0\1\0\0", definition="int32 width"),
    Stored("/cam/video", "foxglove.CompressedVideo", T0, b"\1", "protobuf", "protobuf", "x"),
    Stored("/cam/theora", "theora_image_transport/msg/Packet", T0, b"\0\1\0\0", definition="int32 packetno"),
    Stored("/cam/image", "sensor_msgs/Image", T0, b"\1", "ros1", "ros1msg", "int32 width"),
])  # fmt: skip
def test_images_in_a_form_that_is_not_read_are_named(tmp_path, video):
    said = refused(tmp_path, [video, *(one for one in scene(N) if one.topic != "/image")])
    assert video.topic in said and "record the image too" in said


def test_a_ros_1_bag_is_refused_with_the_remedy(tmp_path):
    file = tmp_path / "old.bag"
    file.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    with pytest.raises(BagError, match=r"is a ROS 1 bag: convert it by `rosbags-convert --src old.bag --dst old`"):
        find(file, tmp_path / "rescue")


@pytest.mark.parametrize("early", [True, False])
def test_where_nothing_is_scored_the_exit_status_and_a_line_say_so(tmp_path, capsys, early):
    """The report is there all the same."""
    messages = [one for one in scene(N, stamp=lambda _: 0) if one.topic != "/tf"]
    if not early:
        messages = [one for one in scene(N) if one.topic != "/tf"]
    messages += [moved(k, TRUE_Z, child="truth/cube" if early else "nothing") for k in range(N)]
    output, file = tmp_path / "report", parameters(tmp_path, objects=["cube"], diameters=[0.1], regions=[0, 0, 32, 24])
    arguments = ["--params", str(file), "--output", str(output), "--device", "cpu", "--no-annotate"]
    bag = record(tmp_path / "bag", sorted(messages, key=lambda one: one.log_ns))
    assert cli.main(["evaluate-bag", str(bag), *arguments]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert "nothing was scored (6 x no truth" in errors[-1] and "Traceback" not in "".join(errors)
    assert (output / "report.json").exists() and (output / "report.html").exists()
    assert not early or any("6 images have the stamp 0" in line for line in errors)
