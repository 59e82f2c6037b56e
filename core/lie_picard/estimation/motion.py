"""Where an object is between two images: prediction at constant velocity, with its covariance.

A Kalman filter on SO(3) x R^3 whose velocities wander (white acceleration; Bar-Shalom et al., "Estimation with
Applications to Tracking and Navigation", 2001, section 6.2). Rotations err about the camera's fixed axes, as in
messages. It smooths nothing that is published as seen: predictions stand beside the poses of the images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lie_picard.posterior import arrays

Array = NDArray[np.float64]

_LINEAR, _ANGULAR = 1.0, 5.0  # m/s^2, rad/s^2 over sqrt(Hz): root of the accelerations' spectral density
_FIRST = 0.5, 2.0  # m/s, rad/s: standard deviation of velocities before anything is known
_UNKNOWN = math.radians(10.0)  # of a rotation whose covariance the model does not tell
_LEAST = 1e-4, 1e-3  # m, rad: no pose is surer than that, in a filter
_GATE = 40.0  # squared Mahalanobis distance in 6 dimensions from which it is another pose, not a motion
_MEMORY_S = 0.5  # after which a velocity says nothing


class Predicted(NamedTuple):
    """A pose at a time.

    Attributes:
        rotation: (3, 3) camera_from_object. position: (3,) metres. covariance: (6, 6) of position and of rotation about
            the camera's axes, m^2 and rad^2. linear, angular: (3,) velocities, m/s and rad/s about the camera's axes.
        velocity_covariance: (6, 6) of both.
    """

    rotation: Array
    position: Array
    covariance: Array
    linear: Array
    angular: Array
    velocity_covariance: Array


class Motion:
    """Follows one object's pose and velocity. Stamps are seconds."""

    def __init__(self, linear: float = _LINEAR, angular: float = _ANGULAR) -> None:
        """Args:
        linear, angular: how strongly the object accelerates: m/s and rad/s by which its velocity changes within a
            second.
        """
        self._density = np.repeat((linear**2, angular**2), 3)
        self.reset()

    def reset(self) -> None:
        """Forget it."""
        self._stamp: float | None = None
        self._velocity: Array = np.zeros(6)
        self._covariance: Array = np.zeros((12, 12))

    def update(self, rotation: Array, position: Array, covariance: Array, stamp: float) -> None:
        """Take in an image's pose.

        A pose that does not follow from those before (a jump, a stamp that goes back, half a second without any)
        begins anew.

        Args:
            rotation: (3, 3) camera_from_object. position: (3,) metres. covariance: (6, 6); NaN where unknown.
        """
        seen = _usable(covariance)
        if self._stamp is None or not 0 < stamp - self._stamp <= _MEMORY_S:
            if stamp != self._stamp:
                self._begin(rotation, position, seen, stamp)
            else:  # a driver that sets no stamps, or the same image again: the newest is the one to begin at
                self._rotation, self._position = rotation, position
                self._covariance[:6, :6] = seen
            return
        turn, place, state = self._ahead(stamp)
        off = np.concatenate([position - place, arrays.log((rotation @ turn.T)[None])[0]])
        inverse = np.linalg.inv(state[:6, :6] + seen)
        if off @ inverse @ off > _GATE:
            self._begin(rotation, position, seen, stamp)
            return
        gain = state[:, :6] @ inverse
        step = gain @ off
        kept = np.eye(12)
        kept[:, :6] -= gain
        self._covariance = kept @ state @ kept.T + gain @ seen @ gain.T
        self._rotation = arrays.exp(step[None, 3:6])[0] @ turn
        self._position = place + step[:3]
        self._velocity = self._velocity + step[6:]
        self._stamp = stamp

    def predict(self, stamp: float) -> Predicted | None:
        """The pose at a time; None where none was seen, or the last one more than half a second before.

        A time before the last image is looked at backwards.
        """
        if self._stamp is None or abs(stamp - self._stamp) > _MEMORY_S:
            return None
        rotation, position, state = self._ahead(stamp)
        velocity = self._velocity
        return Predicted(rotation, position, state[:6, :6], velocity[:3], velocity[3:], state[6:, 6:])

    def _begin(self, rotation: Array, position: Array, seen: Array, stamp: float) -> None:
        self._rotation, self._position, self._stamp = rotation, position, stamp
        self._velocity = np.zeros(6)
        self._covariance = np.zeros((12, 12))
        self._covariance[:6, :6] = seen
        self._covariance[range(6, 12), range(6, 12)] = np.square(np.repeat(_FIRST, 3))

    def _ahead(self, stamp: float) -> tuple[Array, Array, Array]:
        """Rotation, position and covariance (12, 12) at a time."""
        assert self._stamp is not None
        span = stamp - self._stamp
        turn = arrays.exp(span * self._velocity[None, 3:])[0]
        move = np.eye(12)
        move[3:6, 3:6] = turn
        move[range(6), range(6, 12)] = span
        wandered, long = np.zeros((12, 12)), abs(span)
        each = np.arange(6)
        wandered[each, each] = self._density * long**3 / 3
        wandered[each, each + 6] = wandered[each + 6, each] = self._density * long * span / 2
        wandered[each + 6, each + 6] = self._density * long
        covariance = move @ self._covariance @ move.T + wandered
        return turn @ self._rotation, self._position + span * self._velocity[:3], covariance


def _usable(covariance: Array) -> Array:
    """Without what is unknown, and never singular."""
    seen = np.where(np.isfinite(covariance), covariance, 0.0)
    unknown = ~np.isfinite(np.diagonal(covariance))
    seen[unknown, unknown] = _UNKNOWN**2
    return np.asarray(0.5 * (seen + seen.T) + np.diag(np.square(np.repeat(_LEAST, 3))))
