"""Few pictures where `lie-picard train` takes hundreds: what is done with them is the same."""

import functools

from lie_picard.cli import train
from lie_picard.data import scenes
from lie_picard.evaluation import locating


def few_images(monkeypatch, options):
    """The command looks, calibrates and tests on few images, and makes small pools of what its scenes show.

    Args:
        options: what is measured during the run and at its end.
    """
    monkeypatch.setattr(train, "_LOOK", options)
    monkeypatch.setattr(train, "_LAST", options)
    monkeypatch.setattr(train, "_CALIBRATION_IMAGES", 3)
    monkeypatch.setattr(scenes, "_CLUTTER", 12)
    monkeypatch.setattr(scenes, "_BACKDROPS", 12)
    monkeypatch.setattr(locating, "_KEPT", 6)
    monkeypatch.setattr(train, "SceneOptions", functools.partial(scenes.SceneOptions, kept=12))
    monkeypatch.setattr(train, "_SCENES", 3)
