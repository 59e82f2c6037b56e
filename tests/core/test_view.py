"""The page of `lie-picard view`: what it shows is what was estimated, and it needs nothing but itself."""

import base64
import hashlib
import json
import math
import re
import urllib.request

import browsers
import cv2
import numpy as np
import pytest
import torch
import yaml
from bags import parameters, write

from lie_picard import cli, so3
from lie_picard.drawing.distribution import rotation_coordinates
from lie_picard.messages.images import ImageError
from lie_picard.node.pipeline import Pipeline
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.rendering.clean import Crop, render
from lie_picard.view.page import page, script
from lie_picard.view.scene import points
from lie_picard.view.server import SceneServer

EVIL = "</script><script>alert(1)</script>\" onload='x'\x00\ud800"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A cube that fills the image."""
    rotation = so3.exp(torch.tensor([[0.5, 0.4, 0.2]]))
    pixels = render(catalogue(BUILT_IN)["cube"], rotation, 160, Crop(), 2)[0].numpy()
    file = tmp_path_factory.mktemp("photo") / "cube.png"
    cv2.imwrite(str(file), pixels[..., ::-1])
    return file


def scenes_of(text):
    """The scenes that a page holds, as a browser reads them."""
    from html.parser import HTMLParser

    found = []

    class Looks(HTMLParser):
        def handle_starttag(self, tag, attributes):
            values = dict(attributes)
            if values.get("class") == "look":
                found.extend(json.loads(values["data-scenes"]))

    Looks().feed(text)
    return found


def view(*words):
    return cli.main(["view", *map(str, words), "--no-open"])


@pytest.fixture(scope="module")
def cube_page(photo):
    output = photo.with_name("view.html")
    assert view(photo, "--object", "cube", "--whole", "--samples", 48, "--output", output) == 0
    return output


def test_points_and_hues_are_those_of_the_printed_map(generator):
    rotations = so3.uniform(50, generator=generator, dtype=torch.float64)
    longitude, latitude, _ = rotation_coordinates(rotations)
    places = np.array([one["at"] for one in points(rotations)])
    expected = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], 1
    )
    np.testing.assert_allclose(places, expected, atol=2e-4)
    assert all(re.fullmatch("#[0-9a-f]{6}", one["hue"]) for one in points(rotations))


def test_the_page_of_an_image_holds_what_the_estimator_says(cube_page, photo, estimator):
    (scene,) = scenes_of(cube_page.read_text())
    (thing,) = scene["objects"]
    assert scene["caption"] == photo.name and (scene["width"], scene["height"]) == (160, 160)
    assert thing["name"] == "cube" and thing["ambiguity"] == "discrete set" and thing["count"] == 48
    assert math.isclose(sum(mode["weight"] for mode in thing["modes"]), 1, abs_tol=1e-6)
    assert len(thing["samples"]) == 48
    for mode in thing["modes"]:
        rim = np.array(mode["rim"]).reshape(-1, 2)
        assert len(rim) >= 8 and rim.min() > 0 and rim.max() < 160  # the silhouette, within the image
    # The outline encloses the cube: its box is the box of what is bright.
    bright = np.argwhere(cv2.imread(str(photo), 0) > 20)[:, ::-1]
    rim = np.array(thing["modes"][0]["rim"]).reshape(-1, 2)
    np.testing.assert_allclose(rim.min(0), bright.min(0), atol=4)
    np.testing.assert_allclose(rim.max(0), bright.max(0) + 1, atol=4)


def test_the_page_lets_nothing_run_but_its_own_script():
    text = page([{"caption": EVIL, "objects": []}], EVIL)
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and text.count("<script") == 1
    assert "default-src 'none'" in text and "connect-src" not in text
    assert f"<script>{script()}</script>" in text
    assert scenes_of(text)[0]["caption"] == EVIL
    assert not re.search(r"(src|href)=[\"']?(http|//)", text)
    assert "connect-src 'self'" in page([], "live", "scene")


def test_a_recording_is_shown_evenly_spread(tmp_path):
    bag, params = write(tmp_path / "bag", frames=7), parameters(tmp_path)
    output = tmp_path / "view.html"
    assert view(bag, "--params", params, "--images", 4, "--output", output) == 0
    scenes = scenes_of(output.read_text())
    assert len(scenes) == 4 and [len(one["objects"]) for one in scenes] == [2] * 4
    first, second = (float(one["caption"].split(", ")[1].split()[0]) for one in scenes[:2])
    assert first == 0 and second > 0


def test_results_as_json(photo, tmp_path, capsys):
    words = [photo, "--object", "cube", "--whole", "--samples", 8, "--output", tmp_path / "a.html", "--json", "-"]
    assert view(*words) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["images"][0]["objects"]) == ["cube"]


def test_a_calibration_turns_pixels_into_rays(photo, tmp_path):
    matrix = [400.0, 0, 79.5, 0, 400.0, 79.5, 0, 0, 1]
    given = {"image_width": 160, "image_height": 160, "camera_matrix": {"data": matrix},
             "distortion_coefficients": {"data": [0.0] * 5}, "distortion_model": "plumb_bob"}  # fmt: skip
    file = tmp_path / "camera.yaml"
    file.write_text(yaml.safe_dump(given))
    words = [photo, "--object", "cube", "--whole", "--samples", 8, "--output", tmp_path / "a.html"]
    assert view(*words, "--camera-calibration", file) == 0
    file.write_text(yaml.safe_dump(given | {"image_width": 640}))
    assert view(*words, "--camera-calibration", file) == 2


def test_a_lens_that_bends_lines_bends_outlines(photo, tmp_path):
    matrix, bent = [200.0, 0, 79.5, 0, 200.0, 79.5, 0, 0, 1], [0.4, 0, 0, 0, 0]
    rims = []
    for k, numbers in enumerate(([0.0] * 5, bent)):
        file, output = tmp_path / f"{k}.yaml", tmp_path / f"{k}.html"
        given = {"image_width": 160, "image_height": 160, "camera_matrix": {"data": matrix},
                 "distortion_coefficients": {"data": numbers}, "distortion_model": "plumb_bob"}  # fmt: skip
        file.write_text(yaml.safe_dump(given))
        words = [photo, "--object", "cube", "--whole", "--samples", 8, "--output", output]
        assert view(*words, "--camera-calibration", file) == 0
        rims.append(scenes_of(output.read_text())[0]["objects"][0]["modes"][0]["rim"])
    assert rims[0] != rims[1]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ([], "--topic"),
        (["nothing.png", "--object", "cube"], "no such file"),
        (["{text}", "--object", "cube"], "PNG or JPEG"),
        (["{photo}"], "--object NAME"),
        (["{photo}", "--object", "cube", "--fov", "200"], "between 0 and 170"),
        (["{photo}", "--object", "cube", "--camera-calibration", "{text}"], "camera_calibration"),
        (["{photo}", "--object", "cube", "--set", "sampels=3"], "NAME=VALUE"),
        (["{photo}", "{folder}", "--object", "cube"], "one recording"),
        (["{folder}", "--object", "cube"], "{folder}"),
        (["{photo}", "--object", "cube", "--camera-calibration", "{folder}"], "{folder}"),
        (["{photo}", "--object", "cube", "--output", "{folder}"], "give a file"),
        (["{photo}", "--object", "cube", "--checkpoint", "~nobody-of-that-name/x"], "~nobody-of-that-name/x"),
    ],
)
def test_bad_input_gets_one_line(words, remedy, photo, tmp_path, capsys):
    text = tmp_path / "text.png"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()
    known = {"photo": photo, "text": text, "folder": tmp_path / "empty"}
    output = tmp_path / "view.html"
    words = [word.format(**known) for word in words]
    assert view(*words, *([] if "--output" in words else ["--output", output])) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and remedy.format(**known) in said
    assert not output.exists()


def ask(address):
    with urllib.request.urlopen(address, timeout=browsers.PATIENCE_S) as answer:
        return answer.status, answer.read()


def test_the_server_gives_the_newest_scene_once(monkeypatch):
    monkeypatch.setattr("lie_picard.view.server._WAIT_S", 0.05)
    server = SceneServer("live")
    try:
        assert b'data-live="scene"' in ask(server.address)[1]
        assert ask(f"{server.address}scene?after=0") == (204, b"")
        for caption in ("one", "two"):
            server.show({"caption": caption, "objects": []})
        status, body = ask(f"{server.address}scene?after=0")
        told = json.loads(body)
        assert status == 200 and told["scene"]["caption"] == "two"
        assert ask(f"{server.address}scene?after={told['number']}")[0] == 204
        assert json.loads(ask(f"{server.address}scene?after=999")[1])["number"] == told["number"]  # of another run
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(f"{server.address}../etc/passwd")
    finally:
        server.close()


def test_the_server_answers_nobody_who_names_another_host():
    """Else a page from elsewhere, whose name is made to lead here, could read what the camera sees."""
    server = SceneServer("live")
    try:
        server.show({"caption": "one", "objects": []})
        for host in ("evil.example", "evil.example:80", "[bad", ""):
            request = urllib.request.Request(f"{server.address}scene?after=0", headers={"Host": host})
            with pytest.raises(urllib.error.HTTPError, match=r"40[03]"):
                urllib.request.urlopen(request, timeout=browsers.PATIENCE_S)
        for host in ("localhost", "127.0.0.1:1", "LOCALHOST"):
            request = urllib.request.Request(f"{server.address}scene?after=0", headers={"Host": host})
            assert urllib.request.urlopen(request, timeout=browsers.PATIENCE_S).status == 200
        assert ask(f"{server.address}scene?after={'9' * 5000}")[0] == 200  # no number that is a scene's
    finally:
        server.close()


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_cannot_be_is_named(port):
    with pytest.raises(ValueError, match="from 0 to 65535"):
        SceneServer("live", port=port)


def test_an_image_of_a_recording_that_cannot_be_used_is_left_out(tmp_path, capsys, monkeypatch):
    bag, params = write(tmp_path / "bag", frames=5), parameters(tmp_path)
    decode, calls = Pipeline.decode, []

    def spoilt(self, *arguments):
        calls.append(1)
        if len(calls) in (2, 3):
            raise ImageError("a bad image")
        return decode(self, *arguments)

    monkeypatch.setattr(Pipeline, "decode", spoilt)
    output = tmp_path / "view.html"
    assert view(bag, "--params", params, "--output", output) == 0
    assert len(scenes_of(output.read_text())) == 3
    assert "and 1 more: left out: a bad image" in capsys.readouterr().err


@browsers.needed
def test_in_a_browser_modes_are_found_again_everywhere(cube_page):
    with browsers.Page(cube_page.as_uri()) as shown:
        rows, globe = shown.all(".look .mode"), shown.one("svg.globe")
        assert rows and len(shown.all("svg.image g[data-mode]")) >= len(rows)
        shown.point_at(rows[1])
        hot = shown.all(".hot")
        assert {one.get_attribute("data-mode") for one in hot} == {"0.1"}
        assert sorted(one.tag_name for one in hot) == ["circle", "div", "g"]
        # The globe turns with the mouse and the keys, and back.
        disc = shown.one("svg.globe circle[data-mode='0.0']")
        place = lambda: (float(disc.get_attribute("cx")), float(disc.get_attribute("cy")))  # noqa: E731
        before = place()
        shown.drag(globe, 90, 30)
        turned = place()
        assert math.dist(before, turned) > 0.05
        globe.send_keys("\ue012")  # arrow to the left
        assert math.dist(turned, place()) > 0.01
        shown.one("button.reset").click()
        assert place() == before
        # An object is hidden and shown.
        shown.one(".look h4 input").click()
        assert not shown.all("svg.image g[data-mode]") and not shown.all("svg.globe circle[data-mode]")
        shown.one(".look h4 input").click()
        assert shown.all("svg.image g[data-mode]")
        assert shown.complaints() == []


@browsers.needed
def test_in_a_browser_one_goes_through_a_recording(tmp_path):
    bag, params = write(tmp_path / "bag", frames=3), parameters(tmp_path)
    output = tmp_path / "view.html"
    assert view(bag, "--params", params, "--output", output) == 0
    with browsers.Page(output.as_uri()) as shown:
        first = shown.one(".caption").text
        shown.one("button.on").click()
        assert shown.one(".caption").text != first and "2 of 3" in shown.one(".bar").text
        shown.one("button.back").click()
        assert shown.one(".caption").text == first and shown.complaints() == []


@browsers.needed
def test_in_a_browser_the_live_page_follows_the_server(cube_page):
    (scene,) = scenes_of(cube_page.read_text())
    server = SceneServer("live")
    try:
        with browsers.Page(server.address) as shown:
            for caption in ("first", "second"):
                server.show(scene | {"caption": caption})
                shown.wait(lambda caption=caption: shown.one(".caption").text == caption)
            assert shown.all("svg.image g[data-mode]") and shown.complaints() == []
            server.close()
            shown.wait(lambda: "does not answer" in shown.one(".caption").text)
    finally:
        server.close()


@browsers.needed
def test_in_a_browser_the_report_shows_its_worst_images_in_the_same_way(tmp_path):
    bag, params = write(tmp_path / "bag", frames=2), parameters(tmp_path)
    words = ["evaluate-bag", str(bag), "--params", str(params), "--output", str(tmp_path / "out"), "--no-annotate"]
    assert cli.main(words) == 0
    with browsers.Page((tmp_path / "out" / "report.html").as_uri()) as shown:
        assert len(shown.all(".look svg.globe")) == len(shown.all(".worst")) == 2
        assert shown.all(".look svg.image path[stroke='#fff']")  # the truth
        assert shown.complaints() == []
