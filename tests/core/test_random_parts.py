"""Random parts to pre-train on: closed, of many kinds, each by its number; and the description of a shape."""

import collections
import dataclasses
import functools
import sys

import numpy as np
import pytest
import torch
import trimesh

from lie_picard import so3
from lie_picard.data.random_parts import PartBank, described_part, random_part, random_surface, signature
from lie_picard.data.random_parts.bodies import Dice, PartsError, kernel
from lie_picard.data.random_parts.parts import (
    KINDS,
    MAX_EXCESS,
    MAX_TRIANGLES,
    MIN_ASPECT,
    MIN_TRIANGLES,
    looks_alike,
    symmetry_of,
)
from lie_picard.data.random_parts.signature import DEGREE, harmonics, quadrature
from lie_picard.data.seeds import train_generator
from lie_picard.geometry.enclosing import smallest_ball
from lie_picard.geometry.surface import Surface
from lie_picard.model.harmonics import BodyFrame
from lie_picard.rendering.clean import render

COUNT = 60
FRAME = BodyFrame(DEGREE)


@functools.cache
def parts():
    return [described_part(k) for k in range(COUNT)]


@functools.cache
def signatures():
    return torch.stack([signature(part.surface) for part in parts()])


def mesh_of(surface):
    return trimesh.Trimesh(surface.vertices, surface.triangles, process=False)


def turned(coefficients, rotation):
    """D(R) c, (49, n), by the model's own harmonics."""
    return FRAME(FRAME.prepared(coefficients), rotation.mT).T


def test_parts_are_closed_and_of_radius_1_about_their_smallest_ball():
    for part in parts():
        surface, mesh = part.surface, mesh_of(part.surface)
        assert mesh.is_watertight and mesh.volume > 0, part.kind
        assert MIN_TRIANGLES <= len(surface.triangles) <= MAX_TRIANGLES
        centre, radius = smallest_ball(surface.vertices)
        assert np.linalg.norm(surface.vertices, axis=1).max() == pytest.approx(1, abs=1e-9)
        assert 1 - 1e-6 < 1 / radius < 1 + 2 * MAX_EXCESS
        if part.symmetry.is_trivial:
            np.testing.assert_allclose(centre, 0, atol=1e-6)
        assert surface.colours is None or surface.colours.shape == (len(surface.triangles), 3, 3)


def test_parts_are_of_many_kinds_and_proportions():
    kinds = collections.Counter(part.kind for part in parts())
    assert len(kinds) >= 18 and max(kinds.values()) <= COUNT / 4
    extents = np.array([np.sort(np.ptp(part.surface.vertices, axis=0)) for part in parts()])
    aspect = extents[:, 2] / extents[:, 0]
    assert aspect.min() < 1.3 and aspect.max() > 5 and aspect.max() <= 1 / MIN_ASPECT
    symmetric = np.mean([part.group != "C1" for part in parts()])
    assert 0.25 < symmetric < 0.55
    assert 0.1 < np.mean([part.painted for part in parts()]) < 0.5
    assert all(part.look in (part.group, "C1") for part in parts())


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_each_kind_mostly_comes_out(make):
    made = [make(Dice(np.random.default_rng([3, k]))).solid for k in range(4)]
    assert sum(not one.is_empty() and one.volume() > 0 for one in made) >= 3


def test_a_part_depends_on_its_number_its_seed_and_its_split_alone():
    first, again = described_part(7, 3), described_part(7, 3)
    np.testing.assert_array_equal(first.surface.vertices, again.surface.vertices)
    np.testing.assert_array_equal(first.surface.triangles, again.surface.triangles)
    assert (first.kind, first.group) == (again.kind, again.group)
    shapes = {mesh_of(described_part(*key).surface).volume
              for key in [(7, 3), (8, 3), (7, 4), (7, 3, "test"), (8, 3, "test")]}  # fmt: skip
    assert len(shapes) == 5


def test_no_test_part_is_one_of_training():
    trained = {round(mesh_of(part.surface).volume, 9) for part in parts()}
    tested = {round(mesh_of(described_part(k, 0, "test").surface).volume, 9) for k in range(10)}
    assert len(tested) == 10 and not trained & tested


def test_a_part_of_ones_own_generator():
    surface = random_surface(np.random.default_rng(5))
    assert isinstance(surface, Surface)
    np.testing.assert_array_equal(surface.vertices, random_surface(np.random.default_rng(5)).vertices)


def test_parts_can_be_rendered(generator):
    shown = render(random_part(3), so3.uniform(2, generator=generator), 32)
    assert (shown > 20).float().mean((1, 2)).min() > 0.02


@pytest.mark.parametrize("wrong", [(-1, 0, "train"), (1_000_000, 0, "train"), (0, 0, "val"), (1000, 0, "test")])
def test_parts_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=f"no part {wrong[0]}"):
        random_part(*wrong)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "manifold3d", None)
    with pytest.raises(PartsError, match="pip install manifold3d"):
        random_part(0)


def test_colours_that_break_the_symmetry_are_said():
    """Two bodies of a part that a half turn exchanges: painted alike they keep its look, else not."""
    left = kernel().Manifold.cube((1, 1, 1), True).translate((-2, 0, 0)).to_mesh()
    vertices, triangles = np.asarray(left.vert_properties, float), np.asarray(left.tri_verts, np.int64)
    both = np.concatenate([vertices, vertices * (-1, -1, 1)]), np.concatenate([triangles, triangles + len(vertices)])
    colours = np.full((2 * len(triangles), 3, 3), 0.5, np.float32)
    assert looks_alike(Surface(*both, colours), "C2")
    colours[: len(triangles)] = 0.7
    assert not looks_alike(Surface(*both, colours), "C2")


def test_groups_have_their_orders():
    orders = {name: (len(symmetry_of(name).rotations), len(symmetry_of(name).axes))
              for name in ("C1", "Cs", "C5", "D6", "C∞", "D∞")}  # fmt: skip
    assert orders == {"C1": (1, 0), "Cs": (1, 0), "C5": (5, 0), "D6": (12, 0), "C∞": (1, 1), "D∞": (2, 1)}
    with pytest.raises(ValueError, match="no symmetry group 'T'"):
        symmetry_of("T")


def test_harmonics_are_those_of_the_model(generator):
    rotations = so3.uniform(40, generator=generator)
    along = torch.zeros((DEGREE + 1) ** 2, 1)
    for degree in range(DEGREE + 1):
        along[degree * degree + degree] = 1.0
    zonal = FRAME(FRAME.prepared(along), rotations.mT)[:, 0]
    own = harmonics(rotations[:, :, 2].double().numpy())
    torch.testing.assert_close(torch.from_numpy(own).float(), zonal, atol=1e-5, rtol=0)
    poles = harmonics(np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    for degree in range(DEGREE + 1):
        np.testing.assert_allclose((poles[:, degree**2 : (degree + 1) ** 2] ** 2).sum(1), 1)


def test_the_quadrature_is_exact_for_areas_and_moments():
    surface = parts()[0].surface
    points, areas = quadrature(surface.corners)
    mesh = mesh_of(surface)
    assert areas.sum() == pytest.approx(mesh.area, rel=1e-9)
    np.testing.assert_allclose(areas @ points / areas.sum(), mesh.centroid, atol=1e-6)


def test_a_turned_surface_has_the_turned_signature(generator):
    for part, own, rotation in zip(parts()[:12], signatures()[:12], so3.uniform(12, generator=generator), strict=True):
        moved = part.surface.vertices @ rotation.double().numpy().T
        found = signature(dataclasses.replace(part.surface, vertices=moved))
        error = (found - turned(own, rotation)).square().mean(0).sqrt()
        assert error[:3].max() < 2e-3 and error[3] < 0.03, part.kind  # the support function is sampled on a grid


def test_the_symmetries_by_construction_are_those_of_the_signature():
    symmetric = [(part, own) for part, own in zip(parts(), signatures(), strict=True) if not part.symmetry.is_trivial]
    assert len(symmetric) > 8
    for part, own in symmetric:
        for turn in part.symmetry.equivalents(torch.eye(3), 30.0)[:24]:
            assert (turned(own, turn) - own).square().mean().sqrt() < 0.05, (part.kind, part.group)


def test_a_finer_mesh_of_the_same_surface_has_the_same_signature():
    for part, own in zip(parts()[:12], signatures(), strict=False):
        vertices, triangles = trimesh.remesh.subdivide(part.surface.vertices, part.surface.triangles)
        found = signature(Surface(vertices, triangles))
        assert (found - own).norm() < 0.01 * own.norm(), part.kind


def test_triangles_without_area_are_nothing():
    surface = parts()[1].surface
    flat = np.array([[0, 0, 1], [0, 1, 0], [2, 2, 2]])
    found = signature(Surface(surface.vertices, np.concatenate([surface.triangles, flat])))
    torch.testing.assert_close(found, signatures()[1], atol=1e-4, rtol=0)


def test_the_signature_tells_shapes_apart_and_has_about_unit_variance():
    each = signatures()
    assert not each[:, 0].any()
    assert torch.pdist(each.flatten(1)).min() > 0.1
    for degree in range(1, DEGREE + 1):
        energy = each[:, degree**2 : (degree + 1) ** 2].square().mean((0, 1))
        assert ((energy > 0.3) & (energy < 3)).logical_or(torch.tensor([degree == 1, False, False, False])).all()


def test_a_balls_signature_is_zero():
    ball = trimesh.creation.icosphere(4)
    assert signature(Surface(np.asarray(ball.vertices), np.asarray(ball.faces))).abs().max() < 0.02


def test_a_surface_of_nothing_has_no_signature():
    with pytest.raises(ValueError, match="0 triangles"):
        signature(Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int64)))


def drawn(bank, batch, count=3):
    return bank.drawn(train_generator("images", 0, batch), batch, count)


def test_a_batch_shows_the_same_parts_whatever_was_before():
    whole, resumed = PartBank(0, size=6, every=6), PartBank(0, size=6, every=6)
    names = [[one.part.name for one in drawn(whole, k)] for k in range(6)]
    assert [[one.part.name for one in drawn(resumed, k)] for k in (1, 3, 5)] == names[1::2]
    assert all(len(set(row)) == 3 for row in names)


def test_a_bank_keeps_its_parts_and_replaces_them_little_by_little():
    bank = PartBank(0, size=4, every=12)
    first = {one.part.name: one for one in drawn(bank, 0, 4)}
    later = {one.part.name: one for one in drawn(bank, 3, 4)}
    assert len(set(first) & set(later)) == 3 and len(set(later) - set(first)) == 1
    assert all(later[name].part is first[name].part for name in set(first) & set(later))
    one = next(iter(first.values()))
    torch.testing.assert_close(one.signature, signature(one.part.surface))
    assert set(bank._kept) == {1, 2, 3, 4}


@pytest.mark.parametrize(("make", "says"), [
    (lambda: PartBank(0, size=0), "at least 1"), (lambda: drawn(PartBank(0, size=2), 0, 3), "3 parts of a bank of 2"),
])  # fmt: skip
def test_banks_that_cannot_be_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
