"""The page that shows scenes: one HTML file that needs nothing beside it, and that lets nothing else run in it."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path

from lie_picard.view.scene import Scene

_FOLDER = Path(__file__).parent
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; {policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1c1f23; max-width: 1180px; margin: 1.2em auto; padding: 0 1em; }}
h1 {{ font-size: 1.25em; margin: 0 0 0.4em; }}
{style}</style>
<h1>{title}</h1>
<div class="look" data-scenes="{scenes}" data-live="{live}"></div>
<noscript>This page draws with JavaScript, which is switched off.</noscript>
<script>{script}</script>
</html>
"""


def page(scenes: Sequence[Scene], title: str, live: str = "") -> str:
    """The page as text.

    Args:
        live: address, relative to the page's, at which the newest scene is asked for (`server`).
    """
    return _PAGE.format(
        policy=policy() + ("; connect-src 'self'" if live else ""),
        title=html.escape(title.encode(errors="backslashreplace").decode()),  # names of files may be no text
        style=style(),
        scenes=html.escape(scenes_json(scenes)),
        live=html.escape(live),
        script=script(),
    )


def scenes_json(scenes: Sequence[Scene]) -> str:
    """Scenes as the value of the attribute `data-scenes` of an element of class `look`; to be escaped as any text."""
    return json.dumps(scenes, allow_nan=False, separators=(",", ":"))


@functools.cache
def style() -> str:
    """The style sheet."""
    return (_FOLDER / "view.css").read_text()


@functools.cache
def script() -> str:
    """What draws the scenes of a page; its last element."""
    return (_FOLDER / "view.js").read_text()


@functools.cache
def policy() -> str:
    """The content security policy under which `script` runs, and no other."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"script-src 'sha256-{digest}'"
