"""Quality of service of the node's inputs: what the publishers offer, unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

_POLICIES = QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY
_RELIABLE, _LATCHED = QoSReliabilityPolicy.RELIABLE, QoSDurabilityPolicy.TRANSIENT_LOCAL


class Offer(NamedTuple):
    """What all publishers of a topic offer; a subscription that asks for no more hears every one of them."""

    reliable: bool = True
    latched: bool = False

    @classmethod
    def of(cls, publishers: Sequence[Any]) -> Offer:
        """From `Node.get_publishers_info_by_topic`. Where there is none: what most offer."""
        profiles = [one.qos_profile for one in publishers]
        if not profiles:
            return cls()
        return cls(
            all(one.reliability == _RELIABLE for one in profiles), all(one.durability == _LATCHED for one in profiles)
        )

    @classmethod
    def on(cls, node: Node, topic: str) -> Offer:
        """On a topic of this node's, remapped as its subscriptions are."""
        return cls.of(node.get_publishers_info_by_topic(node.resolve_topic_name(topic)))


def profile() -> QoSProfile:
    """Of an input. A fresh one each: rclpy changes the profile that it is given."""
    return QoSProfile(
        depth=1,
        reliability=QoSReliabilityPolicy.BEST_AVAILABLE,
        durability=QoSDurabilityPolicy.BEST_AVAILABLE,
    )


def following(offer: Offer) -> QoSOverridingOptions:
    """Overrides by parameters; what they leave at `best_available` becomes what is offered now.

    The middleware's own `best_available` never looks again.
    """

    def settle(qos: QoSProfile) -> SetParametersResult:
        if qos.reliability == QoSReliabilityPolicy.BEST_AVAILABLE:
            qos.reliability = _RELIABLE if offer.reliable else QoSReliabilityPolicy.BEST_EFFORT
        if qos.durability == QoSDurabilityPolicy.BEST_AVAILABLE:
            qos.durability = _LATCHED if offer.latched else QoSDurabilityPolicy.VOLATILE
        return SetParametersResult(successful=True)

    return QoSOverridingOptions(_POLICIES, callback=settle)


def lacking(asked: QoSProfile, publishers: Sequence[Any]) -> list[tuple[bytes, QoSPolicyKind]]:
    """Publishers that a subscription does not hear, by their endpoints, and the policy that is the reason."""
    found = []
    for one in publishers:
        offered = one.qos_profile
        if asked.reliability == _RELIABLE != offered.reliability:
            found.append((bytes(one.endpoint_gid), QoSPolicyKind.RELIABILITY))
        if asked.durability == _LATCHED != offered.durability:
            found.append((bytes(one.endpoint_gid), QoSPolicyKind.DURABILITY))
    return found
