"""Files from strangers run no code, open no other file, and take no more memory or time than their size warrants."""

import json
import os
import resource
import sys
import time

import numpy as np
import pytest
import trimesh
from safetensors import safe_open
from safetensors.torch import save_file

from lie_picard import CheckpointError
from lie_picard.geometry.mesh import Mesh, MeshError
from lie_picard.geometry.symmetry import Symmetry, SymmetryError
from lie_picard.model import checkpoint
from lie_picard.node import settings, table
from lie_picard.objects import catalogue

DEEP = "[" * 100_000
_opened: list[str] = []
_watching = False


def _hook(event, arguments):
    if _watching and event in ("open", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect"):
        _opened.append(f"{event} {arguments[0]}")


sys.addaudithook(_hook)


@pytest.fixture
def opened():
    """What Python opens, runs and connects to in a test."""
    global _watching
    _opened.clear()
    _watching = True
    yield _opened
    _watching = False


@pytest.fixture(autouse=True)
def bounded():
    """No test takes more than 20 s or half a gigabyte."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


def one_line(caught):
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


# --- checkpoints


@pytest.fixture(scope="module")
def weights():
    with safe_open(str(checkpoint.DEFAULT), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def hostile(folder, weights, **changes):
    tensors, metadata = weights
    path = folder / "hostile.safetensors"
    save_file(tensors, str(path), metadata | changes)
    return path


def configured(weights, **changes):
    return json.dumps(json.loads(weights[1]["config"]) | changes)


@pytest.mark.parametrize(
    "change",
    [{"width": 10**9}, {"width": 16_384}, {"depth": 10**9}, {"depth": 200}, {"features": 65_536}, {"image_size": 2**20},
     {"image_size": 4096}, {"degree": 10**6}, {"degree": 40}, {"copies": 1024}, {"width": "256"}, {"width": 256.0},
     {"objects": ["a"] * 100_000}, {"objects": [["a"]]}, {"objects": 5}, {"sigma_min": float("nan")},
     {"encoder": ["slim"]},     {"head": "__import__('os').system('true')"}, {"depth": -1}, {"distance": "far"}],
)  # fmt: skip
def test_a_checkpoint_that_promises_more_than_it_holds_is_refused_before_it_is_made(tmp_path, weights, change):
    path = hostile(tmp_path, weights, config=configured(weights, **change))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    one_line(caught)


@pytest.mark.parametrize(
    "change",
    [{"config": DEEP}, {"config": "[]"}, {"config": "null"}, {"training": DEEP}, {"training": "[1]"},
     {"calibration": DEEP}, {"calibration": '{"scale": "x"}'}, {"calibration": '{"scale": NaN}'},
     {"calibration": '{"evil": 1}'},     {"format": "other"}],
)  # fmt: skip
def test_a_checkpoint_with_hostile_metadata_is_one_line(tmp_path, weights, change):
    path = hostile(tmp_path, weights, **change)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    one_line(caught)
    assert isinstance(checkpoint.catalogue_of(path), str)


@pytest.mark.parametrize(
    "name", ["os", "lie_picard.cli", "__import__('os').system('true')", "../../etc/passwd", "x" * 10**6]
)
def test_a_catalogues_name_is_a_name_and_imports_nothing(tmp_path, weights, name, opened):
    path = hostile(tmp_path, weights, catalogue=name)
    before = set(sys.modules)
    assert not len(catalogue(checkpoint.catalogue_of(path)))
    assert set(sys.modules) == before and not [one for one in opened if not one.endswith(".safetensors")]


# --- meshes

BALL = trimesh.creation.icosphere(subdivisions=1, radius=0.05)


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../secret.mtl", "secret.mtl", "http://localhost:9/a.mtl", "file:///etc/passwd"]
)
def test_a_mesh_opens_no_file_but_itself(tmp_path, opened, place):
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd texture.png\n")
    Mesh.read(written(tmp_path / "warm.obj", BALL.export(file_type="obj").encode()))  # libraries are loaded here
    obj = written(tmp_path / "a.obj", f"mtllib {place}\nusemtl a\n".encode() + BALL.export(file_type="obj").encode())
    ply = written(
        tmp_path / "a.ply",
        BALL.export(file_type="ply").replace(
            b"element vertex", f"comment TextureFile {place}\nelement vertex".encode(), 1
        ),
    )
    opened.clear()
    assert len(Mesh.read(obj).triangles) == len(Mesh.read(ply).triangles) == len(BALL.faces)
    assert {one.split()[1] for one in opened} <= {str(obj), str(ply)}


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name", ["a.3mf", "a.zip", "a.gz", "a.ply.gz", "a.glb", "a.gltf", "a.dae", "a.xaml", "a", "a.obj.bz2"]
)
def test_archives_and_formats_that_refer_to_others_are_refused_by_name(tmp_path, name, opened):
    path = written(tmp_path / name, b"PK\3\4" + bytes(100))
    opened.clear()
    with pytest.raises(MeshError, match="no PLY, OBJ or STL") as caught:
        Mesh.read(path)
    one_line(caught)
    assert not opened


def endless(folder, suffix):
    """Files that never end, or that are larger than any memory."""
    os.mkfifo(folder / f"pipe{suffix}")
    (folder / f"zero{suffix}").symlink_to("/dev/zero")
    with (folder / f"large{suffix}").open("wb") as file:
        file.truncate(1 << 40)
    return [folder / f"{name}{suffix}" for name in ("pipe", "zero", "large")]


def test_pipes_devices_and_endless_files_are_refused(tmp_path):
    for suffix in (".ply", ".obj", ".stl"):
        for path in endless(tmp_path, suffix):
            with pytest.raises(MeshError) as caught:
                Mesh.read(path)
            one_line(caught)
    for path in endless(tmp_path, ".json"):
        with pytest.raises(SymmetryError) as caught:
            Symmetry.from_models_info(path, 1)
        one_line(caught)
    for path in endless(tmp_path, ".yaml"):
        with pytest.raises(ValueError, match="params file") as caught:
            settings.read_values(path)
        one_line(caught)


def test_faces_that_multiply_take_no_more_than_their_file(tmp_path):
    polygon = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n" + b"f " + b"1 2 3 " * 100_000 + b"\n"
    try:
        Mesh.read(written(tmp_path / "a.obj", polygon))
    except MeshError as error:
        assert "\n" not in str(error)


# --- models_info.json

TURN = [-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "content",
    [DEEP, '{"1": ' * 20_000, '{"1": {"symmetries_discrete": ' + DEEP, '{"1": {"diameter": ' + "9" * 5000 + "}}",
     json.dumps({"1": {"symmetries_discrete": [TURN] * 5_000}}),
     json.dumps({"1": {"symmetries_continuous": [{"axis": [0, 0, 1]}] * 5_000}}),
     json.dumps({str(k): {} for k in range(20_000)}), '{"x": {"symm' + "e" * 10**6 + '": 1}}'],
    ids=range(8),
)  # fmt: skip
def test_a_models_info_that_is_deep_or_long_is_one_line(tmp_path, content):
    path = tmp_path / "models_info.json"
    path.write_text(content)
    with pytest.raises(SymmetryError) as caught:
        Symmetry.from_models_info(path, "1" if '"1"' in content[:9] else "x")
    one_line(caught)


def test_generators_of_ever_more_rotations_end(tmp_path):
    """A thousand turns that close to no group."""
    random = np.random.default_rng(0)
    moves = []
    for _ in range(1000):
        move = np.eye(4)
        move[:3, :3] = np.linalg.qr(random.normal(size=(3, 3)))[0]
        move[:3, :3] *= np.sign(np.linalg.det(move[:3, :3]))
        moves.append(move.ravel().tolist())
    path = tmp_path / "models_info.json"
    path.write_text(json.dumps({"1": {"symmetries_discrete": moves}}))
    with pytest.raises(SymmetryError, match="generate more than"):
        Symmetry.from_models_info(path, "1")


# --- parameters files

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
)


@pytest.mark.parametrize(
    "content",
    ["/**:\n  ros__parameters:\n    checkpoint: !!python/object/apply:os.system ['touch ran']\n",
     "/**:\n  ros__parameters:\n    objects: !!python/object/new:subprocess.Popen [['touch', 'ran']]\n",
     "!!python/object/apply:os.system ['touch ran']\n", LAUGHS, "/**:\n  ros__parameters:\n    x: &x [1]\n    y: *x\n",
     "/**: " + "{a: " * 20_000, "/**: " + "[" * 20_000, "a: " * 20_000,
     "/**:\n  ros__parameters:\n    samples: " + "9" * 10**5,
     "/**:\n  ros__parameters: {" + "a: 1, " * 1_000 + "}\n", "? [1, 2]\n: 3\n", "%YAML 9.9\n---\na: 1\n", "\0\1\2"],
    ids=range(13),
)  # fmt: skip
def test_a_parameters_file_runs_nothing_and_ends(tmp_path, monkeypatch, content, opened):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text(content)
    opened.clear()
    with pytest.raises(ValueError, match=r"params file|parameter") as caught:
        settings.settings_of(table.checked(settings.read_values(path)))
    one_line(caught)
    assert not (tmp_path / "ran").exists()
    assert all(str(path) in one or one.startswith("open") for one in opened)
