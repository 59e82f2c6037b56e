"""Rays at meshes: what a brute-force search and the analytic casters find, whichever engine looks."""

import math
import multiprocessing
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BARE, examples

from lie_picard import so3
from lie_picard.data.seeds import test_generator
from lie_picard.geometry.surface import Surface
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering import meshes
from lie_picard.rendering.clean import Crop, render
from lie_picard.rendering.meshes import ENGINES, EngineError, MeshCaster, engine_for
from lie_picard.rendering.meshes.tables import MeshError, Tables

each_engine = pytest.mark.parametrize("engine", ENGINES)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def installed(request):
    names = {"embree": "embreex", "warp": "warp"}
    engine = getattr(request.node, "callspec", None) and request.node.callspec.params.get("engine")
    for name in [engine] if engine else ["embree", "warp"]:
        pytest.importorskip(names[name])


def grid(side, half=1.0):
    """(side * side, 3) rays, row by row."""
    offsets = ((torch.arange(side) + 0.5) / side * 2 - 1) * half
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)


def brute_force(surface, rotation, translation, rays):
    """Moeller and Trumbore's test of every ray with every triangle, in double precision.

    -> depth (P,), inf where nothing is hit; triangle (P,); shares (P, 3); margin (P,): how far the nearest edge of any
    triangle is, in barycentric coordinates, or another hit, in depth.
    """
    corners = surface.corners @ rotation.T + translation
    a, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(rays[:, None], second[None])
    determinant = (p * first).sum(-1)
    parallel = np.abs(determinant) < 1e-12
    safe = np.where(parallel, 1.0, determinant)
    u = (p * -a).sum(-1) / safe
    q = np.cross(-a, first)
    v = (rays[:, None] * q).sum(-1) / safe
    t = (q * second).sum(-1) / safe
    share = np.minimum(np.minimum(u, v), 1 - u - v)
    inside = (share >= 0) & (t > 0) & ~parallel
    depth = np.where(inside, t, np.inf)
    order = np.sort(depth, 1)
    best = depth.argmin(1)
    chosen = np.arange(len(rays)), best
    shares = np.stack([1 - u[chosen] - v[chosen], u[chosen], v[chosen]], 1)
    edge = np.where(parallel, 1.0, np.abs(share)).min(1)
    steep = np.where(parallel, 0.0, np.abs(determinant)).min(1)
    gap = np.full(len(rays), np.inf)
    if order.shape[1] > 1:
        behind = np.isfinite(order[:, 1])
        gap[behind] = order[behind, 1] - order[behind, 0]
    return depth[chosen], best, shares, np.minimum(edge, np.minimum(gap, 1e3 * steep))


def plate(colours=((1, 0, 0), (0, 0, 1)), thickness=0.0):
    """A square of half side 0.5 about z, its upper side in the first colour and its lower in the second."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    vertices = np.concatenate([np.c_[corners, np.full(4, z * thickness / 2)] for z in (1, -1)])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6]])
    paint = np.repeat(np.array(colours, np.float32), 2, 0)[:, None].repeat(3, 1)
    return Surface(vertices, triangles, paint)


def looking(surface, engine, axis=(0.0, 0, 0), angle=0.0, side=32, distance=5.0, crease=30.0):
    """Buffers of a surface turned about an axis, straight in front of a camera."""
    turn = so3.exp(torch.tensor(axis) * angle)[None]
    caster = MeshCaster(surface, crease, engine)
    return caster.cast(turn, torch.tensor([[0.0, 0, distance]]), grid(side, 1 / distance))


@each_engine
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12), images=st.integers(0, 3))
@examples(20)
def test_any_soup_of_triangles_at_any_pose_is_hit_where_a_search_of_all_finds_it(engine, seed, count, images):
    generator = np.random.default_rng(seed)
    surface = Surface(generator.uniform(-0.57, 0.57, (3 * count, 3)), np.arange(3 * count).reshape(count, 3),
                      generator.random((count, 3, 3)).astype(np.float32))  # fmt: skip
    torch_generator = torch.Generator().manual_seed(seed)
    rotations = so3.uniform(images, generator=torch_generator).float()
    translations = torch.cat([torch.rand(images, 2, generator=torch_generator) - 0.5,
                              1.5 + 3 * torch.rand(images, 1, generator=torch_generator)], 1)  # fmt: skip
    zoom = 0.3 + torch.rand(images, 2, generator=torch_generator)
    rays = grid(20)
    found = MeshCaster(surface, engine=engine).cast(rotations, translations, rays, zoom)
    assert found.hit.shape == found.depth.shape == (images, 400) and found.normal.shape == (images, 3, 400)
    own = np.cross(*(surface.corners[:, k] - surface.corners[:, 0] for k in (1, 2)))
    for k in range(images):
        seen = (rays * torch.tensor([*zoom[k].tolist(), 1.0])).double().numpy()
        turn = rotations[k].double().numpy()
        depth, triangle, shares, margin = brute_force(surface, turn, translations[k].double().numpy(), seen)
        sure = margin > 1e-3
        hit = np.isfinite(depth)
        np.testing.assert_array_equal(found.hit[k].numpy()[sure], hit[sure])
        both = sure & hit
        np.testing.assert_allclose(found.depth[k].numpy()[both], depth[both], rtol=1e-4)
        normal = own[triangle] @ turn.T
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        normal *= -np.sign((normal * seen).sum(1, keepdims=True))
        colour = surface.colour_at(triangle, shares)
        np.testing.assert_allclose(found.normal[k].numpy().T[both], normal[both], atol=1e-3)
        np.testing.assert_allclose(found.albedo[k].numpy().T[both], colour[both], atol=2e-2)
        np.testing.assert_allclose(found.albedo[k].numpy().T[both], colour[both], atol=1e-3, rtol=2e-2)
        assert not found.normal[k][:, ~found.hit[k]].any()


def fine(name):
    """A finely divided surface of a bare solid, of circumscribed radius 1."""
    one = solid(name)
    if one.radius is None:
        return Surface.of(one.mesh(2.0))
    low, high = (float(z) for z in (one.corners[..., 2].min(), one.corners[..., 2].max()))
    heights, around = np.linspace(low, high, 41), 360
    angles = np.arange(around) * (2 * math.pi / around)
    radii = np.maximum(one.radius - one.slope * heights, 1e-5)
    rings = np.stack([np.outer(radii, np.cos(angles)), np.outer(radii, np.sin(angles)),
                      np.repeat(heights[:, None], around, 1)], -1)  # fmt: skip
    i, j = np.meshgrid(np.arange(40), np.arange(around), indexing="ij")
    a, b, c, d = (((i + p) * around + (j + q) % around).reshape(-1) for p, q in ((0, 0), (0, 1), (1, 1), (1, 0)))
    vertices = np.concatenate([rings.reshape(-1, 3), [[0, 0, low], [0, 0, high]]])
    k, rim, last = np.arange(around), len(vertices) - 2, 40 * around
    ends = [np.stack([np.full(around, rim), (k + 1) % around, k], 1),
            np.stack([np.full(around, rim + 1), last + k, last + (k + 1) % around], 1)]  # fmt: skip
    return Surface(vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1), *ends]))


def eroded(mask, side):
    """Pixels of masks (B, side * side) whose eight neighbours are in them too."""
    picture = mask.unflatten(1, (side, side)).float()[:, None]
    return (-torch.nn.functional.max_pool2d(-picture, 3, 1, 1))[:, 0].bool().flatten(1)


@each_engine
@pytest.mark.parametrize("name", BARE)
def test_a_mesh_of_a_solid_is_seen_as_the_analytic_caster_sees_the_solid(engine, name):
    side, count = 64, 6
    rotations = so3.uniform(count, generator=test_generator(3)).float()
    translations = torch.tensor([[0.3, -0.2, 10.0]]).expand(count, 3)
    zoom = torch.tensor([[0.9, 1.1]]).expand(count, 2)
    rays = Crop().rays(side)
    one, other = solid(name), MeshCaster(fine(name), engine=engine)
    wanted, found = (caster.cast(rotations, translations, rays, zoom) for caster in (one, other))
    inner, outer = eroded(wanted.hit, side), ~eroded(~wanted.hit, side)
    assert (found.hit | ~inner).all() and (outer | ~found.hit).all()  # within a pixel
    both = inner & eroded(found.hit, side)
    depth = (found.depth - wanted.depth).abs()[both]
    angle = torch.rad2deg(torch.acos((found.normal * wanted.normal).sum(1).clamp(-1, 1)))[both]
    # Beside an edge within a face's picture a ray may fall on either side of it; a cone's tip has any normal.
    assert depth.max() < 5e-3 and (angle < 0.5).float().mean() > 0.997
    np.testing.assert_allclose(found.normal.norm(dim=1)[found.hit], 1, atol=1e-5)


@each_engine
def test_a_divided_sphere_is_shaded_as_round(engine):
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(4)
    found = looking(Surface(ball.vertices, ball.faces), engine, distance=10.0, side=64)
    rays = grid(64, 0.1)
    points = found.depth[0] * rays.T - torch.tensor([[0.0], [0], [10]])
    angle = torch.rad2deg(torch.acos(((points * found.normal[0]).sum(0) / points.norm(dim=0)).clamp(-1, 1)))
    assert angle[found.hit[0]].max() < 0.5
    faceted = looking(Surface(ball.vertices, ball.faces), engine, distance=10.0, side=64, crease=0.0)
    apart = (faceted.normal[0] * found.normal[0]).sum(0)[found.hit[0]]
    assert 1 < torch.rad2deg(torch.acos(apart.min())) < 5  # a facet's normal is its own


@each_engine
def test_a_thin_plate_has_two_faces(engine):
    for angle, colour in ((0.0, (0, 0, 1)), (math.pi, (1, 0, 0))):  # the camera sees its lower side first
        found = looking(plate(thickness=1e-3), engine, (1.0, 0, 0), angle)
        inside = found.hit[0]
        assert inside.float().mean() == pytest.approx(0.25, abs=0.05)
        torch.testing.assert_close(found.normal[0].T[inside], torch.tensor([0.0, 0, -1]).expand(int(inside.sum()), 3),
                                   atol=1e-5, rtol=0)  # fmt: skip
        assert (found.albedo[0].T[inside] == torch.tensor(colour)).all()


@each_engine
def test_an_open_plate_is_seen_from_behind_too(engine):
    whole = plate(((1, 1, 1), (1, 1, 1)))
    single = Surface(whole.vertices, whole.triangles[:2])
    for angle in (0.0, math.pi):
        found = looking(single, engine, (1.0, 0, 0), angle)
        assert found.hit.float().mean() > 0.2
        assert (found.normal[0, 2][found.hit[0]] < -0.999).all() and (found.albedo[0].T[found.hit[0]] == 1).all()


CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


def textured_cube():
    """Half side 0.5; each face has a texture of its own, of four coloured quarters, u along one axis, v along another.

    -> the surface, and of each face: its outward axis, its u and v axes, its texture.
    """
    faces, vertices, triangles, uv, pictures = [], [], [], [], []
    generator = np.random.default_rng(5)
    for k in range(3):
        for sign in (1.0, -1.0):
            out = np.eye(3)[k] * sign
            right = np.eye(3)[(k + 1) % 3]
            up = np.cross(out, right)
            base = len(vertices)
            vertices += [0.5 * out + (x - 0.5) * right + (y - 0.5) * up for x, y in CORNERS]
            triangles += [[base, base + 1, base + 2], [base, base + 2, base + 3]]
            uv += [CORNERS[[0, 1, 2]], CORNERS[[0, 2, 3]]]
            quarters = generator.integers(0, 256, (2, 2, 3)).astype(np.uint8)
            pictures.append(quarters.repeat(8 + 2 * k, 0).repeat(16, 1))
            faces.append((out, right, up, quarters))
    surface = Surface(np.array(vertices), np.array(triangles), None, np.array(uv, np.float32), tuple(pictures),
                      np.arange(12) // 2)  # fmt: skip
    return surface, faces


@each_engine
def test_textures_land_the_right_way_up_on_each_face_of_a_cube(engine):
    surface, faces = textured_cube()
    caster = MeshCaster(surface, engine=engine)
    for out, right, up, quarters in faces:
        turn = torch.tensor(np.stack([right, -up, -out])).float()  # u to the right of the picture, v upwards
        rays = torch.tensor([[x, y, 1.0] for y in (-0.05, 0.05) for x in (-0.05, 0.05)])
        found = caster.cast(turn[None], torch.tensor([[0.0, 0, 5]]), rays)
        assert found.hit.all()
        wanted = torch.from_numpy(quarters.reshape(4, 3)).float() / 255
        torch.testing.assert_close(found.albedo[0].T, wanted, atol=1e-5, rtol=0)


@each_engine
def test_textures_are_those_that_the_surface_tells_of_its_points(engine):
    """Bilinear, repeated, multiplied by the corners' colours; triangles without one keep theirs."""
    generator = np.random.default_rng(2)
    whole = plate()
    pictures = tuple(generator.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((5, 7), (1, 1), (16, 3)))
    surface = Surface(whole.vertices + [0, 0, 1e-3] * np.repeat([[1], [-1]], 4, 0), whole.triangles,
                      generator.random((4, 3, 3)).astype(np.float32),
                      generator.uniform(-2, 3, (4, 3, 2)).astype(np.float32), pictures,
                      np.array([0, 2, 1, -1]))  # fmt: skip
    for angle in (0.0, math.pi):
        found = looking(surface, engine, (1.0, 0, 0), angle)
        turn = so3.exp(torch.tensor([1.0, 0, 0]) * angle).double().numpy()
        depth, triangle, shares, margin = brute_force(
            surface, turn, np.array([0, 0, 5.0]), grid(32, 0.2).double().numpy()
        )
        sure = np.isfinite(depth) & (margin > 1e-4)
        wanted = surface.colour_at(triangle, shares)
        assert sure.sum() > 200
        np.testing.assert_allclose(found.albedo[0].numpy().T[sure], wanted[sure], atol=2e-3)


def test_the_engines_agree_ray_by_ray():
    trimesh = pytest.importorskip("trimesh")
    part = trimesh.util.concatenate([trimesh.creation.annulus(0.3, 0.6, 0.4),
                                     trimesh.creation.icosphere(2, 0.25).apply_translation([0.4, 0, 0.6])])  # fmt: skip
    surface = Surface(
        part.vertices, part.faces, np.random.default_rng(0).random((len(part.faces), 3, 3)).astype(np.float32)
    )
    rotations = so3.uniform(4, generator=test_generator(1)).float()
    translations = torch.tensor([[0.0, 0, 6]]).expand(4, 3)
    one, other = (MeshCaster(surface, engine=name).cast(rotations, translations, grid(96, 0.2)) for name in ENGINES)
    same = one.hit == other.hit
    assert same.float().mean() > 0.9999
    both = one.hit & other.hit
    for name in ("depth", "normal", "albedo"):
        a, b = (getattr(found, name) for found in (one, other))
        difference = (a - b).abs().amax(1) if a.dim() == 3 else (a - b).abs()
        assert (difference[both] < 1e-3).float().mean() > 0.999


@each_engine
@pytest.mark.parametrize("turned", [False, True])
def test_a_closed_body_has_no_pinholes_where_rays_meet_its_edges_exactly(engine, turned):
    """A box straight in front: many rays meet its diagonals, and those of its back behind them."""
    box = Surface.of(solid("cube").mesh(2.0))
    rays = grid(256, 0.1)
    turn = torch.eye(3)[[2, 0, 1]] if turned else torch.eye(3)
    found = MeshCaster(box, engine=engine).cast(turn[None], torch.tensor([[0.0, 0, 10.0]]), rays)
    half = 1 / 3**0.5
    inside = rays[:, :2].abs().amax(1) * (10 - half) < half * 0.999
    assert found.hit[0][inside].all()
    torch.testing.assert_close(found.depth[0][inside], torch.full((int(inside.sum()),), 10 - half))


@each_engine
def test_what_cannot_be_hit_is_left_out_and_what_cannot_be_rendered_is_said(engine):
    whole = plate()
    more = Surface(
        np.concatenate([whole.vertices, [[9.0, 9, 9]]]), np.concatenate([whole.triangles[:1], [[0, 0, 1], [3, 3, 3]]])
    )
    found = looking(more, engine)
    assert 0 < found.hit.float().mean() < 0.3
    for triangles, vertices, said in (
        (np.zeros((0, 3), np.int64), whole.vertices, "none of a mesh's 0 triangles"),
        (np.array([[0, 0, 1]]), whole.vertices, "none of a mesh's 1 triangles"),
        (np.array([[0, 1, 99]]), whole.vertices, "triangles of others"),
        (whole.triangles, whole.vertices * np.nan, "not finite"),
    ):
        with pytest.raises(MeshError, match=said) as error:
            looking(Surface(vertices, triangles), engine)
        assert "\n" not in str(error.value)


@each_engine
def test_a_camera_within_the_circumscribed_sphere_and_an_object_behind_it(engine):
    box = Surface.of(solid("cube").mesh(2.0))
    caster = MeshCaster(box, engine=engine)
    inside = caster.cast(torch.eye(3)[None], torch.zeros(1, 3), grid(8, 0.5))
    assert inside.hit.all() and torch.allclose(inside.depth, torch.tensor(1 / 3**0.5))
    assert torch.allclose(inside.normal[0, 2], torch.tensor(-1.0))  # turned to the camera
    assert not caster.cast(torch.eye(3)[None], torch.tensor([[0.0, 0, -5]]), grid(8)).hit.any()
    none = caster.cast(torch.zeros(0, 3, 3), torch.zeros(0, 3), grid(8))
    assert none.hit.shape == (0, 64) and none.albedo.shape == (0, 3, 64)
    assert caster.cast(torch.eye(3)[None], torch.zeros(1, 3), torch.zeros(0, 3)).hit.shape == (1, 0)


@each_engine
def test_200000_triangles_are_built_and_seen(engine):
    angle = np.linspace(0, 2 * math.pi, 448)
    u, v = np.meshgrid(angle[:-1], angle[:225], indexing="ij")
    vertices = np.stack([np.cos(u) * np.sin(v / 2), np.sin(u) * np.sin(v / 2), np.cos(v / 2)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(447), np.arange(224), indexing="ij")
    a, b, c, d = (((i + p) % 447 * 225 + j + q).reshape(-1) for p, q in ((0, 0), (1, 0), (1, 1), (0, 1)))
    surface = Surface(vertices, np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)]))
    assert len(surface.triangles) > 200_000
    found = looking(surface, engine, side=16)
    assert found.hit.any() and found.depth[found.hit].min() > 3.9


@each_engine
def test_batches_are_their_images_one_by_one_whatever_the_number_of_threads(engine):
    caster = MeshCaster(textured_cube()[0], engine=engine)
    rotations = so3.uniform(5, generator=test_generator(4)).float()
    translations, rays = torch.tensor([[0.0, 0, 5]]).expand(5, 3), grid(64, 0.2)
    together = caster.cast(rotations, translations, rays)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = caster.cast(rotations, translations, rays)
    finally:
        torch.set_num_threads(threads)
    for name in ("hit", "depth", "normal", "albedo"):
        alone = torch.cat([getattr(caster.cast(rotations[k : k + 1], translations[:1], rays), name) for k in range(5)])
        assert torch.equal(alone, getattr(together, name)) and torch.equal(alone, getattr(again, name))
    double = caster.cast(rotations.double(), translations.double(), rays.double())
    assert double.depth.dtype == torch.float64 and torch.equal(double.hit, together.hit)


def _hits(caster, answers):
    found = caster.cast(torch.eye(3).expand(3, 3, 3), torch.tensor([[0.0, 0, 5]]).expand(3, 3), grid(100, 0.2))
    answers.append(int(found.hit.sum()))


def _in_process(caster, pipe):
    torch.set_num_threads(1)  # as torch's own workers do: its threads do not survive a fork
    answers = []
    _hits(caster, answers)
    _hits(MeshCaster(textured_cube()[0], engine=caster.engine), answers)
    pipe.send(answers)


@each_engine
def test_threads_share_a_caster_that_none_has_used_yet(engine):
    caster, answers = MeshCaster(textured_cube()[0], engine=engine), []
    threads = [threading.Thread(target=_hits, args=(caster, answers)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(answers) == 4 and len(set(answers)) == 1 and answers[0] > 0


@each_engine
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_processes_cast_with_what_their_parent_has_used(engine, way):
    caster, answers = MeshCaster(textured_cube()[0], engine=engine), []
    _hits(caster, answers)
    context = multiprocessing.get_context(way)
    here, there = context.Pipe()
    process = context.Process(target=_in_process, args=(caster, there))
    process.start()
    try:
        assert here.poll(60), "the process does not answer"
        assert here.recv() == answers * 2
        process.join(20)
    finally:
        process.kill()
    assert process.exitcode == 0
    again = pickle.loads(pickle.dumps(caster))
    _hits(again, answers)
    assert again.engine == engine and answers[0] == answers[1]


def test_the_engine_is_chosen_by_the_device_and_its_absence_is_said(monkeypatch):
    assert engine_for(CPU) == "embree" and engine_for(torch.device("cuda")) == "warp"
    there = {"embreex", "warp"}
    monkeypatch.setattr(meshes.caster.importlib.util, "find_spec", lambda name: name in there or None)
    there.discard("embreex")
    assert engine_for(CPU) == "warp"
    there.clear()
    for device in (CPU, torch.device("cuda")):
        with pytest.raises(EngineError, match="pip install") as error:
            engine_for(device)
        assert "\n" not in str(error.value)
    with pytest.raises(EngineError, match="there is no engine 'opengl'"):
        MeshCaster(plate(), engine="opengl")


@each_engine
def test_one_closed_body_is_told_from_others(engine):
    box = Surface.of(solid("cube").mesh(2.0))
    moved = Surface(box.vertices + 3, box.triangles)
    two = Surface(np.concatenate([box.vertices, moved.vertices]), np.concatenate([box.triangles, box.triangles + 8]))
    closed = lambda surface: Tables.of(surface, 30.0).is_one_closed_body  # noqa: E731
    assert closed(box) and closed(Surface(box.corners.reshape(-1, 3), np.arange(36).reshape(12, 3)))
    assert not closed(two) and not closed(plate()) and not closed(Surface(box.vertices, box.triangles[1:]))
    assert not closed(Surface(box.vertices, box.triangles[:, ::-1]))


def test_warp_says_nothing_on_standard_output(capfd):
    looking(plate(), "warp")
    assert capfd.readouterr().out == ""


def test_pictures_of_a_mesh_are_those_of_the_solid():
    rotations = so3.uniform(3, generator=test_generator(6)).float()
    for name in ("cube", "cyl"):
        wanted, found = (render(shape, rotations, 64).int() for shape in (solid(name), MeshCaster(fine(name))))
        assert ((wanted - found).abs() > 3).float().mean() < 0.002
