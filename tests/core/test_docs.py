"""The documentation: pages have their places, links lead somewhere, examples are Python, references are whole."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import docs_markdown  # noqa: E402
import docs_notebook  # noqa: E402
import docs_reference  # noqa: E402

from lie_picard.node.table import TABLE  # noqa: E402

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
INTERFACES = sorted((ROOT / docs_reference.INTERFACES).glob("*/*.[ms][sr][gv]"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
each_interface = pytest.mark.parametrize("file", INTERFACES, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def generated():
    return docs_reference.generated()


def paths(nav):
    """The pages of a navigation."""
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else paths(value)


def anchors(markdown):
    """What links can lead to on a page: GitHub's names of its headings."""
    text = re.sub(r"^ *```.*?^ *```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation_once(generated):
    nav = list(paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    written = {docs_notebook.page_of(str(page.relative_to(DOCS))) for page in (*PAGES, *docs_notebook.NOTEBOOKS)}
    assert not written & generated.keys()
    assert sorted(nav) == sorted(written | {name for name in generated if not name.startswith("files/")})


@pytest.mark.parametrize(
    "page",
    [*PAGES, *docs_notebook.NOTEBOOKS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda page: page.stem,
)
def test_every_link_leads_to_a_file_and_to_a_heading(page):
    for path, anchor in docs_markdown.links(docs_notebook.text_of(page)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(docs_notebook.text_of(target)), f"{path}#{anchor}"


@each_page
def test_python_on_a_page_is_python(page):
    blocks = docs_markdown.code_blocks(page.read_text(), "python")
    assert blocks or page.name not in ("index.md", "grasping.md")
    for block in blocks:
        compile(block, str(page), "exec")


@pytest.mark.parametrize("notebook", docs_notebook.NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    kept = json.loads(notebook.read_text())
    assert (kept["nbformat"], kept["nbformat_minor"]) == (4, 5)
    assert set(kept["metadata"]) <= {"kernelspec", "language_info"}
    assert kept["metadata"]["kernelspec"]["name"] == "python3"
    names = [cell["id"] for cell in kept["cells"]]
    assert len(set(names)) == len(names)
    for cell in kept["cells"]:
        assert not cell["metadata"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_a_notebook_as_a_page_shows_what_its_cells_gave():
    def code(source, *outputs):
        return {"cell_type": "code", "source": source, "outputs": list(outputs)}

    def data(**kinds):
        return {"output_type": "display_data", "data": {kind.replace("_", "/"): text for kind, text in kinds.items()}}

    printed = [{"output_type": "stream", "text": text} for text in ("10%\r", "\x1b[1m99%\x1b[0m\n```\n", "[a](b)\n")]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "About."]},
        code("f()", *printed, data(image_png="QUI=", text_plain="<Figure>")),
        code("g()", data(text_markdown=["| a |\n", "|---|"], text_plain="...")),
        code("h()", data(image_png="Q0Q=")),
        code("pass"),
    ]
    pictures = {}
    page = docs_notebook._page({"cells": cells}, Path("tutorials/one.ipynb"), pictures)
    assert pictures == {"tutorials/one_1.png": b"AB", "tutorials/one_2.png": b"CD"}
    assert page.index("About.") < page.index('href="one.ipynb"') < page.index("```python\nf()\n```")
    assert "{ .text .no-copy .notebook-output }\n99%\n```\n[a](b)\n````\n" in page
    assert "\n\n| a |\n|---|\n\n" in page and "(one_1.png)" in page and "(one_2.png)" in page
    assert "<Figure>" not in page and not list(docs_markdown.links(page.replace("one_", "http:")))


def test_links_out_of_docs_lead_to_pages_that_hold_the_file(generated):
    shown = [name for name in generated if name.startswith("files/")]
    for name in shown:
        file = docs_reference.source_of(name)
        assert docs_reference.page_of(file) == (name, "")
        assert (ROOT / file).read_text().strip() in generated[name]
    linked = {
        os.path.relpath((page.parent / path).resolve(), ROOT)
        for page in (*PAGES, *docs_notebook.NOTEBOOKS)
        for path, _ in docs_markdown.links(docs_notebook.text_of(page))
        if path.endswith((".yaml", ".toml", ".py"))
    }
    assert linked and {docs_reference.page_of(file)[0] for file in linked} <= generated.keys()


@pytest.mark.parametrize(
    ("markdown", "result"),
    [
        ("[a](b.md#c) and `[a](b.md)`", "<a b.md c> and `[a](b.md)`"),
        ("```\n[a](b.md)\n```\n[`a`](b.py)", "```\n[a](b.md)\n```\n<`a` b.py >"),
        ("![a](b.png) [a](#here) [a](https://b.c/d)", "!<a b.png > [a](#here) [a](https://b.c/d)"),
        ("a `` ` `` [b\nc](d.md)", "a `` ` `` <b\nc d.md >"),
    ],
)
def test_links_are_found_outside_code(markdown, result):
    assert docs_markdown.relinked(markdown, lambda *parts: f"<{' '.join(parts)}>") == result


def test_what_belongs_to_a_numbered_item_is_indented_by_four_spaces():
    text = "1. One:\n   ```\n     x\n   ```\n\n   more\n2. Two\n\n    code\n\nend\n\n    code\n```\n   x\n```\n"
    wanted = "1. One:\n    ```\n      x\n    ```\n\n    more\n2. Two\n\n     code\n\nend\n\n    code\n```\n   x\n```\n"
    assert docs_markdown.indented(text) == wanted


def test_the_reference_has_every_parameter_with_its_default_and_description(generated):
    page = generated["reference/parameters.md"]
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| <span")}
    assert list(rows) == list(TABLE)
    for name, entry in TABLE.items():
        assert docs_markdown.plain(entry.description) in rows[name]
        assert yaml.safe_load(rows[name].split("|")[3].strip(" `")) == entry.default
        assert (rows[name].split("|")[5].strip() == "yes") == entry.read_only


@each_interface
def test_the_reference_has_every_line_of_a_message(file, generated):
    page = generated["reference/messages.md"]
    section = page.split(f"### {file.stem} {{")[1].split("\n### ")[0]
    for line in file.read_text().splitlines():
        definition, _, comment = line.partition("#")
        assert docs_markdown.plain(comment) in section
        if definition.strip() not in ("", "---"):
            assert f"`{definition.split()[1].split('=')[0]}`" in section
    assert section.count("\n**Re") == (2 if file.suffix == ".srv" else 0)


def test_the_page_on_grasping_has_every_field_and_only_parameters_that_exist():
    text = (DOCS / "grasping.md").read_text()
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`[^`\n]+`", text))))
    files = {file.stem: docs_reference.part_of(file.read_text()) for file in INTERFACES if file.suffix == ".msg"}
    for name in ("PoseHypothesisArray", "PoseHypothesis"):
        assert {field for _, field, _ in files[name].fields} <= named
    known = yaml.safe_load((ROOT / "ros2_ws/src/lie_picard_pose/config/grasps.yaml").read_text())
    for block in docs_markdown.code_blocks(text, "yaml"):
        example = yaml.safe_load(block)["/**"]["ros__parameters"]
        assert example.keys() <= known["/**"]["ros__parameters"].keys()
