"""docs/own_object.md: every command of `lie-picard` on the page, one after the other, shortened; names of the rest."""

import itertools
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
import yaml
from few import few_images
from rosbags.highlevel import AnyReader

from lie_picard import cli
from lie_picard.evaluation.accuracy import EvaluationOptions
from lie_picard.messages.read import rotation_of
from lie_picard.node import settings
from lie_picard.objects import BUILT_IN, OWN, catalogue
from lie_picard.recording import rendered
from lie_picard.rendering.clean import BACKGROUND

pytest.importorskip("skimage")
PAGE = Path(__file__).parents[2] / "docs" / "own_object.md"
# What is appended to each: fewer images, smaller batches.
SHORT = {
    "train": "--images 24 --validate-every 2 --set training.batch=8 --set training.rotations=2 --set data.together=2 "
    "--set data.parts=0",
    "evaluate": "--images 2 --samples 4 --recall-images 1",
    "render": "--images 3 --width 96 --height 96",
    "evaluate-bag": "--set samples=8",
    "view": "--samples 8 --no-open",
}


def commands(text):
    """The lines of the page's blocks."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def bracket(tmp_path_factory):
    """A folder with a mesh, as a user has it."""
    folder = tmp_path_factory.mktemp("own")
    parts = [trimesh.creation.box(size) for size in ((60, 40, 6), (6, 40, 45))]
    parts[1].apply_translation((-27, 0, 19))
    trimesh.boolean.union(parts).export(folder / "bracket.stl")
    return folder


def test_every_command_of_the_page_does_what_it_says(bracket, monkeypatch, capsys):
    monkeypatch.chdir(bracket)
    monkeypatch.setenv("LIE_PICARD_OBJECTS", str(bracket / "objects"))
    few_images(monkeypatch, EvaluationOptions(images=2, samples=2, recall_images=1, recall_samples=4))
    done = []
    for line in commands(PAGE.read_text()):
        name, *words = shlex.split(line)
        if name != "lie-picard":
            continue
        if "my_bag" in words:  # stands for the user's own
            shutil.copytree("trial", "my_bag")
            shutil.copy("trial.yaml", "my_part.yaml")
            shutil.rmtree("report")
        assert cli.main([*words, *shlex.split(SHORT.get(words[0], ""))]) == 0, line
        done.append(words[0])
        capsys.readouterr()
    assert {"object", "train", "evaluate", "render", "evaluate-bag", "view"} == set(done)
    assert (bracket / "objects" / "bracket" / "part.png").is_file() and (bracket / "bracket.live.png").is_file()
    frames = json.loads((bracket / "report" / "report.json").read_text())["frames"]
    assert len(frames) == 3 and all(frame["state"] == "scored" for frame in frames)


def test_what_the_page_says_of_launch_files_is_declared_there():
    launch = PAGE.parents[1] / "launch"
    for line in commands(PAGE.read_text()):
        words = shlex.split(line)
        if words[:2] == ["ros2", "launch"]:
            text = (launch / words[3]).read_text()
            given = [word.partition(":=")[0] for word in words[4:]]
            assert given and all(f'"{name}"' in text for name in given), line


def test_a_rendered_recording_is_what_its_parameters_say(tmp_path):
    """Regions hold the objects, poses turn about their places, colours are there, nothing is written over."""
    known = catalogue(BUILT_IN).joined(catalogue(OWN))
    what = rendered.Turning([known["cube"], known["sphereX"], known["tetX"]], 4, 320, 200)
    parameters = rendered.write(tmp_path / "three", what, seed=3)
    chosen = settings.settings_of(settings.read_values(parameters))
    values = yaml.safe_load(parameters.read_text())["/**"]["ros__parameters"]
    assert values["objects"] == ["cube", "sphereX", "tetX"] and len(chosen.targets) == 3
    boxes = np.array(values["regions"]).reshape(3, 4)
    images, turns, dark = [], [], round(BACKGROUND * 255)
    with AnyReader([tmp_path / "three"]) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/image":
                images.append(message.data.reshape(200, 320, 3))
            elif connection.topic == "/tf":
                turns.append([rotation_of(one.transform.rotation) for one in message.transforms])
    assert len(images) == len(turns) == 4
    for image in images:
        outside = image.copy()
        for x, y, width, height in boxes:
            assert image[int(y) : int(y + height), int(x) : int(x + width)].max() > 100
            outside[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = dark
        assert (outside == dark).all()
    assert any((image[..., 0].astype(int) - image[..., 1]).max() > 50 for image in images)  # red
    for before, after in itertools.pairwise(turns):
        angles = [np.degrees(np.arccos((np.trace(a.T @ b) - 1) / 2)) for a, b in zip(before, after, strict=True)]
        assert all(0.5 < angle < 3.1 for angle in angles)  # 20 +- 9 degrees a second, ten images a second
    with pytest.raises(FileExistsError, match="three"):
        rendered.write(tmp_path / "three", what)
