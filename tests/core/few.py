"""Few pictures where a training of minutes draws from hundreds: what is done with them is the same."""

import functools

from lie_picard.cli import train
from lie_picard.data import scenes
from lie_picard.evaluation import locating


def few_scenes(monkeypatch):
    """`lie-picard train` makes small pools of what its scenes show, and is tested on three of them."""
    monkeypatch.setattr(scenes, "_CLUTTER", 12)
    monkeypatch.setattr(scenes, "_BACKDROPS", 12)
    monkeypatch.setattr(locating, "_KEPT", 6)
    monkeypatch.setattr(train, "SceneOptions", functools.partial(scenes.SceneOptions, kept=12))
    monkeypatch.setattr(train, "_SCENES", 3)
