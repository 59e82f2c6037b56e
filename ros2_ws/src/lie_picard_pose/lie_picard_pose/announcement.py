"""What the node says of its objects and parameters beforehand: latched, in the log, and on /diagnostics."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch

from lie_picard.node.settings import Settings
from lie_picard.node.table import TABLE
from lie_picard_msgs.msg import ObjectInfo
from lie_picard_pose.conversions import WRITER

ANY = TABLE["objects"].default[0]  # the name that parameters begin with stands for any of the model's objects


def ready(settings: Settings, device: torch.device, seconds: float) -> str:
    """What is said once a model is loaded and warm, which took so long."""
    options = settings.options
    return (
        f"ready: checkpoint '{settings.checkpoint}' on {device}, {settings.samples} samples, "
        f"method {options.method}, {options.steps} {options.steps_of} steps, "
        f"objects {', '.join(t.object_id for t in settings.targets)}, warm after {seconds:.1f} s"
    )


def object_infos(settings: Settings, known: Sequence[str]) -> list[ObjectInfo]:
    """Diameter, symmetry and model of each object that is looked for. `known`: names of the model's own objects."""
    return [
        WRITER.object_info(target, target.sought if target.sought in known else "",
                           settings.symmetries[target.object_id])
        for target in settings.targets
    ]  # fmt: skip


def strangers(settings: Settings, known: Sequence[str]) -> list[str]:
    """Objects that the model does not know by their names, one line each, with the name that was meant perhaps."""
    lines = []
    folded = {name.casefold(): name for name in known}
    for name in dict.fromkeys(target.sought for target in settings.targets):
        if name in known or name == ANY:
            continue
        near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
        meant = f"; did you mean '{folded[near[0]]}'?" if near else ""
        lines.append(
            f"the model knows no object '{name}': it looks for any of its own there ({', '.join(known)}){meant}"
        )
    return lines
