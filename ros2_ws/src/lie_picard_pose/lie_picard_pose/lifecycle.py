"""rclpy's lifecycle node, which refuses a transition that is not possible: rclpy's own ends with an exception."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.node import Node


class LifecycleNode(LifecycleNodeMixin, Node):
    """As rclpy's, whose two parts these are."""

    def __init__(self, name: str) -> None:
        Node.__init__(self, name)
        LifecycleNodeMixin.__init__(self)

    @property
    def state(self) -> str:
        """Name of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:  # noqa: N802
        # Both the service and the methods trigger_... come through here; the name is how Python spells rclpy's
        # private method.
        possible = {number: label for number, label, *_ in self._state_machine.available_transitions}
        if transition_id not in possible:
            self.get_logger().error(
                f"transition {transition_id} is not possible while {self.state}: choose from "
                f"{', '.join(f'{number} ({label})' for number, label in possible.items())}"
            )
            return TransitionCallbackReturn.FAILURE
        return LifecycleNodeMixin._LifecycleNodeMixin__change_state(self, transition_id)  # type: ignore[attr-defined]
