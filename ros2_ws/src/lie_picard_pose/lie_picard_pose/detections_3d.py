"""Hypotheses as vision_msgs/Detection3DArray, where that package is installed (it is not on PyPI)."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseWithCovariance, Vector3
from std_msgs.msg import Header

from lie_picard.node.settings import Settings
from lie_picard_msgs.msg import PoseHypothesisArray

try:
    from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
except ImportError:
    available = False
else:
    available = True


def array_of(header: Header, messages: list[PoseHypothesisArray], settings: Settings) -> Any:
    """One detection an object: every mode as a result with its weight as score, the best pose as the box's centre.

    The box is the cube around the object's circumscribed sphere. Like `ObjectHypothesisWithPose` everywhere, a result's
    class_id is the object's name, the same for all its modes.
    """
    result = Detection3DArray(header=header)
    diameters = {target.object_id: target.diameter for target in settings.targets}
    for message in messages:
        detection = Detection3D(header=header, id=message.object_id)
        detection.bbox.center = message.best.pose
        size = diameters[message.object_id]
        detection.bbox.size = Vector3(x=size, y=size, z=size)
        for hypothesis in message.hypotheses:
            one = ObjectHypothesisWithPose()
            one.hypothesis.class_id, one.hypothesis.score = message.object_id, hypothesis.weight
            one.pose = PoseWithCovariance(pose=hypothesis.pose.pose, covariance=hypothesis.pose.covariance)
            detection.results.append(one)
        result.detections.append(detection)
    return result
