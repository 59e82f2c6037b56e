"""Notebooks in docs/ as pages of the site: executed when it is built, each output below its cell.

They are kept without outputs. An error in a cell ends the build. What a run gave is kept in .cache/notebooks until the
notebook, the package or the pinned requirements change.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS, CACHE = ROOT / "docs", ROOT / ".cache" / "notebooks"
NOTEBOOKS = sorted(path for path in DOCS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
CELL_S = 1800  # that a cell may take

_DEPENDS = ("core/lie_picard/**/*.py", "core/lie_picard/recipes/*", "core/lie_picard/checkpoints/*", "requirements/*")
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours of a terminal
_PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
_log = logging.getLogger("mkdocs.hooks.notebooks")


def page_of(file: str) -> str:
    """The page that shows a file of docs/: of a notebook one of the same name."""
    return re.sub(r"\.ipynb$", ".md", file)


def text_of(page: Path) -> str:
    """The Markdown of a file: of a notebook, its text without its code."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown") + "\n"


def pages() -> Iterator[tuple[str, str | bytes]]:
    """The page of every notebook and its pictures: paths on the site, Markdown or bytes."""
    for notebook in NOTEBOOKS:
        name = notebook.relative_to(DOCS).as_posix()
        pictures: dict[str, bytes] = {}
        markdown = _page(executed(notebook), Path(name), pictures)
        yield page_of(name), markdown
        yield from pictures.items()


def executed(notebook: Path) -> dict[str, Any]:
    """A notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    kept = CACHE / f"{notebook.stem}-{_digest(notebook)}.ipynb"
    if not kept.exists():
        import nbformat
        from nbclient import NotebookClient
        from traitlets.config import Config

        _log.info("Executing %s: some minutes", notebook.relative_to(ROOT))
        found = nbformat.read(notebook, as_version=4)
        resources = {"metadata": {"path": str(notebook.parent)}}
        encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})  # or the kernel warns
        NotebookClient(found, timeout=CELL_S, kernel_name="python3", resources=resources, config=encrypted).execute()
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob(f"{notebook.stem}-*.ipynb"):
            old.unlink()
        nbformat.write(found, kept)
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def _digest(notebook: Path) -> str:
    """Of all that decides what a notebook's outputs are."""
    files = sorted(path for pattern in _DEPENDS for path in ROOT.glob(pattern) if path.is_file())
    digest = hashlib.sha256()
    for path in (notebook, *files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _page(notebook: dict[str, Any], path: Path, pictures: dict[str, bytes]) -> str:
    """Markdown of an executed notebook; its pictures are put into `pictures`, by their paths on the site."""
    blocks: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            blocks.append(source)
        else:
            blocks += [_fenced(source, "python"), *_shown(cell["outputs"], path, pictures)]
        if len(blocks) == 1:  # below the title and what it is about
            blocks.append(f'<a class="md-button" href="{path.name}" download>Download this notebook</a>')
    return "\n\n".join(blocks) + "\n"


def _shown(outputs: list[dict[str, Any]], path: Path, pictures: dict[str, bytes]) -> Iterator[str]:
    text = ""
    for output in outputs:
        if output["output_type"] == "stream":  # of one cell they are one text
            text += "".join(output["text"])
            continue
        if text:
            yield _text(text)
            text = ""
        data = {kind: "".join(value) for kind, value in output["data"].items() if isinstance(value, str | list)}
        picture = next((kind for kind in _PICTURES if kind in data), None)
        if picture is not None:
            name = f"{path.stem}_{len(pictures) + 1}.{_PICTURES[picture]}"
            pictures[path.with_name(name).as_posix()] = base64.b64decode(data[picture])
            width = output.get("metadata", {}).get(picture, {}).get("width")
            size = f' width="{width}"' if width else ""
            yield f'![Output of the cell above]({name}){{ .notebook-output loading="lazy"{size} }}'
        elif "text/markdown" in data:
            yield data["text/markdown"]
        elif "text/plain" in data:
            yield _text(data["text/plain"])
    if text:
        yield _text(text)


def _text(text: str) -> str:
    """What was printed, as a terminal would show it."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in _CONTROLS.sub("", text).split("\n"))
    return _fenced("\n".join(lines).strip("\n"), "{ .text .no-copy .notebook-output }")


def _fenced(text: str, kind: str) -> str:
    ticks = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{ticks}{kind}\n{text}\n{ticks}"
