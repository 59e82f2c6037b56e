"""Checkpoints carry what is known of their objects: it comes back as it went in, and damaged ones are refused."""

import dataclasses
import json
import logging
import math

import numpy as np
import parts
import pytest
import torch
import trimesh
from safetensors.torch import load_file, save_file

from lie_picard import CheckpointError, PoseEstimator, cli
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.simplify import apart, reduced
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.node import settings, table
from lie_picard.objects import BUILT_IN, OWN, Catalogue, MeshObject, carried, catalogue, folder

SMALL = {"image_size": 32, "channels": 3, "features": 32, "width": 32, "depth": 1, "degree": 2, "copies": 2}
TURN = np.diag([-1.0, -1.0, 1.0])


def surface_of(mesh, colours=None):
    return Surface(np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64), colours)


def painted(mesh, seed=0):
    return surface_of(mesh, np.random.default_rng(seed).random((len(mesh.faces), 3, 3)).astype(np.float32))


def slab():
    """60 x 40 x 20 mm, coloured, with half turns of its shape that the colours do not have."""
    box = trimesh.creation.box((0.06, 0.04, 0.02)).subdivide()
    halves = Symmetry.generated([TURN, np.diag([1.0, -1, -1])])
    about = PartialSymmetry(np.array([0.0, 0.6, 0.8]), np.array([0.01, 0.0, 0.0]), 2.1, 0.4)
    every = PartialSymmetry(np.array([0.0, 0.0, 1.0]), np.zeros(3), None, 0.3)
    return MeshObject("slab", painted(box), Symmetry.none(), halves, partial=(about, every))


def pin():
    """A turned part whose axis is beside the origin and may be turned over."""
    mesh = trimesh.creation.cylinder(0.01, 0.05, sections=32)
    mesh.apply_translation((0.002, 0, 0))
    axis = Symmetry.generated([np.diag([1.0, -1, -1])], [[0, 0, 1]], None, [[0.002, 0, 0]], 0.01)
    return MeshObject("pin", surface_of(mesh), axis)


def model_of(*objects, extra=()):
    torch.manual_seed(0)
    names = (*(one.name for one in objects), *extra)
    model = ScoreModel(ModelConfig(**SMALL, named=True, objects=names)).eval()
    model.catalogue = OWN
    model.known = Catalogue.of(OWN, *objects) if objects else None
    return model


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LIE_PICARD_OBJECTS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path):
    checkpoint.save(model_of(slab(), pin()), tmp_path / "parts.safetensors")
    return tmp_path / "parts.safetensors"


def same_symmetry(first, second):
    np.testing.assert_array_equal(first.rotations, second.rotations)
    np.testing.assert_array_equal(np.reshape(first.axes, (-1, 3)), np.reshape(second.axes, (-1, 3)))
    np.testing.assert_array_equal(first.centre, second.centre)


@pytest.mark.parametrize("made", [slab, pin], ids=["slab", "pin"])
def test_an_object_comes_back_as_it_went_in(file, made):
    one, model = made(), checkpoint.load(file)
    assert list(model.known) == ["slab", "pin"] and model.known.name == OWN
    again = model.known[one.name]
    assert again.diameter == one.diameter and again.is_coloured == one.is_coloured
    same_symmetry(again.symmetry, one.symmetry)
    same_symmetry(again.shape_symmetry, one.shape_symmetry)
    off = np.linalg.norm(again.surface.corners - one.surface.corners, axis=2)
    assert off.max() < 1e-4 * one.diameter
    if one.is_coloured:
        assert np.abs(again.surface.colours - one.surface.colours).max() <= 0.5 / 255 + 1e-6
    for mine, theirs in zip(one.partial, again.partial, strict=True):
        assert (mine.angle, mine.share) == (theirs.angle, theirs.share)
        np.testing.assert_array_equal((mine.axis, mine.point), (theirs.axis, theirs.point))


def test_saved_again_nothing_changes(file, tmp_path):
    model = checkpoint.load(file)
    checkpoint.save(model, tmp_path / "again.safetensors", {"command": "calibrate"})
    first, second = (load_file(path) for path in (file, tmp_path / "again.safetensors"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key].nan_to_num(7) if first[key].is_floating_point() else first[key],
                           second[key].nan_to_num(7) if second[key].is_floating_point() else second[key])
               for key in first)  # fmt: skip


def test_objects_without_a_mesh_are_not_carried_and_old_files_load(tmp_path):
    model = ScoreModel(ModelConfig(**SMALL, named=True, objects=("cube",)))
    model.catalogue, model.known = BUILT_IN, catalogue(BUILT_IN)
    checkpoint.save(model, tmp_path / "a.safetensors")
    assert checkpoint.load(tmp_path / "a.safetensors").known is None
    assert not [key for key in load_file(tmp_path / "a.safetensors") if key.startswith("objects.")]
    assert checkpoint.carried_by("default") is None and checkpoint.load("default").known is None


def test_a_large_mesh_is_reduced_and_an_object_takes_less_than_300_kb(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=6, radius=0.05)  # 82,000 triangles
    ball.vertices[:, 2] *= 0.6
    part = MeshObject("egg", surface_of(ball, np.full((len(ball.faces), 3, 3), 0.25, np.float32)))
    checkpoint.save(model_of(extra=("egg",)), tmp_path / "without.safetensors")
    checkpoint.save(model_of(part), tmp_path / "with.safetensors")
    sizes = [(tmp_path / name).stat().st_size for name in ("without.safetensors", "with.safetensors")]
    assert 0 < sizes[1] - sizes[0] < 300_000
    again = checkpoint.load(tmp_path / "with.safetensors").known["egg"]
    assert len(again.surface.triangles) <= carried.MAX_TRIANGLES
    assert apart(again.surface, part.surface) < 0.003 * part.diameter
    assert np.abs(again.surface.colours - 0.25).max() < 1 / 255


def test_scraps_that_cannot_be_joined_are_reduced_too():
    corners = np.random.default_rng(0).normal(size=(9_000, 3, 3)) * 0.01
    scraps = Surface(corners.reshape(-1, 3), np.arange(27_000).reshape(-1, 3))
    few, distance = reduced(scraps, 0.2, 500, 600)
    assert 100 < len(few.triangles) <= 600 and distance > 0


@pytest.mark.parametrize("kind", ["octahedron", "nut"])
def test_fine_flat_meshes_and_slivers_are_reduced_without_holes(kind):
    mesh = parts.KINDS[kind](np.random.default_rng(3)).mesh
    while len(mesh.faces) < 20_000:
        mesh = mesh.subdivide()
    surface, _, diameter = folder.centred(surface_of(mesh))
    few, distance = reduced(surface, diameter, carried.TRIANGLES, carried.MAX_TRIANGLES)
    assert len(few.triangles) <= carried.MAX_TRIANGLES and distance < 0.006
    assert apart(few, surface) < 0.006 * diameter


def test_what_a_picture_shows_becomes_colours_of_the_corners(tmp_path):
    """A square whose left half is red and whose right half is blue: two triangles could not say so."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4, 0] = picture[:, 4:, 2] = 255
    vertices = 0.02 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    uv = (vertices[:, :2] / 0.04 + 0.5)[triangles].astype(np.float32)
    square = Surface(vertices, triangles, None, uv, (picture,), np.zeros(2, np.int64))
    checkpoint.save(model_of(MeshObject("square", square)), tmp_path / "a.safetensors")
    found = checkpoint.load(tmp_path / "a.safetensors").known["square"].surface
    assert found.texture is None and 1_000 < len(found.triangles) <= carried.TRIANGLES
    middle = found.corners.mean(1)[:, 0]
    colours = found.colours.mean(1)
    far = (np.abs(middle) > 0.004) & (np.abs(middle) < 0.015)  # between the borders, where the picture is smooth
    assert (colours[far & (middle < 0)] > (0.9, -1, -1)).all() and (colours[far & (middle > 0)] > (-1, -1, 0.9)).all()
    area = np.linalg.norm(np.cross(*(found.corners[:, k] - found.corners[:, 0] for k in (1, 2))), axis=1).sum() / 2
    assert area == pytest.approx(0.04**2, rel=1e-3)


def change(file, tmp_path, tensors=None, text=None):
    """The file with other tensors or another list of objects."""
    from safetensors import safe_open

    with safe_open(str(file), "pt") as opened:
        metadata = opened.metadata()
    content = load_file(file)
    for name, value in (tensors or {}).items():
        content.pop(name, None)
        if value is not None:
            content[name] = value
    if text is not None:
        metadata["objects"] = text
    path = tmp_path / "hostile.safetensors"
    save_file(content, str(path), metadata)
    return path


LISTED = [{"name": "slab", "diameter": 0.0748}, {"name": "pin", "diameter": 0.055}]
NOT_ORTHOGONAL = torch.eye(3, dtype=torch.float64)[None] * 1.5
NO_GROUP = torch.tensor(
    np.stack([np.eye(3), Symmetry.generated([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]]).rotations[1]]), dtype=torch.float64
)


@pytest.mark.parametrize(("tensors", "text", "why"), [
    ({"objects.0.vertices": None}, None, "no surface"),
    ({"objects.0.vertices": torch.zeros(20_000, 3, dtype=torch.int16)}, None, r"'vertices' is int16 \(20000, 3\)"),
    ({"objects.0.vertices": torch.zeros(8, 3)}, None, "'vertices' is float32"),
    ({"objects.0.vertices": torch.full((600, 3), 32_767, dtype=torch.int16)}, None, "fits a sphere"),
    ({"objects.0.triangles": torch.full((48, 3), 30_000, dtype=torch.int16)}, None, "not there"),
    ({"objects.0.triangles": torch.full((48, 3), -1, dtype=torch.int16)}, None, "not there"),
    ({"objects.0.triangles": torch.zeros(7_000, 3, dtype=torch.int16)}, None, "7000"),
    ({"objects.0.colours": torch.zeros(1, 3, 3, dtype=torch.uint8)}, None, "colours of other"),
    ({"objects.0.rotations": NOT_ORTHOGONAL}, None, "rotations that are none"),
    ({"objects.0.rotations": NO_GROUP}, None, "no group"),
    ({"objects.0.rotations": torch.full((1, 3, 3), math.nan, dtype=torch.float64)}, None, "rotations that are none"),
    ({"objects.0.centre": torch.full((3,), 9.0, dtype=torch.float64)}, None, "no symmetry"),
    ({"objects.1.axes": torch.ones(1, 3, dtype=torch.float64)}, None, "axes"),
    ({"objects.0.partial": torch.full((2, 8), math.inf, dtype=torch.float64)}, None, "partial"),
    ({"objects.0.evil": torch.zeros(1)}, None, "unknown part 'evil'"),
    ({"objects.7.vertices": torch.zeros(1)}, None, "not listed"),
    ({}, "", "without a list"), ({}, "[" * 100_000, "no JSON"), ({}, "{}", "no list"), ({}, "[]", "no list"),
    ({}, json.dumps([*LISTED, *LISTED]), "no list"), ({}, json.dumps([LISTED[0]] * 2), "twice"),
    ({}, json.dumps([LISTED[1], {"name": "spoon"}]), "none of the model's"),
    ({}, json.dumps([{"name": "slab", "diameter": 1e300}, LISTED[1]]), "a diameter that is none"),
    ({}, json.dumps([{"name": "slab", "diameter": math.nan}, LISTED[1]]), "a diameter that is none"),
    ({}, json.dumps([{"name": "slab", "diameter": True}, LISTED[1]]), "a diameter that is none"),
    ({}, json.dumps([{"name": ["slab"]}, LISTED[1]]), "none of the model's"),
])  # fmt: skip
def test_damaged_objects_are_refused_in_one_line(file, tmp_path, tensors, text, why):
    path = change(file, tmp_path, tensors, text)
    with pytest.raises(CheckpointError, match=why) as caught:
        checkpoint.load(path)
    said = str(caught.value)
    assert "\n" not in said and "copy it again" in said and len(said) < 500
    assert checkpoint.carried_by(path) is None


def test_the_estimator_goes_by_what_was_trained_on_and_says_where_the_store_differs(file, store, caplog):
    one = slab()
    folder.write(folder.Part("slab", one.surface, one.diameter, one.symmetry, one.shape_symmetry), store / "slab")
    with caplog.at_level(logging.WARNING):
        estimator = PoseEstimator.from_checkpoint(file, "cpu")
    assert not caplog.records  # the same part
    assert estimator.catalogue["slab"] is estimator.model.known["slab"]
    other = trimesh.creation.box((0.06, 0.04, 0.01))
    half = float(np.linalg.norm((0.06, 0.04, 0.01)))
    folder.write(folder.Part("slab", surface_of(other), half), store / "slab")
    with caplog.at_level(logging.WARNING):
        estimator = PoseEstimator.from_checkpoint(file, "cpu")
    assert len(caplog.records) == 1 and "carries slab as it was trained on" in caplog.text
    assert estimator.catalogue["slab"].diameter == one.diameter


def test_another_tessellation_of_a_part_is_the_same_part():
    coarse, fine = (trimesh.creation.icosphere(subdivisions=n, radius=0.05) for n in (4, 5))
    one, other = (Catalogue.of("", MeshObject("ball", surface_of(mesh))) for mesh in (coarse, fine))
    assert carried.differing(one, other) == []
    moved = trimesh.creation.cone(0.02, 0.05)
    moved.apply_translation((0, 0, -0.02))
    turned = moved.copy()
    turned.apply_transform(trimesh.transformations.rotation_matrix(math.pi, (1, 0, 0)))
    one, other = (Catalogue.of("", MeshObject("cone", surface_of(mesh))) for mesh in (moved, turned))
    assert carried.differing(one, other) == ["cone"]


def test_training_begins_at_the_weights_of_a_checkpoint_with_other_objects(file, tmp_path):
    model = model_of(pin(), extra=("ring",))
    checkpoint.initialise(model, file)
    assert list(model.known) == ["pin"]
    checkpoint.save(model, tmp_path / "new.safetensors")
    assert list(checkpoint.load(tmp_path / "new.safetensors").known) == ["pin"]


def values(**changes):
    return {name: entry.default for name, entry in table.TABLE.items()} | changes


def test_the_node_needs_nothing_but_the_checkpoint(file):
    found = settings.settings_of(values(checkpoint=str(file)))
    assert [target.object_id for target in found.targets] == ["slab", "pin"]
    assert [target.diameter for target in found.targets] == [slab().diameter, pin().diameter]
    assert all(target.region is None for target in found.targets)
    assert len(found.symmetries["pin"].axes) == 1 and len(found.meshes["slab"].triangles) == 48
    one = settings.settings_of(values(checkpoint=str(file), objects=["pin"]))
    assert [(target.object_id, target.diameter) for target in one.targets] == [("pin", pin().diameter)]
    usual = settings.settings_of(values())
    assert [(target.object_id, target.diameter) for target in usual.targets] == [("object", 0.1)]
    named = settings.settings_of(values(checkpoint=str(file), objects=["thing"], diameters=[0.2]))
    assert [(target.object_id, target.diameter) for target in named.targets] == [("thing", 0.2)]


def test_a_misspelt_object_is_an_error_that_lists_those_there_are(file, tmp_path):
    with pytest.raises(ValueError, match=r"'slap' .*\(slab, pin\); did you mean 'slab'\?") as caught:
        settings.settings_of(values(checkpoint=str(file), objects=["slap"]))
    assert "\n" not in str(caught.value)
    nowhere = str(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        settings.settings_of(values(checkpoint=nowhere, objects=["slab"], diameters=[0.0]))


def test_info_says_what_a_checkpoint_carries(file, capsys):
    assert cli.main(["info", str(file), "--json", "-"]) == 0
    one, other = json.loads(capsys.readouterr().out)["objects"]
    assert one["name"] == "slab" and one["triangles"] == 48 and one["coloured"] and one["partial_symmetries"] == 2
    assert one["diameter_m"] == pytest.approx(slab().diameter) and one["symmetry"] == "none"
    assert other["symmetry"] == "D∞ about (0, 0, 1)" and other["carried"]
    assert cli.main(["info", "--json", "-"]) == 0
    solids = json.loads(capsys.readouterr().out)["objects"]
    assert all(one["diameter_m"] is None and not one["carried"] for one in solids)


def test_rviz_gets_few_triangles_of_a_carried_part():
    """Twelve ghosts of thousands of triangles would be megabytes an image; coarser ones show the same."""
    from lie_picard.node.markers import markers
    from lie_picard.recording.message_types import header_of, types, writer

    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.05)  # 5,120 triangles
    mesh = MeshObject("ball", surface_of(ball)).mesh(0.2)
    assert mesh.scale == 1 and mesh.diameter == pytest.approx(0.2)  # no file's unit
    t = types()
    message = t.PoseHypothesisArray(object_id="ball", hypotheses=[t.PoseHypothesis(weight=1.0)])
    base = settings.settings_of(values(objects=["ball"], diameters=[0.2]))
    shown = markers(writer(), header_of(0, "camera"), [message], dataclasses.replace(base, meshes={"ball": mesh}))
    (ghost,) = [one for one in shown.markers if one.ns == "ghosts/ball"]
    assert 300 < len(ghost.points) <= 1_800 and len(ghost.points) % 3 == 0
    radii = [math.hypot(point.x, point.y, point.z) for point in ghost.points]
    assert min(radii) > 0.097 and max(radii) < 0.103
