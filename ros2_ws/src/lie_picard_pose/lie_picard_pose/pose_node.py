"""The pose node: camera images in, weighted pose hypotheses out. A lifecycle node; this file only wires."""

from __future__ import annotations

import gc
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from std_srvs.srv import Trigger

from lie_picard.estimation.estimator import ImageError
from lie_picard.estimation.several import Versions, estimator_of, versions_of
from lie_picard.geometry.camera import CameraError
from lie_picard.machine import pick_device
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard_msgs.srv import EstimatePose, SetObject
from lie_picard_pose import announcement, diagnostics, parameters, service_requests
from lie_picard_pose.conversions import WRITER, to_rgb
from lie_picard_pose.inputs import Inputs
from lie_picard_pose.lifecycle import LifecycleNode
from lie_picard_pose.monitor import Monitor
from lie_picard_pose.outputs import Outputs
from lie_picard_pose.running import RCLError, run, spin
from lie_picard_pose.worker import Limiter, Worker, result_of

_REPEAT_S = 5.0  # a complaint that repeats every frame is logged this often
_POLL_S = 0.05
_PATIENCE_S = 1.0  # for what is being computed when the node is to end
_BAD_INPUT = (ImageError, CameraError)
_DONE, _FAILED = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class _Work(NamedTuple):
    """A frame with what it is to be estimated with: changes take effect on the next one, together."""

    frame: Frame
    settings: parameters.Settings
    pipeline: Pipeline


class PoseNode(LifecycleNode):
    """Subscribes to images, publishes hypotheses: see docs/node.md. One thread runs all callbacks, another computes.

    configure: load the model and warm up. activate: subscribe. deactivate: stop. cleanup: free the model.
    """

    def __init__(self) -> None:
        super().__init__("pose_node")
        parameters.declare(self, parameters.TABLE)
        self._oddities = parameters.oddities(self)
        self._warned: set[str] = set()
        self._version: Versions = ()  # of the model in use
        self._warn(self._oddities)
        self._device = pick_device(self.get_parameter("device").value)
        self._settings = self._checked = parameters.settings_of(parameters.values_of(self))
        if threads := self.get_parameter("threads").value:
            torch.set_num_threads(threads)
        self._pipeline: Pipeline | None = None
        self._candidate: tuple[Pipeline, Versions] | None = None  # loaded and checked, not yet in use
        self._loading: tuple[Future[Pipeline], Versions] | None = None  # while it starts itself
        self._inputs: Inputs | None = None
        self._outputs: Outputs | None = None
        self._worker: Worker[_Work] = Worker(self._process_safely)
        self._monitor = Monitor()
        self._limiter = Limiter()
        self._complaints: dict[str, float] = {}
        self._said_reduced = ""
        self._scaled: set[str] = set()
        self._failed_start = False
        self.create_service(EstimatePose, "~/estimate", self._on_estimate)
        self.create_service(SetObject, "~/set_object", self._on_set_object)
        self.create_service(Trigger, "~/reset", self._on_reset)
        overrides = QoSOverridingOptions.with_default_policies()
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", QoSProfile(depth=10), qos_overriding_options=overrides
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(1.0, self._report, clock=steady)
        self._starter = self.create_timer(_POLL_S, self._start, clock=steady)
        if not self.get_parameter("autostart").value:
            self._starter.cancel()
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)

    # --- lifecycle

    def _start(self) -> None:
        """Load, while services answer; then configure and activate. Again when a parameter changes, should it fail."""
        if self.state != "unconfigured":  # somebody else leads
            self._starter.cancel()
            return
        if self._loading is None:
            self._loading = self._begin_loading()
        if not self._loading[0].done():
            return
        self._starter.cancel()
        try:
            self._failed_start = not (self.trigger_configure() == _DONE == self.trigger_activate())
        except RCLError:  # the context was shut down meanwhile
            if rclpy.ok():
                raise

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and warm up."""
        return self._transition("configured", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe: from here on every image is answered."""
        self._worker.clear()
        self._monitor.clear()
        return self._transition("activated", self._open_inputs)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop: nothing is published after this."""
        return self._transition("deactivated", self._close_inputs)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model's memory."""
        return self._transition("cleaned up", self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup."""
        return self._transition("shut down", self._clean_up)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        return self._transition("cleaned up", self._clean_up)

    def _transition(self, done: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        """rclpy drops an exception without a word: here it is said, and the transition fails."""
        try:
            action()
        except Exception as error:
            if rclpy.ok():
                known = isinstance(error, (ValueError, OSError))
                self._monitor.failure = str(error) if known else f"{type(error).__name__}: {error}"
                self.get_logger().error(f"not {done}: {self._monitor.failure}")
            return _FAILED
        return _DONE

    def _configure(self) -> None:
        loading, self._loading = self._loading, None
        if loading is None or loading[1] != versions_of(self._settings.checkpoint):  # or it was changed meanwhile
            loading = self._begin_loading()
        pipeline = result_of(loading[0], rclpy.ok)
        self._settings.options.check(pipeline.estimator.config.flow_map)
        self._monitor = Monitor()
        self._outputs, self._pipeline, self._version = Outputs(self), pipeline, loading[1]
        self._announce()
        # The libraries' 200,000 objects live as long as the node: a full collection that looks at all of them would
        # hold an image up for a tenth of a second.
        gc.collect()
        gc.freeze()

    def _clean_up(self) -> None:
        self._close_inputs()
        if self._outputs:
            self._outputs.close()
        self._pipeline = self._outputs = self._candidate = self._loading = None
        gc.unfreeze()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _open_inputs(self, before: Inputs | None = None) -> None:
        self._inputs = Inputs(self, self._settings, self._monitor, self._on_frame, self._complain, before)

    def _close_inputs(self) -> None:
        """End the subscriptions and wait for the frame in work."""
        if self._inputs:
            inputs, self._inputs = self._inputs, None
            inputs.close()
        self._worker.drain(rclpy.ok)
        if self._pipeline:
            self._pipeline.reset()

    def stop(self) -> bool:
        """End the computation. Whether it came to rest in time."""
        return self._worker.stop(_PATIENCE_S)

    def _begin_loading(self) -> tuple[Future[Pipeline], Versions]:
        return self._worker.call(self._load, self._settings), versions_of(self._settings.checkpoint)

    def _load(self, settings: parameters.Settings) -> Pipeline:
        """Load a checkpoint and warm up all that an image goes through, in the inference thread."""
        pipeline = Pipeline(estimator_of(settings.checkpoint, str(self._device)), WRITER, to_rgb)
        began = time.monotonic()
        for _ in range(2):  # the first call chooses a method, makes buffers
            pipeline.rehearse(settings)
        self.get_logger().info(announcement.ready(settings, pipeline.estimator.device, time.monotonic() - began))
        return pipeline

    # --- images

    def _on_frame(self, frame: Frame) -> None:
        assert self._pipeline
        if self._limiter.passes(self._settings.max_rate):
            self._worker.offer(_Work(frame, self._settings, self._pipeline))
        else:
            self._monitor.count("skipped")

    def _process_safely(self, work: _Work) -> None:
        try:
            self._process(*work)
        except _BAD_INPUT as error:
            self._reject(str(error))
        except Exception as error:  # the node outlives any frame
            if rclpy.ok():
                self._reject(f"frame dropped: {type(error).__name__}: {error}")

    def _process(self, frame: Frame, settings: parameters.Settings, pipeline: Pipeline) -> None:
        outputs = self._outputs
        if outputs is None or self._inputs is None:  # stopped meanwhile
            return
        header = frame.image.header
        age = (self.get_clock().now() - Time.from_msg(header.stamp)).nanoseconds * 1e-9
        if settings.max_age and age > settings.max_age:
            self._monitor.count("outdated")
            self._complain(
                "images are older than max_age when their turn comes: dropped; raise it, or check the clocks"
            )
            return
        waited = time.monotonic() - frame.received
        result = pipeline(frame, settings)
        began = time.monotonic()
        complaints = outputs.publish(frame, result, settings)
        now = time.monotonic()
        spans = {"waiting": waited * 1e3} | result.milliseconds | {"publishing": (now - began) * 1e3}
        age = (self.get_clock().now() - Time.from_msg(header.stamp)).nanoseconds * 1e-6
        spans |= {"latency": (now - frame.received) * 1e3, "age of results": age}
        self._monitor.count("lost", len(result.lost))
        for complaint in result.complaints + complaints:
            self._complain(complaint)
        self._monitor.processed(spans, result, [target.object_id for target in settings.targets])
        if (reduced := pipeline.estimator.reduced) and reduced != self._said_reduced:
            self._said_reduced = reduced
            self.get_logger().warning(reduced)

    # --- services

    def _on_estimate(self, request: EstimatePose.Request, response: EstimatePose.Response) -> EstimatePose.Response:
        try:
            if self._pipeline is None:
                raise ImageError("no model is loaded: configure the node first")
            settings = service_requests.settings_for(request, self._settings)
            frame = Frame(request.image, request.camera_info)
            result = result_of(self._worker.call(self._pipeline, frame, settings, False), rclpy.ok)
            response.success, response.hypotheses = True, (result.messages + result.lost)[0]
        except Exception as error:  # a request cannot take the node down
            response.message = str(error) or type(error).__name__
        return response

    def _on_set_object(self, request: SetObject.Request, response: SetObject.Response) -> SetObject.Response:
        try:
            changes = service_requests.changed_objects(request, parameters.values_of(self))
        except Exception as error:  # a request cannot take the node down
            response.message = str(error) or type(error).__name__
            return response
        result = self.set_parameters_atomically([Parameter(name, value=value) for name, value in changes.items()])
        response.success, response.message = result.successful, result.reason
        if result.successful and self._pipeline:
            odd = announcement.strangers(self._settings, self._pipeline.estimator.config.objects)
            response.message = "; ".join(line for line in odd if f"'{request.object_id}'" in line)
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._inputs:
            self._inputs.clear()
        if self._pipeline:
            result_of(self._worker.call(self._pipeline.reset), rclpy.ok)
        self._worker.clear()
        self._monitor.clear()
        response.success, response.message = True, "modes, warm start and figures are forgotten"
        return response

    # --- parameters

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As rclpy's, but a fixed parameter may be set to the value that it has: a file of all can be loaded."""
        changes = [one for one in parameter_list if not parameters.is_fixed_as(self, one)]
        if parameter_list and not changes:
            return SetParametersResult(successful=True)
        return super().set_parameters_atomically(changes)

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        names = {p.name for p in changes}
        values = parameters.values_of(self) | {p.name: p.value for p in changes if p.name in parameters.TABLE}
        self._candidate = None
        try:
            self._checked = parameters.settings_of(values)
            version = versions_of(self._checked.checkpoint)
            # What was reduced, as its device's memory ran out, is loaded again.
            old = version != self._version or (self._pipeline and self._pipeline.estimator.reduced)
            if self._pipeline and "checkpoint" in names and old:
                self._candidate = result_of(self._worker.call(self._load, self._checked), rclpy.ok), version
            elif self._pipeline:
                self._checked.options.check(self._pipeline.estimator.config.flow_map)
        except Exception as error:  # whatever loading a model may raise, the node goes on with the one it has
            return SetParametersResult(successful=False, reason=str(error) or type(error).__name__)
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        before, self._settings = self._settings, self._checked
        if self._candidate is not None and self._pipeline:
            (self._pipeline, self._version), self._candidate = self._candidate, None
        if self._failed_start:  # perhaps it can now
            self._failed_start = False
            self._starter.reset()
        if self._outputs:
            self._announce()
        if self._inputs and Inputs.needs(before) != Inputs.needs(self._settings):
            inputs, self._inputs = self._inputs, None
            inputs.close()
            self._transition("subscribed", lambda: self._open_inputs(inputs))

    def _announce(self) -> None:
        assert self._outputs and self._pipeline
        known = self._pipeline.estimator.config.objects
        self._outputs.announce(announcement.object_infos(self._settings, known), self.get_clock().now().to_msg())
        self._monitor.configuration = self._oddities + announcement.strangers(self._settings, known)
        self._warn(self._monitor.configuration)
        scales = {mesh.file: mesh.scale for mesh in self._settings.meshes.values() if mesh.scale != 1}
        for file in scales.keys() - self._scaled:
            self.get_logger().info(f"mesh {file} fits its object's diameter at {scales[file]:g} m a unit: taken so")
        self._scaled = set(scales)

    # --- what it says

    def _report(self) -> None:
        inputs = self._inputs
        if inputs:
            inputs.follow_publishers()
        subject = diagnostics.Subject(
            name=self.get_fully_qualified_name().lstrip("/"),
            state=self.state,
            topic=self.resolve_topic_name(inputs.image_topic) if inputs else "",
            quality=inputs.quality() if inputs else {},
            estimator=self._pipeline.estimator if self._pipeline else None,
        )
        figures = self._monitor.figures(self._worker.dropped)
        self._diagnostics.publish(diagnostics.report(self.get_clock().now().to_msg(), subject, figures))

    def _warn(self, lines: list[str]) -> None:
        """Each once, as long as it holds."""
        for line in lines:
            if line not in self._warned:
                self.get_logger().warning(line)
        self._warned = set(lines)

    def _reject(self, message: str) -> None:
        self._monitor.count("rejected")
        self._complain(message)

    def _complain(self, message: str) -> None:
        now, kind = time.monotonic(), re.sub(r"[-+.\d]+", "#", message)  # numbers change from image to image
        self._monitor.complain(message)
        if now - self._complaints.get(kind, -_REPEAT_S) >= _REPEAT_S:
            self._complaints[kind] = now
            self.get_logger().error(message)


def main() -> int:
    """Run a node until it is told to end. Returns the exit status: 1 where it cannot start."""
    nodes: list[PoseNode] = []
    rested = True

    def body() -> int:
        nodes.append(PoseNode())
        return spin(nodes[0])

    def stop() -> None:
        nonlocal rested
        rested = all(node.stop() for node in nodes)

    status = run("pose_node", body, stop)
    if not rested:  # a model that is just being loaded: Python would wait for its thread
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
