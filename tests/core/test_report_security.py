"""Names from strangers put nothing into the report but text, and nothing anywhere but into the output folder."""

import copy
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from bags import parameters, write
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from test_catalogue import Egg

from lie_picard import cli
from lie_picard.data.symsol_files import DatasetError
from lie_picard.data.symsol_files import write as write_split
from lie_picard.evaluation.tables import markdown
from lie_picard.files import atomic_write, file_name
from lie_picard.recording import html
from lie_picard.recording.worst import Picture

HARMLESS = "harmless"
EVIL = [
    "<script>alert(1)</script>",
    "</title></style></table><script src=//evil.example/x.js></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    'x" onmouseover=alert(1) x="',
    "<!--",
    "]]><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% for x in result %}",
    "&lt;script&gt;&#60;script&#62;",
    "javascript:alert(1)",
    "\x00<script\x00>alert(1)</script\x00>",
    "\ud800<script>\udfff",
    "＜script＞ \N{RIGHT-TO-LEFT OVERRIDE}",
    "$\\frac{",
    "$$",
    "_",
    "<b>" * 300,
]
VOID = {"meta", "img"}


class Elements(HTMLParser):
    """Every element with its attributes' names, the text, and what could load or run something."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.sources, self.titles = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, [name for name, _ in attributes]))
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        self.titles += [value for name, value in attributes if name == "title"]

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.elements.append(("comment", data))

    def unknown_decl(self, data):
        self.elements.append(("declaration", data))

    def handle_pi(self, data):
        self.elements.append(("instruction", data))


def parsed(text):
    found = Elements()
    found.feed(text)
    found.close()
    return found


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """What a run of the command knows, of objects that are known by no other names."""
    folder = tmp_path_factory.mktemp("plain")
    bag, params = write(folder / "bag", frames=2), parameters(folder, samples=4)
    words = [bag, "--params", params, "--output", folder / "out", "--no-annotate"]
    assert cli.main(["evaluate-bag", *map(str, words)]) == 0
    return json.loads((folder / "out" / "report.json").read_text())


def renamed(result, name):
    """The same with the name wherever a stranger chooses one."""
    result = copy.deepcopy(result)
    for bag in result["bags"]:
        bag |= {"bag": f"/{name}", "name": name, "problems": [f"no true pose of '{name}'", name]}
    result["bags"].append({"bag": name, "problem": f"{name}: not a recording"})
    for row in [*result["rows"][:-1], *result["frames"]]:
        row["object"] = f"{name}-{row['object']}"
    for record in result["frames"]:
        record["bag"] = name
    result["settings"]["checkpoint"] = name
    result["processes"] = name
    result["machine"]["processor"] = name
    result["milliseconds"] = {f"{stage}-{name}": values for stage, values in result["milliseconds"].items()}
    result["complete"] = False
    worst = [Picture(result["frames"][0], 1.0, *[np.zeros((4, 4, 3), np.uint8)] * 2)]
    return parsed(html.render(result, worst))


@pytest.fixture(scope="module")
def plain(result):
    return renamed(result, HARMLESS)


@pytest.mark.parametrize("name", EVIL, ids=range(len(EVIL)))
def test_a_name_is_text_in_the_report_and_no_element(result, plain, name, monkeypatch):
    monkeypatch.setattr(html, "_inline", lambda figure: "data:image/png;base64,")  # drawing takes its time
    found = renamed(result, name)
    assert found.elements == plain.elements
    assert all(source.startswith("data:image/") for source in found.sources) and found.sources
    shown = html._printable(name)
    assert "".join(found.text).count(shown) >= "".join(plain.text).count(HARMLESS)
    assert found.titles == [title.replace(HARMLESS, shown) for title in plain.titles]
    "".join(found.text).encode()  # can be written


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", ["\x00\ud800", "$\\frac{", "_"], ids=["unprintable", "formula", "hidden"])
def test_plots_show_any_name(result, plain, name, monkeypatch):
    legends = []

    def drawn(figure):
        figure.canvas.draw()
        legends.extend(
            text.get_text() for axes in figure.axes if (legend := axes.get_legend()) for text in legend.texts
        )
        return "data:image/png;base64,"

    monkeypatch.setattr(html, "_inline", drawn)
    assert renamed(result, name).elements == plain.elements
    assert any(text.strip().startswith(html._printable(name)) for text in legends)


def test_the_report_lets_a_browser_run_one_script_alone_and_load_nothing(result):
    text = html.render(result, [])
    assert "script" not in {tag for tag, _ in parsed(text).elements}  # nothing to turn
    assert "default-src 'none'" in text[: text.index("<title>")]
    worst = [Picture(result["frames"][0], 1.0, *[np.zeros((4, 4, 3), np.uint8)] * 2, {"caption": EVIL[0]})]
    text = html.render(result, worst)
    assert [tag for tag, _ in parsed(text).elements].count("script") == 1
    allowed = re.findall(r"script-src ([^;\"]*)", text)
    assert len(allowed) == 1 and re.fullmatch(r"'sha256-[A-Za-z0-9+/=]+'", allowed[0])


def test_a_run_with_evil_names_writes_a_report_without_their_elements(tmp_path, result):
    evil = EVIL[0]
    bag = write(tmp_path / ("x" * 241 + "><script>"), frames=2)
    params = parameters(tmp_path, samples=4)
    values = yaml.safe_load(params.read_text())
    values["/**"]["ros__parameters"]["objects"] = ["../../cube", evil]
    params.write_text(yaml.safe_dump(values))
    output = tmp_path / "a" / "out"
    truth = ["../../cube=truth/cube", f"{evil}=truth/cone"]
    words = ["evaluate-bag", str(bag), "--params", str(params), "--output", str(output), "--truth", *truth]
    before = everything(tmp_path)
    assert cli.main(words) == 0
    scored = json.loads((output / "report.json").read_text())["frames"]
    assert [record["object"] for record in scored] == ["../../cube", evil] * 2
    found = parsed((output / "report.html").read_text())
    tags = [tag for tag, _ in found.elements]
    assert not {"b", "svg"} & set(tags) and tags.count("script") == 1 and evil in "".join(found.text)
    assert {path for path in everything(tmp_path) - before if output not in path.parents} <= {output, output.parent}
    assert [path.name for path in output.glob("*-annotated")]


def everything(folder):
    return {Path(root) / name for root, folders, files in os.walk(folder) for name in [*folders, *files]}


NAMES = ["../x", "/etc/passwd", "..", ".", "", "a/b", "x\0y", "a\\b", "\n", "x" * 300, "é" * 200, "\ud800", "../" * 100]


@given(st.text(max_size=400) | st.sampled_from(NAMES))
@examples(200)
def test_any_text_makes_one_part_of_a_path(text):
    name = file_name(text)
    assert Path("folder", f"{name}-annotated").parent == Path("folder") == Path("folder", name).parent
    assert (
        name not in ("", ".", "..") and "\0" not in name and len(os.fsencode(f"{name}-annotated.mcap.partial")) <= 255
    )


@given(st.text(max_size=400) | st.sampled_from(NAMES), st.text(max_size=400) | st.sampled_from(NAMES))
@examples(200)
def test_different_texts_make_different_names(one, other):
    assert one == other or file_name(one) != file_name(other)


@pytest.mark.parametrize("name", ["cube", "turning_solids", "my bag+", ".hidden", "Zürich 2026-01-01"])
def test_ordinary_names_stay(name):
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a\0b", "x" * 300])
def test_objects_with_such_names_are_not_rendered_into_files(tmp_path, name):
    with pytest.raises(DatasetError, match="cannot be part of a file's"):
        write_split(tmp_path / "set", "train", [Egg(name)], 1)
    assert everything(tmp_path) == set()


def test_a_link_in_the_output_folder_is_not_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    report = tmp_path / "out" / "report.html"
    report.parent.mkdir()
    for link in (report, report.with_name("report.html.partial")):
        link.symlink_to(mine)
    with atomic_write(report) as partial:
        partial.write_text("new")
    assert mine.read_text() == "precious" and report.read_text() == "new" and not report.is_symlink()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_file_whose_writing_fails_stays_and_nothing_is_left_beside_it(tmp_path, error):
    report = tmp_path / "report.html"
    report.write_text("old")
    with pytest.raises(type(error)), atomic_write(report) as partial:
        partial.write_text("half")
        raise error
    assert report.read_text() == "old" and everything(tmp_path) == {report}


def test_an_annotated_recording_replaces_a_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    (tmp_path / "bag").symlink_to(tmp_path / "mine")
    write(tmp_path / "bag", frames=1)
    assert (tmp_path / "mine" / "file").read_text() == "precious" and not (tmp_path / "bag").is_symlink()


@pytest.mark.parametrize("name", EVIL[:6])
def test_a_name_in_a_table_of_markdown_is_a_cell_of_text(name):
    table = markdown([{"solid": name + "|\n| x", "images": 1.5}], {"solid": "solid", "images": "images"})
    assert len(table.splitlines()) == 3 and parsed(table).elements == []
    row = table.splitlines()[2]
    assert row.replace("\\|", "").count("|") == 3 and row.endswith("| 1.50 |")
