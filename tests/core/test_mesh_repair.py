"""Damaged surfaces are mended where that changes nothing of the shape; the rest is said."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.geometry.mesh_files import MeshError
from lie_picard.geometry.mesh_repair import mended
from lie_picard.geometry.simplify import TOLERANCE, simplified
from lie_picard.geometry.surface import Surface


def surface_of(mesh):
    return Surface(np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64))


def volume(surface):
    corners = surface.corners
    return np.einsum("td,td->t", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]).sum() / 6


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_triangles_face_outwards_again_whichever_were_turned(seed, share, soup):
    rng = np.random.default_rng(seed)
    whole = surface_of(trimesh.util.concatenate([trimesh.creation.icosphere(2),
                                                 trimesh.creation.box().apply_translation((5, 0, 0))]))  # fmt: skip
    broken = whole.turned(rng.random(len(whole.triangles)) < share)
    if soup:  # as STL has it
        count = len(broken.triangles)
        broken = Surface(broken.corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))
    found, said = mended(broken)
    assert volume(found) == pytest.approx(volume(whole)) and len(found.vertices) == len(whole.vertices)
    assert any("turned" in line for line in said) == (abs(volume(broken) - volume(whole)) > 1e-9)


def test_a_cavity_keeps_facing_the_other_way():
    inner, outer = trimesh.creation.icosphere(2, radius=0.5), trimesh.creation.icosphere(2)
    inner.invert()
    found, said = mended(surface_of(trimesh.util.concatenate([outer, inner])))
    assert volume(found) == pytest.approx(outer.volume - abs(inner.volume)) and not any("turned" in x for x in said)


def test_what_is_no_triangle_is_dropped_and_said_with_its_number():
    ball = surface_of(trimesh.creation.icosphere(1))
    vertices = np.concatenate([ball.vertices, [[np.nan, 0, 0], [1e30, 0, 0]]])
    odd = [[0, 0, 1], [2, 3, 2], [0, 1, len(ball.vertices)], [1, 2, len(ball.vertices) + 1]]
    twice = ball.triangles[:5][:, [1, 2, 0]]
    found, said = mended(Surface(vertices, np.concatenate([ball.triangles, odd, twice])))
    assert len(found.triangles) == 80 and len(found.vertices) == 42
    text = "; ".join(said)
    assert "2 of 89 triangles without finite corners" in text and "2 of 87 triangles without area" in text
    assert "5 of 85 triangles that were there twice" in text


def test_holes_and_edges_of_three_triangles_and_surfaces_of_one_side_are_said():
    ball = surface_of(trimesh.creation.icosphere(3))
    keep = np.ones(len(ball.triangles), bool)
    keep[[0, 500]] = False
    _, said = mended(ball.some(keep))
    assert any("2 holes" in line for line in said)
    fin = np.concatenate([ball.vertices, [[3, 0, 0]]])
    _, said = mended(Surface(fin, np.concatenate([ball.triangles, [[*ball.triangles[0][:2], len(fin) - 1]]])))
    assert any("1 edges have more than two triangles" in line for line in said)
    along = np.linspace(0, 2 * np.pi, 41)[:-1]
    wide = np.linspace(-0.3, 0.3, 2)
    radius = 1 + wide[None] * np.cos(along / 2)[:, None]
    strip = np.stack([radius * np.cos(along)[:, None], radius * np.sin(along)[:, None],
                      wide[None] * np.sin(along / 2)[:, None]], -1).reshape(-1, 3)  # fmt: skip
    quads = [[2 * k, 2 * k + 1, 2 * k + 3, 2 * k + 2] for k in range(39)] + [[78, 79, 0, 1]]
    triangles = [[a, b, c] for a, b, c, _ in quads] + [[a, c, d] for a, _, c, d in quads]
    _, said = mended(Surface(strip, np.array(triangles)))
    assert any("one side" in line for line in said)


def test_nothing_left_is_an_error():
    for vertices in (np.zeros((3, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(MeshError, match="export"):
            mended(Surface(vertices, np.array([[0, 1, 2]])))


def test_paint_goes_with_its_corners():
    box = trimesh.creation.box()
    colours = np.asarray(box.triangles, np.float32) + 0.5  # each corner's own place
    broken = Surface(np.asarray(box.vertices), np.asarray(box.faces), colours).turned(np.arange(12) % 3 == 0)
    found, _ = mended(broken)
    assert np.allclose(found.colours, found.corners + 0.5, atol=1e-6)


def test_a_simplified_surface_is_near_the_whole_one_and_keeps_its_colours():
    ball = trimesh.creation.icosphere(6)
    colours = (np.asarray(ball.triangles, np.float32) + 1) / 2
    whole = Surface(np.asarray(ball.vertices), np.asarray(ball.faces), colours)
    few, distance = simplified(whole, 2.0, 4000)
    assert len(few.triangles) == 4000 and distance < TOLERANCE
    assert np.abs(np.linalg.norm(few.vertices, axis=1) - 1).max() < 2 * TOLERANCE
    assert np.abs(few.colours - (few.corners + 1) / 2).max() < 0.01
    assert simplified(few, 2.0, 4000) == (few, 0.0)


def test_normals_are_smooth_within_the_crease_angle_and_sharp_beyond():
    cylinder = surface_of(trimesh.creation.cylinder(1, 2, sections=36))
    normals, corners = cylinder.normals(), cylinder.corners
    cap = np.abs(normals[..., 2]) > 0.5
    assert np.allclose(np.abs(normals[cap][:, 2]), 1)
    wall = corners[~cap].copy()
    wall[:, 2] = 0
    assert np.allclose(normals[~cap], wall / np.linalg.norm(wall, axis=1, keepdims=True), atol=1e-5)
