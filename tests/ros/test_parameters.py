"""Parameters: one table, one YAML, checked together."""

import pytest
import yaml
from helpers import SHARE

from lie_picard_pose import parameters

DEFAULTS = {name: entry.default for name, entry in parameters.TABLE.items()}


def test_the_yaml_holds_every_default():
    shipped = yaml.safe_load((SHARE / "config" / "pose.yaml").read_text())["/**"]["ros__parameters"]
    assert shipped == DEFAULTS


def test_the_demos_yaml_is_consistent():
    changes = yaml.safe_load((SHARE / "config" / "demo.yaml").read_text())["/**"]["ros__parameters"]
    settings = parameters.settings_of(DEFAULTS | changes)
    assert [target.object_id for target in settings.targets] == ["tet", "cube", "icosa", "cone", "cyl"]


def test_every_parameter_is_described():
    assert all(entry.description for entry in parameters.TABLE.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": []}, "distinct names"),
        ({"objects": ["a", "a"]}, "distinct names"),
        ({"objects": ["a", "b"]}, "2 objects need 2 diameters and 8 numbers"),
        ({"regions": [0.0]}, "4 numbers in regions"),
        ({"diameters": [-0.1]}, "diameter must be positive"),
        ({"diameters": [0.0]}, "'object' is of any size: give its diameter"),
        ({"regions": [0.0, 0.0, -5.0, -5.0]}, "at least 2 pixels"),
        ({"regions": [0.0, 0.0, 100.0, 0.0]}, "at least 2 pixels"),
        ({"regions": [float("nan"), 0.0, 50.0, 50.0]}, "at least 2 pixels"),
        ({"transport": "pigeon"}, "choose from raw, compressed"),
        ({"regions_from": "guess"}, "choose from auto, parameters, topics, mask, detections"),
        ({"regions_from": "topics", "objects": ["a b"]}, "cannot name a topic"),
        ({"symmetries": "/nowhere.json"}, "nowhere.json"),
        ({"method": "magic"}, "choose from auto, ode, picard, newton, walk"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_a_reason(change, message):
    with pytest.raises(ValueError, match=message):
        parameters.settings_of(DEFAULTS | change)
