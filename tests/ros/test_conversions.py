"""Conversions at the ROS edge: quaternion order, covariance layout, calibration."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo

from lie_picard import Ambiguity, so3
from lie_picard.geometry.camera import CameraError
from lie_picard.messages import read, write
from lie_picard.posterior.covariance import at_point, pose_covariance, to_camera
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose.conversions import WRITER

K = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]


def rotation(seed=0):
    return so3.uniform(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)[0].numpy()


def test_quaternions_are_xyzw_as_scipys():
    q = WRITER.quaternion_of(rotation())
    ours = np.array([q.x, q.y, q.z, q.w])
    theirs = Rotation.from_matrix(rotation()).as_quat()
    assert min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) < 1e-9
    np.testing.assert_allclose(read.rotation_of(q), rotation(), atol=1e-9)


def test_flat_quaternions_repeat_xyzw():
    flat = write.flat_quaternions(torch.from_numpy(np.stack([rotation(1), rotation(2)])))
    again = Rotation.from_quat(np.array(flat).reshape(2, 4)).as_matrix()
    np.testing.assert_allclose(again, [rotation(1), rotation(2)], atol=1e-6)


def test_covariance_is_that_of_samples_about_the_fixed_axes():
    """Monte Carlo: perturb on the right, look at the rotation vector that acts on the left."""
    centre, tangent = rotation(3), np.diag([0.01, 0.02, 0.03]) ** 2
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(3), tangent, 50_000)
    perturbed = Rotation.from_matrix(centre) * Rotation.from_rotvec(draws)
    left = (perturbed * Rotation.from_matrix(centre).inv()).as_rotvec()
    position = np.diag([1.0, 2.0, 3.0])
    whole = pose_covariance(position, to_camera(centre, tangent))
    covariance = write.flat_covariances(whole).reshape(6, 6)
    np.testing.assert_allclose(covariance[3:, 3:], np.cov(left.T), atol=2e-5)
    np.testing.assert_array_equal(covariance[:3, :3], position)
    assert not covariance[:3, 3:].any() and not covariance[3:, :3].any()


def test_an_unknown_covariance_is_marked_not_zero():
    unknown = pose_covariance(np.eye(3), np.full((3, 3), math.nan))
    covariance = write.flat_covariances(at_point(unknown, np.array([0.1, 0.2, 0.3]))).reshape(6, 6)
    assert covariance.diagonal()[3:].tolist() == [-1.0] * 3 and np.isfinite(covariance).all()


def info(**changes):
    made = CameraInfo(width=640, height=480, distortion_model="plumb_bob", k=np.array(K), d=[0.1, 0, 0, 0, 0])
    made.p = np.array([400.0, 0, 300, 0, 0, 410, 200, 0, 0, 0, 1, 0])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_rectified_image_uses_p_and_no_distortion():
    camera = read.camera_of(info(), rectified=True)
    np.testing.assert_array_equal(camera.matrix, [[400, 0, 300], [0, 410, 200], [0, 0, 1]])
    assert camera.distortion.size == 0


def test_a_raw_image_uses_k_and_d():
    camera = read.camera_of(info(), rectified=False)
    np.testing.assert_array_equal(camera.matrix.reshape(-1), K)
    assert camera.distortion[0] == 0.1 and not camera.fisheye
    assert read.camera_of(info(distortion_model="equidistant", d=[0.1] * 4), rectified=False).fisheye


@pytest.mark.parametrize("d", [[], [0.0] * 4])
def test_a_fisheye_without_coefficients_is_no_pinhole(d):
    """Equidistant: the angle to the axis is the distance from the centre over the focal length."""
    camera = read.camera_of(info(distortion_model="equidistant", d=d), rectified=False)
    ray = camera.rays(np.array([[320.0 + 250.0, 240.0]]))[0]
    assert math.atan2(ray[0], ray[2]) == pytest.approx(0.5, abs=1e-3)


def test_region_of_interest_and_binning_move_and_scale_k():
    made = info(binning_x=2, binning_y=2)
    made.roi.x_offset, made.roi.y_offset, made.roi.width, made.roi.height = 100, 50, 400, 300
    camera = read.camera_of(made, rectified=False)
    assert (camera.width, camera.height) == (200, 150)
    assert camera.matrix[0].tolist() == [250, 0, 110] and camera.matrix[1].tolist() == [0, 255, 95]


def test_a_camera_that_cannot_be_used_is_refused():
    with pytest.raises(CameraError, match=r"K\[0\] = 0"):
        read.camera_of(info(k=np.zeros(9)), rectified=False)
    with pytest.raises(CameraError, match="unknown distortion model 'pinched'"):
        read.camera_of(info(distortion_model="pinched"), rectified=False)


def test_the_core_knows_the_messages_constants():
    named = {kind: getattr(PoseHypothesisArray, f"AMBIGUITY_{kind.name}") for kind in Ambiguity}
    assert named == read.AMBIGUITIES


@pytest.mark.parametrize("model", ["equidistant", "fisheye", "kannala_brandt4"])
def test_a_fisheye_has_three_names(model):
    camera = read.camera_of(info(distortion_model=model, d=[0.02, -0.01, 0.003, -0.001]), rectified=False)
    assert camera.fisheye and camera.distortion.tolist() == [0.02, -0.01, 0.003, -0.001]
    assert read.camera_of(info(distortion_model=model, d=[]), rectified=False).distortion.tolist() == [0, 0, 0, 0]
    for d in ([0.1], [0.1] * 5):
        with pytest.raises(CameraError, match=f"has 4 coefficients but D holds {len(d)}"):
            read.camera_of(info(distortion_model=model, d=d), rectified=False)


@pytest.mark.parametrize("model", ["none", "None", "", "plumb_bob"])
def test_without_coefficients_it_is_a_pinhole(model):
    for d in ([], [0.0] * 5):
        camera = read.camera_of(info(distortion_model=model, d=d), rectified=False)
        assert not camera.fisheye and not camera.distortion.size


def test_no_model_with_coefficients_is_refused():
    with pytest.raises(CameraError, match="'none' but D holds 5 coefficients"):
        read.camera_of(info(distortion_model="none", d=[0.1, 0, 0, 0, 0]), rectified=False)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 4 / 3, 1.5, 2, 3])
def test_a_matrix_of_another_resolution_is_refused_with_both_sizes(scale, rectified):
    k = [600 * scale, 0, 318 * scale, 0, 600 * scale, 243 * scale, 0, 0, 1]
    made = info(k=k, p=[*k[:3], 0, *k[3:6], 0, *k[6:], 0], d=[], width=640, height=480)
    with pytest.raises(CameraError, match=r"is not that of 640 x 480 pixels.*publish the calibration") as caught:
        read.camera_of(made, rectified)
    likely = [int(word) for word in str(caught.value).split("as if for about ")[1].split()[:3:2]]
    np.testing.assert_allclose(likely, [640 * scale, 480 * scale], rtol=0.05)


@pytest.mark.parametrize("middle", [(640, 360), (-5, 240), (320, 479), (960, 540)])
def test_a_principal_point_at_the_border_or_beyond_is_refused(middle):
    x, y = middle
    with pytest.raises(CameraError, match=rf"principal point of K, \({x}, {y}\), is not that of 640 x 480"):
        read.camera_of(info(k=[600, 0, x, 0, 600, y, 0, 0, 1], d=[], width=640, height=480), False)


def test_a_declared_part_of_an_image_may_lie_beside_the_axis():
    """REP-104: K is of the full resolution."""
    made = info(k=[600, 0, 320, 0, 600, 240, 0, 0, 1], d=[], width=640, height=480)
    made.roi.x_offset, made.roi.y_offset, made.roi.width, made.roi.height = 400, 300, 240, 180
    camera = read.camera_of(made, rectified=False)
    assert camera.matrix[:2, 2].tolist() == [-80, -60] and (camera.width, camera.height) == (240, 180)
    made.roi.width = 241
    with pytest.raises(CameraError, match=r"roi, 241 x 180 at \(400, 300\), reaches beyond its 640 x 480"):
        read.camera_of(made, rectified=False)


def test_the_covariance_of_an_origin_beside_the_centre_is_that_of_drawn_poses():
    """The centre is known to some millimetres, the rotation about it to some degrees: so the origin moves with it."""
    centre, turn = np.array([0.02, -0.01, 0.03]), rotation()
    tangent, position = np.diag([0.02, 0.01, 0.03]) ** 2, np.diag([0.001, 0.002, 0.003]) ** 2
    random = np.random.default_rng(0)
    drawn = random.multivariate_normal(
        np.zeros(6), np.block([[position, np.zeros((3, 3))], [np.zeros((3, 3)), tangent]]), 40_000
    )
    turned = torch.from_numpy(turn) @ so3.exp(torch.from_numpy(drawn[:, 3:]))
    moved = drawn[:, :3] - turned.numpy() @ centre
    about = (torch.from_numpy(turn) @ torch.from_numpy(drawn[:, 3:, None]))[..., 0].numpy()
    wanted = np.cov(np.concatenate([moved, about], 1).T)
    found = at_point(pose_covariance(position, to_camera(turn, tangent)), -turn @ centre)
    np.testing.assert_allclose(found, wanted, atol=0.03 * np.sqrt(np.outer(np.diag(wanted), np.diag(wanted))).max())
    assert np.linalg.eigvalsh(found).min() > 0
