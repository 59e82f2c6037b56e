"""The pose node: camera images in, weighted pose hypotheses out. This file only wires."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import rclpy
import torch
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image

from lie_picard import CheckpointError, PoseEstimator
from lie_picard.camera import CameraError
from lie_picard.estimator import ImageError, pick_device
from lie_picard.poses import ObjectPoses, Target, ViewCache, estimate_poses
from lie_picard.sampling import WarmStart
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_msgs.srv import EstimatePose
from lie_picard_pose import parameters
from lie_picard_pose.conversions import camera_of, hypothesis_array, region_of
from lie_picard_pose.images import to_rgb
from lie_picard_pose.newest import Newest
from lie_picard_pose.outputs import Outputs

_REPEAT_S = 5.0  # a complaint that repeats every frame is logged this often
_WAKE_S = 0.25
_BAD_INPUT = (ImageError, CameraError)


class _Frame(NamedTuple):
    image: Image
    info: CameraInfo


class PoseNode(Node):
    """Subscribes to `image` and `camera_info`; publishes `~/hypotheses`, `~/poses`, `~/markers` and TF."""

    def __init__(self) -> None:
        super().__init__("pose_node")
        parameters.declare(self)
        self._device = pick_device(self.get_parameter("device").value)
        self._settings = parameters.settings_of(parameters.values_of(self))
        if threads := self.get_parameter("threads").value:
            torch.set_num_threads(threads)
        self._estimator: PoseEstimator | None = None
        self._candidate: PoseEstimator | None = None  # loaded and checked, not yet in use
        self._views = ViewCache()
        self._warm = WarmStart()
        self._info: CameraInfo | None = None
        self._newest: Newest[_Frame] = Newest()
        # All computation happens in this one thread. Torch gives every thread that computes a pool of its own, and two
        # pools on the same cores halve the speed.
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._complaints: dict[str, float] = {}
        self._outputs = Outputs(self)
        try:
            self._estimator = self._inference.submit(self._load, self._settings).result()
        except CheckpointError as error:  # can be mended while running
            self.get_logger().error(str(error))

        self._subscribe(Image, "image", self._on_image)
        self._subscribe(CameraInfo, "camera_info", self._on_camera_info)
        # After the subscriptions, whose qos_overrides are parameters too.
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self.create_service(
            EstimatePose, "~/estimate", self._on_estimate, callback_group=MutuallyExclusiveCallbackGroup()
        )

    def destroy_node(self) -> None:
        """Stop the computation, then the node."""
        self._inference.shutdown(wait=True, cancel_futures=True)
        super().destroy_node()

    # --- inputs

    def _subscribe(self, kind: type, topic: str, callback: Callable) -> None:
        qos = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._on_incompatible_qos(self.resolve_topic_name(topic), event)
        )
        self.create_subscription(
            kind,
            topic,
            callback,
            qos,
            event_callbacks=events,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _on_incompatible_qos(self, topic: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._complain(
            f"a publisher on '{topic}' offers an incompatible {policy}: change it there, "
            f"or set qos_overrides.{topic}.subscription.{policy.lower()} here"
        )

    def _on_camera_info(self, info: CameraInfo) -> None:
        self._info = info

    def _on_image(self, image: Image) -> None:
        if self._info is None:
            self._complain(
                f"images arrive but no camera_info yet: publish it on '{self.resolve_topic_name('camera_info')}' "
                "or remap that topic"
            )
            return
        self._newest.put(_Frame(image, self._info))
        self._inference.submit(self._process_newest)

    # --- work

    def _process_newest(self) -> None:
        frame = self._newest.take()
        if frame is None:  # an earlier call took it
            return
        try:
            self._process(frame)
        except _BAD_INPUT as error:
            self._complain(str(error))
        except Exception as error:  # the node outlives any frame
            if rclpy.ok():
                self._complain(f"frame dropped: {type(error).__name__}: {error}")

    def _process(self, frame: _Frame) -> None:
        settings = self._settings
        age = (self.get_clock().now() - Time.from_msg(frame.image.header.stamp)).nanoseconds * 1e-9
        if settings.max_age and age > settings.max_age:
            self._complain(
                "images are older than max_age when their turn comes: dropped; raise it, or check the clocks"
            )
            return
        warm = self._warm if settings.warm_start else None
        found, messages = self._estimate(frame, settings, settings.targets, settings.samples, settings.seed, warm)
        self._outputs.publish(frame.image.header, found, messages, settings)

    def _estimate(
        self,
        frame: _Frame,
        settings: parameters.Settings,
        targets: tuple[Target, ...],
        samples: int,
        seed: int | None,
        warm: WarmStart | None = None,
    ) -> tuple[list[ObjectPoses], list[PoseHypothesisArray]]:
        if self._estimator is None:
            raise ImageError("no model is loaded: set parameter `checkpoint` to a readable file, or 'default'")
        began = time.monotonic()
        camera = camera_of(frame.info, settings.rectified)
        image = to_rgb(frame.image)
        found = estimate_poses(
            self._estimator, image, camera, targets, samples, seed, settings.options, self._views, warm
        )
        elapsed_ms = (time.monotonic() - began) * 1e3
        header = frame.image.header
        return found, [hypothesis_array(header, one, settings.options, elapsed_ms) for one in found]

    def _on_estimate(self, request: EstimatePose.Request, response: EstimatePose.Response) -> EstimatePose.Response:
        settings = self._settings
        try:
            known = {target.object_id: target for target in settings.targets}
            target = known.get(request.object_id) if request.object_id else settings.targets[0]
            if target is None:
                raise ImageError(f"unknown object '{request.object_id}': one of {', '.join(known)}")
            if (region := region_of(request.region)) is not None:
                target = Target(target.object_id, target.diameter, region)
            frame = _Frame(request.image, request.camera_info)
            seed = request.seed if request.seed >= 0 else None
            samples = request.samples or settings.samples
            if samples > parameters.MOST_SAMPLES:
                raise ImageError(f"{samples} samples are too many: at most {parameters.MOST_SAMPLES}")
            work = self._inference.submit(self._estimate, frame, settings, (target,), samples, seed)
            _, messages = work.result()
            response.success, response.hypotheses = True, messages[0]
        except Exception as error:  # a request cannot take the node down
            response.message = str(error) or type(error).__name__
        return response

    # --- parameters and model

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        values = parameters.values_of(self) | {p.name: p.value for p in changes if p.name in parameters.TABLE}
        try:
            settings = parameters.settings_of(values)
            if any(p.name == "checkpoint" for p in changes):
                self._candidate = self._inference.submit(self._load, settings).result()
        except (ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        if any(p.name == "checkpoint" for p in changes):
            self._estimator, self._candidate = self._candidate, None
        self._settings = parameters.settings_of(parameters.values_of(self))

    def _load(self, settings: parameters.Settings) -> PoseEstimator:
        """Load a checkpoint and warm up, in the inference thread."""
        estimator = PoseEstimator.from_checkpoint(settings.checkpoint, str(self._device))
        size = estimator.config.image_size
        blank = torch.zeros(size, size, dtype=torch.uint8).numpy()
        estimator.estimate_batch([blank] * len(settings.targets), settings.samples, 0, settings.options)
        self.get_logger().info(
            f"ready: checkpoint '{settings.checkpoint}' on {estimator.device}, {settings.samples} samples, "
            f"method {settings.options.method}, {settings.options.steps} {settings.options.integrator} steps, "
            f"objects {', '.join(t.object_id for t in settings.targets)}"
        )
        return estimator

    def _complain(self, message: str) -> None:
        now = time.monotonic()
        if now - self._complaints.get(message, -_REPEAT_S) >= _REPEAT_S:
            if len(self._complaints) > 100:
                self._complaints.clear()
            self._complaints[message] = now
            self.get_logger().error(message)


def main() -> int:
    """Entry point of the executable `pose_node`. Returns the exit status: 1 where it cannot start."""
    node = None
    try:
        rclpy.init()
        node = PoseNode()
        executor = MultiThreadedExecutor(num_threads=2)
        executor.add_node(node)
        # rclpy wakes a waiting executor before it shuts the context down: one that waits again in between, without a
        # limit, would sleep through SIGTERM.
        while rclpy.ok():
            executor.spin_once(timeout_sec=_WAKE_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, ParameterException) as error:  # parameters that do not fit
        hint = "; write whole numbers with a point, 1.0" if "expecting type 'DOUBLE" in str(error) else ""
        print(f"pose_node: {error}{hint}", file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
