"""The frames of a node's poses in TF: a bounded set of names, whatever comes and goes in the images.

tf2 has no way to take a frame back: each name stays in every listener's buffer, and the listener goes on finding its
last pose. So the modes of an object share a few frames instead of having one each.
"""

from __future__ import annotations

from typing import Any

from lie_picard.messages.write import Writer

AUTO = "auto"


def prefix_of(value: str, namespace: str = "") -> str:
    """What the parameter `tf_prefix` puts before each frame; "auto": the node's namespace as `r1/`."""
    if value != AUTO:
        return value
    space = namespace.strip("/")
    return f"{space}/" if space else ""


class Slots:
    """Numbers 0, 1, ... for what is shown of one object; each is kept by the same mode for as long as it is shown."""

    def __init__(self) -> None:
        self._holders: list[int] = []  # id of the mode that each number was last given to
        self._used: list[int] = []  # when that was
        self._clock = 0

    def assign(self, ids: list[int]) -> list[int]:
        """The numbers of the modes with these ids, all below the largest count of ids so far.

        A mode that comes back has its old number, unless another needed it. A new one has one that was never given,
        else the one that is out of use for longest.
        """
        self._clock += 1
        numbers = {mode: self._holders.index(mode) for mode in ids if mode in self._holders}
        taken = set(numbers.values())
        while len(self._holders) < len(ids):
            self._holders.append(-1)
            self._used.append(0)
        free = sorted(set(range(len(self._holders))) - taken, key=lambda number: (self._used[number], number))
        for mode in ids:
            if mode not in numbers:
                numbers[mode] = free.pop(0)
            self._holders[numbers[mode]], self._used[numbers[mode]] = mode, self._clock
        return [numbers[mode] for mode in ids]


class Frames:
    """Names the frames of one node's objects from image to image."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._slots: dict[str, Slots] = {}

    def transforms(self, messages: list[Any], modes: int, prefix: str = "") -> tuple[list[Any], list[str]]:
        """The followed pose of each object as `<object_id>`, its leading modes as `<object_id>/mode_0`, `mode_1`, ...

        Args:
            messages: PoseHypothesisArray of one image. modes: of each object at most.

        Returns:
            TransformStamped, with the image's header; and why there are none for an object, one line each.
        """
        found: list[Any] = []
        complaints: list[str] = []
        for message in messages:
            frame, parent = prefix + message.object_id, str(message.header.frame_id).lstrip("/")
            if not parent:
                return [], [
                    "the image has no frame_id, so nothing is published to TF: set the frame_id of the camera's driver"
                ]
            leading = message.hypotheses[:modes]
            numbers = self._slots.setdefault(message.object_id, Slots()).assign([one.mode_id for one in leading])
            named = [(frame, message.best)]
            named += [(f"{frame}/mode_{number}", one.pose) for number, one in zip(numbers, leading, strict=True)]
            if parent in dict(named):
                complaints.append(
                    f"object '{message.object_id}' has the name of the image's frame '{parent}', so it is not "
                    "published to TF: give it another name, or set tf_prefix"
                )
                continue
            found += [self._writer.transform_stamped(message.header, name, pose.pose) for name, pose in named]
        return found, complaints

    def predicted(self, messages: list[Any]) -> list[Any]:
        """The predictions (Odometry) as `<child_frame_id>/predicted`, stamped when the object will be there."""
        return [
            self._writer.transform_stamped(one.header, f"{one.child_frame_id}/predicted", one.pose.pose)
            for one in messages
            if str(one.header.frame_id).lstrip("/")
        ]
