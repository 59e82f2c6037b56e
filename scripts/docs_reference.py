"""A hook of MkDocs: the pages that are made of something else than a file in docs/, and what links become.

- reference/parameters.md of the table of the node's parameters, reference/messages.md of the .msg and .srv files;
- contributing.md of CONTRIBUTING.md; files/... of what pages link to outside docs/; notebooks (`docs_notebook`);
- api/...: what mkdocstrings is to take from docstrings.

A link out of docs/ leads to the page that holds the file. Where there is none, it becomes the file's path.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docs_markdown
import docs_notebook
from docs_markdown import plain

ROOT = Path(__file__).resolve().parents[1]
DOCS, INTERFACES = ROOT / "docs", "ros2_ws/src/lie_picard_msgs"
_SHOWN = {".yaml": "yaml", ".toml": "toml", ".py": "python", ".xml": "xml"}  # kinds of files that get a page
_NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"

# Pages of the API: title, what it is, and what is taken from docstrings.
API: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "api/estimator.md": (
        "Estimator",
        "An image in, hypotheses out. `from lie_picard import PoseEstimator`.",
        ("lie_picard.estimation.estimator.PoseEstimator", "lie_picard.estimation.estimator.ImageError",
         "lie_picard.model.checkpoint.CheckpointError"),
    ),
    "api/hypotheses.md": (
        "Hypotheses",
        "What an estimate is. `from lie_picard import Ambiguity, Hypotheses, Mode`. How samples become modes: "
        "[method](../method.md#from-samples-to-modes).",
        tuple(f"lie_picard.posterior.{name}" for name in (
            "hypotheses.Hypotheses", "hypotheses.Mode", "hypotheses.Ambiguity", "hypotheses.find_modes",
            "hypotheses.classify", "hypotheses.summarise", "covariance.Calibration", "covariance.Scatter")),
    ),
    "api/poses.md": (
        "Poses in a camera image",
        "Regions and a calibrated camera in, poses in the camera's frame out: what the node calls for every image.",
        ("lie_picard.estimation.poses.Target", "lie_picard.estimation.poses.ObjectPoses",
         "lie_picard.estimation.poses.estimate_poses", "lie_picard.estimation.poses.estimate_views",
         "lie_picard.estimation.poses.whole", "lie_picard.geometry.camera.Camera",
         "lie_picard.geometry.camera.Region"),
    ),
    "api/following.md": (
        "From image to image",
        "Which object is which in the next image, and where it will be.",
        ("lie_picard.estimation.following", "lie_picard.estimation.motion"),
    ),
    "api/sampling.md": (
        "Sampling",
        "Integrators, and ways to solve them. What they compute: [method](../method.md).",
        tuple(f"lie_picard.sampling.{name}" for name in (
            "options.SamplerOptions", "options.Plan", "options.sample", "solution.Score", "solution.Solution",
            "solution.Status", "ode.sample_ode", "picard.sample_picard", "newton.sample_newton", "walk.sample_walk",
            "walk.draw_walk_noise", "warm.WarmStart", "noise", "scheme", "autotune.resolve")),
    ),
    "api/so3.md": ("The group SO(3)", "", ("lie_picard.so3",)),
    "api/grasps.md": ("Grasps", "How to use it: [grasping](../grasping.md).", ("lie_picard.grasps",)),
}  # fmt: skip


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """MkDocs' event: the generated pages join those of docs/."""
    from mkdocs.structure.files import File

    for path, content in itertools.chain(generated().items(), docs_notebook.pages()):
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """MkDocs' event: the source of each page."""
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown

    def place(text: str, path: str, anchor: str) -> str:
        file = os.path.normpath(os.path.join(os.path.dirname(source_of(here)), path))
        there, within = page_of(file)
        if files.get_file_from_path(there) is None and not file.startswith("docs/"):
            return f"`{file}`" if file.endswith(text.strip("`/")) else f"{text} (`{file}`)"
        anchor = anchor or within
        return f"[{text}]({os.path.relpath(there, os.path.dirname(here))}{'#' + anchor if anchor else ''})"

    return docs_markdown.indented(docs_markdown.relinked(markdown, place))


def on_page_content(content: str, **_: Any) -> str:
    """MkDocs' event: the HTML of each page."""
    return docs_markdown.with_mathml(content)


def generated() -> dict[str, str]:
    """Every generated page: its path on the site, and its Markdown."""
    pages = {"reference/parameters.md": parameters(), "reference/messages.md": messages()}
    pages |= {"contributing.md": (ROOT / "CONTRIBUTING.md").read_text()}
    pages |= {path: _api(*content) for path, content in API.items()}
    return pages | {page_of(file)[0]: _file(file) for file in sorted(_linked_files())}


def source_of(page: str) -> str:
    """The file of the repository that a page's links are relative to."""
    if page == "contributing.md":
        return "CONTRIBUTING.md"
    if not page.startswith("files/"):
        return f"docs/{page}"
    file = page.removeprefix("files/")
    return file if (ROOT / file).is_file() else file.removesuffix(".md")


def page_of(file: str) -> tuple[str, str]:
    """The page of the site, if there is one, that holds a file of the repository, and the place on it."""
    path = Path(file)
    if path.parts[0] == "docs":
        return docs_notebook.page_of(file.removeprefix("docs/")), ""
    if file.startswith(INTERFACES) and path.suffix in (".msg", ".srv"):
        return "reference/messages.md", path.stem.lower()
    known = {"CONTRIBUTING.md": "contributing.md", "core/lie_picard/node/table.py": "reference/parameters.md",
             "core/lie_picard/grasps.py": "api/grasps.md", "core/lie_picard/so3.py": "api/so3.md"}  # fmt: skip
    return known.get(file, f"files/{file}" if path.suffix == ".md" else f"files/{file}.md"), ""


def _linked_files() -> set[str]:
    """Files outside docs/ that its pages link to, and that a page can show."""
    found = set()
    for page in (*DOCS.rglob("*.md"), *docs_notebook.NOTEBOOKS):
        for path, _ in docs_markdown.links(docs_notebook.text_of(page)):
            file = os.path.relpath((page.parent / path).resolve(), ROOT)
            shown = (ROOT / file).is_file() and Path(file).suffix in (".md", *_SHOWN)
            if shown and page_of(file)[0].startswith("files/"):
                found.add(file)
    return found


def _file(path: str) -> str:
    """The page that shows a file."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return _NOT_SEARCHED + text
    return f"{_NOT_SEARCHED}# {Path(path).name}\n\n`{path}`\n\n````{_SHOWN[Path(path).suffix]}\n{text}\n````\n"


def _api(title: str, intro: str, names: tuple[str, ...]) -> str:
    blocks = [f"# {title}", intro, *(f"::: {name}" for name in names)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def parameters() -> str:
    """The page of the node's parameters."""
    from lie_picard.node.table import TABLE

    rows = []
    for name, entry in TABLE.items():
        cells = [
            f'<span id="{name}">`{name}`</span>',
            _type(entry.default),
            f"`{_written(entry.default)}`",
            "" if entry.low is None else f"{entry.low:.10g} to {entry.high:.10g}",
            "yes" if entry.read_only else "",
            plain(entry.description),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([
        "# Parameters of the pose node",
        "",
        "Made of the table that the node declares its parameters from (`core/lie_picard/node/table.py`). What they "
        "mean for the node as a whole: [the pose node](../node.md#parameters). Those that are not fixed may be "
        "changed while the node runs. The same from a running node: `ros2 param describe /pose_node NAME`.",
        "",
        "| name | type | default | range | fixed at start | description |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def _type(default: Any) -> str:
    """ROS's name of a parameter's type."""
    if isinstance(default, list):
        return f"{_type(default[0])}[]"
    return {bool: "bool", int: "integer", float: "double", str: "string"}[type(default)]


def _written(default: Any) -> str:
    """A value as in a parameters file."""
    if isinstance(default, list):
        return f"[{', '.join(map(_written, default))}]"
    if isinstance(default, bool):
        return str(default).lower()
    return default or '""' if isinstance(default, str) else str(default)


@dataclass
class Part:
    """A message, or the request or the response of a service.

    Attributes:
        about: what the file begins with. fields: type, name, comment. constants: groups of (comment, [line]).
    """

    about: list[str] = field(default_factory=list)
    fields: list[tuple[str, str, str]] = field(default_factory=list)
    constants: list[tuple[str, list[tuple[str, str, str]]]] = field(default_factory=list)


def part_of(text: str) -> Part:
    """A message definition with its comments.

    The comments before the first blank line are about the whole. Others that stand alone are about what follows them.
    """
    part, block, first = Part(), list[str](), True
    for line in [*text.splitlines(), ""]:
        definition, _, comment = (piece.strip() for piece in line.partition("#"))
        if not definition and comment:
            block.append(comment)
        elif not definition and first:
            part.about, block, first = block, [], not block
        elif definition:
            kind, name = definition.split(None, 1)
            before, block, first = " ".join(block), [], False
            if "=" in name:
                name, value = name.split("=")
                if before or not part.constants:
                    part.constants.append((before, []))
                part.constants[-1][1].append((name.strip(), value.strip(), comment))
            else:
                part.fields.append((kind, name, " ".join(filter(None, (before, comment)))))
    return part


def messages() -> str:
    """The page of all messages and services."""
    files = sorted((ROOT / INTERFACES).glob("[ms][sr][gv]/*.*"), key=lambda file: (file.suffix, file.stem))
    own = {file.stem for file in files}
    lines = ["# Messages and services", "",
             "Of the package `lie_picard_msgs`, made of its files and their comments. What to do with them:",
             "[hypotheses and grasping](../grasping.md).", ""]  # fmt: skip
    for suffix, title in ((".msg", "Messages"), (".srv", "Services")):
        lines += [f"## {title}", ""]
        for file in files:
            if file.suffix == suffix:
                lines += [f"### {file.stem} {{ #{file.stem.lower()} }}", "", *_interface(file, own)]
    return "\n".join(lines)


def _interface(file: Path, own: set[str]) -> Iterator[str]:
    parts = [part_of(text) for text in re.split(r"^---$", file.read_text(), flags=re.MULTILINE)]
    yield f"`lie_picard_msgs/{file.suffix[1:]}/{file.stem}`"
    yield ""
    yield plain(" ".join(parts[0].about))
    yield ""
    for part, title in zip(parts, ("Request", "Response") if len(parts) > 1 else ("",), strict=True):
        if title:
            yield from (f"**{title}**", "")
        for comment, group in part.constants:
            yield from (plain(comment), "", "| constant | value | |", "|---|---|---|")
            yield from (f"| `{name}` | {value} | {plain(text)} |" for name, value, text in group)
            yield ""
        yield from ("| field | type | |", "|---|---|---|")
        for kind, name, comment in part.fields:
            base, array = re.fullmatch(r"([\w/]+)((?:\[\d*\])?)", kind).groups()  # type: ignore[union-attr]
            shown = f"[`{base}`](#{base.lower()})" if base in own else f"`{base}`"
            yield f"| `{name}` | {shown}{plain(array)} | {plain(comment)} |"
        yield ""
