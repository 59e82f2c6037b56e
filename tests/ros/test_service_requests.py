"""What service requests make of the parameters of objects."""

import pytest
from sensor_msgs.msg import RegionOfInterest

from lie_picard.node.settings import settings_of
from lie_picard.node.table import TABLE
from lie_picard_msgs.srv import EstimatePose, SetObject
from lie_picard_pose.service_requests import changed_objects, settings_for

DEFAULTS = {name: entry.default for name, entry in TABLE.items()}
TWO = DEFAULTS | {"objects": ["cube", "cyl"], "diameters": [0.1, 0.1]}
BOX = RegionOfInterest(x_offset=10, y_offset=20, width=50, height=50)


def after(values, **asked):
    return values | changed_objects(SetObject.Request(**asked), values)


def test_one_object_of_several_that_are_found_in_the_image_is_given_a_region():
    values = after(TWO, object_id="cyl", region=BOX)
    assert values["regions"] == [0, 0, 0, 0, 10, 20, 50, 50]
    settings = settings_of(values)
    assert settings.regions_from == "auto"  # the other is still found
    assert [target.region is None for target in settings.targets] == [True, False]


def test_objects_are_added_and_removed_where_all_are_found_in_the_image():
    assert after(TWO, object_id="cyl", remove=True)["objects"] == ["cube"]
    three = after(TWO, object_id="tet", diameter=0.1)
    assert three["objects"] == ["cube", "cyl", "tet"] and len(three["regions"]) == 12
    assert settings_of(three).regions_from == "auto"


def test_meshes_follow_their_objects():
    values = TWO | {"meshes": ["a.ply", "b.ply"]}
    assert after(values, object_id="cube", remove=True)["meshes"] == ["b.ply"]
    assert after(values, object_id="tet", diameter=0.1)["meshes"] == ["a.ply", "b.ply", ""]
    assert after(TWO, object_id="tet", diameter=0.1)["meshes"] == TABLE["meshes"].default


def test_parameters_that_do_not_fit_each_other_are_said():
    with pytest.raises(ValueError, match="set them as parameters"):
        after(TWO | {"regions": [1.0] * 4}, object_id="cyl", region=BOX)


@pytest.mark.parametrize("source", ["topics", "mask", "auto"])
def test_a_request_without_a_region_is_searched_in_its_image(source):
    settings = settings_of(TWO | {"regions_from": source})
    asked = settings_for(EstimatePose.Request(object_id="cyl"), settings)
    assert asked.regions_from == "auto" and asked.targets[0].region is None
