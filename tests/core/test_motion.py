"""Prediction at constant velocity: right for a body that moves so, honest for one that does not quite."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from lie_picard import so3
from lie_picard.estimation.motion import Motion
from lie_picard.node.frames import Frames
from lie_picard.posterior import arrays
from lie_picard.recording.message_types import header_of, writer

STEP_S = 0.05
NOISE = np.diag(np.square([1e-3, 1e-3, 4e-3, 0.02, 0.02, 0.02]))


def flight(generator, images, linear=1.0, angular=5.0, fine=10):
    """Poses of a body whose velocities wander as the filter believes, one every STEP_S; and one image later."""
    rotation = so3.uniform(1, generator=torch.Generator().manual_seed(int(generator.integers(1 << 30))))[0].numpy()
    position, velocity = (
        generator.normal(size=3) + np.array([0, 0, 3]),
        generator.normal(size=6) * ([0.3] * 3 + [1.0] * 3),
    )
    step, density, poses = STEP_S / fine, np.repeat((linear, angular), 3), []
    for k in range((images + 1) * fine):
        if k % fine == 0:
            poses.append((rotation, position))
        position = position + step * velocity[:3]
        rotation = arrays.exp(step * velocity[None, 3:])[0] @ rotation
        velocity = velocity + np.sqrt(step) * density * generator.normal(size=6)
    return poses


def seen(generator, pose):
    off = np.sqrt(np.diagonal(NOISE)) * generator.normal(size=6)
    return arrays.exp(off[None, 3:])[0] @ pose[0], pose[1] + off[:3]


def off_by(predicted, pose):
    turn = arrays.log((pose[0] @ predicted.rotation.T)[None])[0]
    return np.concatenate([pose[1] - predicted.position, turn])


def test_regions_of_predictions_hold_the_truth_as_often_as_they_say():
    generator, inside = np.random.default_rng(0), []
    for _ in range(300):
        poses, motion = flight(generator, 8), Motion()
        for k, pose in enumerate(poses[:-1]):
            motion.update(*seen(generator, pose), NOISE, k * STEP_S)
        predicted = motion.predict((len(poses) - 1) * STEP_S)
        off = off_by(predicted, poses[-1])
        inside.append(off @ np.linalg.inv(predicted.covariance) @ off < chi2.ppf(0.9, 6))
    assert 0.83 < np.mean(inside) < 0.96


def test_a_steady_body_is_where_it_is_predicted_and_its_velocity_is_known():
    generator, motion = np.random.default_rng(1), Motion()
    linear, angular = np.array([0.4, -0.2, 0.1]), np.array([0.0, 1.5, -1.0])
    pose = lambda stamp: (arrays.exp(stamp * angular[None])[0], np.array([0, 0, 1.0]) + stamp * linear)  # noqa: E731
    for k in range(20):
        motion.update(*seen(generator, pose(k * STEP_S)), NOISE, k * STEP_S)
    predicted = motion.predict(19 * STEP_S + 0.1)
    assert np.abs(off_by(predicted, pose(19 * STEP_S + 0.1))[:3]).max() < 0.03
    covariances = predicted.velocity_covariance[:3, :3], predicted.velocity_covariance[3:, 3:]
    known = zip((predicted.linear, predicted.angular), (linear, angular), covariances, strict=True)
    for estimate, true, covariance in known:
        off = estimate - true
        assert off @ np.linalg.inv(covariance) @ off < chi2.ppf(0.999, 3)
    spans = (0.0, 0.05, 0.1, 0.3)
    spreads = [np.linalg.det(motion.predict(19 * STEP_S + span).covariance) for span in spans]
    assert spreads == sorted(spreads)


def test_a_jump_a_gap_and_a_stamp_that_goes_back_begin_anew():
    motion, start = Motion(), (np.eye(3), np.array([0, 0, 1.0]))
    for k in range(5):
        motion.update(start[0], start[1] + [0.02 * k, 0, 0], NOISE, k * STEP_S)
    assert abs(motion.predict(0.2).linear[0] - 0.4) < 0.1
    flipped = arrays.exp(np.array([[np.pi, 0, 0]]))[0]
    motion.update(flipped, start[1], NOISE, 5 * STEP_S)
    assert np.allclose(motion.predict(5 * STEP_S).rotation, flipped) and not motion.predict(5 * STEP_S).linear.any()
    motion.update(*start, NOISE, 10.0)
    assert np.allclose(motion.predict(10.0).rotation, np.eye(3)) and motion.predict(10.6) is None
    motion.update(*start, NOISE, 1.0)
    assert motion.predict(1.1) is not None and motion.predict(10.0) is None
    motion.reset()
    assert motion.predict(1.1) is None


def test_a_covariance_that_the_model_does_not_tell_is_a_wide_one():
    unknown = NOISE.copy()
    unknown[3:] = unknown[:, 3:] = np.nan
    motion = Motion()
    for k in range(3):
        motion.update(np.eye(3), np.array([0, 0, 1.0]), unknown, k * STEP_S)
    covariance = motion.predict(3 * STEP_S).covariance
    assert np.isfinite(covariance).all() and np.sqrt(covariance[3, 3]) > 0.05


def test_the_message_is_stamped_ahead_and_has_velocities_in_the_objects_frame():
    motion, turned = Motion(), arrays.exp(np.array([[0, 0, np.pi / 2]]))[0]
    for k in range(10):
        motion.update(turned, np.array([0.5 * k * STEP_S, 0, 1.0]), NOISE * 1e-3, k * STEP_S)
    ahead = writer().later(header_of(1_950_000_000, "camera"), 0.1)
    assert (ahead.stamp.sec, ahead.stamp.nanosec, ahead.frame_id) == (2, 50_000_000, "camera")
    message = writer().odometry(ahead, "bolt", motion.predict(9 * STEP_S + 0.1))
    twist, place = message.twist.twist, message.pose.pose.position
    assert (message.child_frame_id, message.header.frame_id) == ("bolt", "camera")
    assert abs(twist.linear.y + 0.5) < 0.05 and abs(twist.linear.x) < 0.05  # the camera's x is the object's -y
    assert place.x == pytest.approx(0.275, abs=0.01)
    assert len(message.pose.covariance) == len(message.twist.covariance) == 36
    (transform,) = Frames(writer()).predicted([message])
    assert transform.child_frame_id == "bolt/predicted" and transform.header.stamp.sec == 2
