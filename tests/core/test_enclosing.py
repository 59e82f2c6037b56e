"""The smallest ball: it holds all points, and no smaller one does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.geometry.enclosing import smallest_ball


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans(), st.sampled_from([1e-6, 1.0, 1e5]))
def test_it_holds_all_points_and_its_centre_is_between_those_on_it(seed, count, lattice, size):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3)) * rng.uniform(0, 1, 3) + rng.normal(size=3)
    points = (points.round(1) if lattice else points) * size  # a lattice: many points on one sphere, or at one place
    centre, radius = smallest_ball(points)
    distance = np.linalg.norm(points - centre, axis=1)
    assert distance.max() <= radius * (1 + 1e-9)
    # It is the smallest where no step leads nearer to all the points on it at once.
    away = centre - points[distance >= radius * (1 - 1e-6)]
    for step in np.concatenate([rng.normal(size=(64, 3)), -away]):
        assert radius == 0 or (away @ step).max() >= -1e-4 * radius * np.linalg.norm(step)


def test_a_cube_a_thin_plate_and_a_triangle_whose_longest_side_decides():
    corners = np.array([[x, y, z] for x in (0, 2) for y in (0, 2) for z in (0, 2)], float)
    centre, radius = smallest_ball(corners)
    assert np.allclose(centre, 1) and radius == pytest.approx(3**0.5)
    centre, radius = smallest_ball(np.array([[0, 0, 0], [4, 0, 0], [2, 1, 0]]))
    assert np.allclose(centre, [2, 0, 0]) and radius == pytest.approx(2)


def test_far_from_the_origin_nothing_is_lost():
    points = np.random.default_rng(0).normal(size=(1000, 3))
    centre, radius = smallest_ball(points + 1e6)
    near, same = smallest_ball(points)
    assert np.allclose(centre - 1e6, near, atol=1e-6) and radius == pytest.approx(same, rel=1e-6)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), [[np.nan, 0, 0]], [[np.inf, 0, 0]]])
def test_what_is_no_point_is_refused(points):
    with pytest.raises(ValueError, match="finite"):
        smallest_ball(points)
