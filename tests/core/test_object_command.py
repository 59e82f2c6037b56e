"""`lie-picard object`: a mesh file becomes a folder that the rest reads; nothing is guessed, nothing half written."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from lie_picard.cli import main
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.node import settings, table
from lie_picard.objects import OWN, catalogue, folder


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LIE_PICARD_OBJECTS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module")
def brick(tmp_path_factory):
    """A box of 40 x 60 x 120 mm, far off the file's origin."""
    box = trimesh.creation.box((40, 60, 120))
    box.apply_translation((500, 0, -100))
    file = tmp_path_factory.mktemp("part") / "brick.stl"
    box.export(file)
    return file


@pytest.fixture(scope="module")
def once(brick):
    """The brick as an object, made once: to find symmetries takes seconds."""
    store = brick.with_name("made")
    assert main(["object", "add", str(brick), "--unit", "mm", "--colour", "#ff8000", "--store", str(store)]) == 0
    return store


@pytest.fixture
def added(store, once):
    """A store that has the brick."""
    shutil.copytree(once, store)
    return store


DIAMETER = float(np.linalg.norm((0.04, 0.06, 0.12)))


def test_a_part_is_added_shown_listed_checked_and_removed(store, brick, capsys):
    assert main(["object", "add", str(brick), "--unit", "mm"]) == 0
    said = capsys.readouterr().out
    assert "brick" in said and "mm, as given" in said and "D2" in said
    place = store / "brick"
    assert {one.name for one in place.iterdir()} == {folder.HEAD, folder.MESH, folder.INFO, folder.PICTURE}
    part = folder.read(place)
    assert part.diameter == pytest.approx(DIAMETER, rel=1e-5)
    np.testing.assert_allclose(np.abs(part.surface.vertices).max(0), (0.02, 0.03, 0.06), atol=1e-7)
    np.testing.assert_allclose(part.origin, (-0.5, 0, 0.1), atol=1e-6)
    assert len(part.symmetry.rotations) == 4
    entry = json.loads((place / folder.INFO).read_text())["1"]
    assert entry["name"] == "brick" and entry["diameter"] == pytest.approx(1e3 * DIAMETER, rel=1e-5)
    assert (entry["size_x"], entry["min_z"]) == (pytest.approx(40), pytest.approx(-60))
    assert len(Symmetry.from_models_info(place / folder.INFO, "brick", DIAMETER).rotations) == 4
    assert cv2.imread(str(place / folder.PICTURE)).std() > 10
    for words in (["show", "brick"], ["check", "brick"], ["list"]):
        assert main(["object", *words]) == 0
        assert "brick" in capsys.readouterr().out
    assert main(["object", "list", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"][0]["id"] == "brick"
    assert main(["object", "remove", "brick"]) == 2 and place.exists()  # nobody can be asked
    assert main(["object", "remove", "brick", "--yes"]) == 0 and not place.exists()


@pytest.mark.parametrize(("more", "why"), [
    ([], "says nothing of its unit"), (["--unit", "m"], "0.14 m if in mm"), (["--diameter", "0.3"], "correct"),
    (["--unit", "mm", "--id", "cube"], "embedded model's"), (["--unit", "mm", "--id", "../brick"], "cannot be"),
    (["--unit", "mm", "--symmetry", "C6"], "write C6@z"), (["--unit", "mm", "--symmetry-tolerance", "2"], "share"),
    (["--unit", "mm", "--symmetry", "C2@z", "--no-symmetry"], "exclude"),
])  # fmt: skip
def test_what_is_not_clear_is_one_line_and_writes_nothing(store, brick, capsys, more, why):
    assert main(["object", "add", str(brick), *more]) == 2
    refused = capsys.readouterr().err
    assert why in refused and len(refused.strip().splitlines()) == 1
    assert not store.exists() or not list(store.iterdir())


def test_an_object_that_is_there_stays_unless_it_may_be_replaced(store, brick, capsys):
    add = ["object", "add", str(brick), "--unit", "mm", "--no-symmetry"]
    assert main(add) == 0
    assert main([*add[:-1], "--symmetry", "C2@z"]) == 2 and "there is an object" in capsys.readouterr().err
    assert folder.read(store / "brick").symmetry.is_trivial
    assert main([*add[:-1], "--symmetry", "C2@z", "--replace"]) == 0
    assert len(folder.read(store / "brick").symmetry.rotations) == 2


def test_symmetries_that_are_given_count_and_those_that_do_not_hold_are_said(store, brick, tmp_path, capsys):
    turn = np.eye(4)
    turn[:3, :3] = np.diag([-1, -1, 1])
    turn[:3, 3] = (1000, 0, 0)  # half a turn about z through x = 500 mm, in the file's frame
    info = tmp_path / "models_info.json"
    info.write_text(json.dumps({"7": {"symmetries_discrete": [turn.ravel().tolist()]}}))
    assert main(["object", "add", str(brick), "--unit", "mm", "--models-info", str(info), "--key", "7"]) == 0
    found = folder.read(store / "brick").symmetry
    assert len(found.rotations) == 2
    np.testing.assert_allclose(found.centre, 0, atol=1e-6)
    capsys.readouterr()
    assert main(["object", "add", str(brick), "--unit", "mm", "--id", "wrong", "--symmetry", "C4@z"]) == 0
    assert "warning: a symmetry that was given does not hold" in capsys.readouterr().out
    assert main(["object", "check", "wrong"]) == 1
    assert "does not hold" in capsys.readouterr().out


def test_a_folder_that_is_no_objects_is_never_replaced(tmp_path, capsys):
    folder_of_mine = tmp_path / "store" / "box"
    folder_of_mine.mkdir(parents=True)
    trimesh.creation.box((40, 60, 120)).export(folder_of_mine / "box.stl")
    (folder_of_mine / "notes.txt").write_text("precious")
    words = ["object", "add", str(folder_of_mine / "box.stl"), "--unit", "mm", "--store", str(tmp_path / "store")]
    for more in ([], ["--replace"]):
        assert main([*words, *more]) == 2
        assert "no object's folder" in capsys.readouterr().err
    assert sorted(one.name for one in folder_of_mine.iterdir()) == ["box.stl", "notes.txt"]


def test_an_object_survives_a_replacement_that_fails(added, monkeypatch):
    part = folder.read(added / "brick")
    monkeypatch.setattr(folder, "_bop_entry", lambda one: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folder.write(part, added / "brick")
    monkeypatch.undo()
    rename = Path.rename

    def failing(self, target):
        if self.name.endswith(".partial"):
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space"):
        folder.write(part, added / "brick")
    monkeypatch.undo()
    assert folder.read(added / "brick").diameter == part.diameter
    assert [one.name for one in added.iterdir()] == ["brick"]


@pytest.mark.parametrize(("words", "why"), [
    (["--symmetry", "C0@z"], "1 or more"),
    (["--models-info", "{info}", "--key", "7"], "in millimetres"),
])  # fmt: skip
def test_symmetries_that_cannot_be_are_refused(store, brick, tmp_path, capsys, words, why):
    info = tmp_path / "models_info.json"
    turn = np.diag([-1.0, -1, 1, 1])
    turn[:3, 3] = (9000, 0, 0)  # far beside the part
    info.write_text(json.dumps({"7": {"symmetries_discrete": [turn.ravel().tolist()]}}))
    words = [word.format(info=info) for word in words]
    assert main(["object", "add", str(brick), "--unit", "mm", *words]) == 2
    assert why in capsys.readouterr().err and not store.exists()


def test_a_file_whose_name_makes_no_id_is_told_of_the_option(store, brick, tmp_path, capsys):
    shutil.copy(brick, tmp_path / "部品.stl")
    assert main(["object", "add", str(tmp_path / "部品.stl"), "--unit", "mm"]) == 2
    assert "--id" in capsys.readouterr().err


def test_a_folder_that_was_renamed_is_named(added, capsys):
    (added / "brick").rename(added / "copy")
    with pytest.raises(folder.FolderError, match="holds the object 'brick'"):
        folder.read(added / "copy")


def test_a_folder_is_read_on_another_machine_and_a_damaged_one_is_named(added, tmp_path, capsys):
    store, other = added, tmp_path / "elsewhere"
    shutil.copytree(store, other)
    part = folder.read(other / "brick")
    np.testing.assert_allclose(part.surface.colours[0, 0], (1, 0.5, 0), atol=0.01)
    for name, content in (("object.toml", "id = 'x"), ("object.toml", "id = '../x'\ndiameter = 1.0"),
                          ("object.toml", "id = 'brick'\ndiameter = 0.3"), ("mesh.glb", "no mesh"),
                          ("models_info.json", "{}")):  # fmt: skip
        shutil.rmtree(other)
        shutil.copytree(store, other)
        (other / "brick" / name).write_text(content)
        with pytest.raises(folder.FolderError) as refused:
            folder.read(other / "brick")
        assert "\n" not in str(refused.value)
    capsys.readouterr()
    assert main(["object", "check", "nowhere"]) == 2 and "brick" in capsys.readouterr().err


def test_the_node_s_settings_know_what_was_added(added):
    store = added
    assert list(catalogue(OWN)) == ["brick"]
    values = {name: entry.default for name, entry in table.TABLE.items()}
    found = settings.settings_of(values | {"objects": ["brick"], "diameters": [0.0]})
    assert found.targets[0].diameter == pytest.approx(DIAMETER, rel=1e-5)
    assert len(found.symmetries["brick"].rotations) == 4
    mesh = found.meshes["brick"]
    assert mesh.diameter == pytest.approx(DIAMETER, rel=1e-5) and mesh.file == str(store / "brick" / folder.MESH)
    with pytest.raises(ValueError, match="'spoon' is of any size"):
        settings.settings_of(values | {"objects": ["spoon"], "diameters": [0.0]})
    with pytest.raises(ValueError, match="'cube' is of any size"):  # the embedded solids have no size of their own
        settings.settings_of(values | {"objects": ["cube"], "diameters": [0.0]})
