"""The Markdown of docs/ is written for readers of the repository; this makes it a site's: links, lists, mathematics."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

# A block of code, a link (its text may hold code or a picture), or code in a line: what begins first counts.
_TOKENS = re.compile(
    r"^[ ]*(?P<ticks>`{3,}).*?^[ ]*(?P=ticks)[ ]*$"
    r"|\[(?P<text>(?:`[^`\n]*`|!\[[^\]]*\]\([^)]*\)|[^\[\]`])*)\]\((?P<target>[^)\s]+)\)"
    r"|(?P<code>`+)(?!`).+?(?<!`)(?P=code)(?!`)",
    re.DOTALL | re.MULTILINE,
)
# What `pymdownx.arithmatex` makes of $...$ and $$...$$.
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)

# Bars of a norm, which would grow as tall as what stands beside them.
_BAR, _SHORT_BAR = "<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>'


def links(markdown: str) -> Iterator[tuple[str, str]]:
    """Paths and anchors of the links and pictures that lead to files, or within the page (""); not of those in code."""
    for found in _TOKENS.finditer(markdown):
        if found["target"] and not _is_of_the_web(found["target"]):
            path, _, anchor = found["target"].partition("#")
            yield path, anchor


def relinked(markdown: str, place: Callable[[str, str, str], str]) -> str:
    """Markdown whose links to other files are what `place` makes of their text, path and anchor."""

    def one(found: re.Match[str]) -> str:
        path, _, anchor = (found["target"] or "").partition("#")
        return place(found["text"], path, anchor) if path and not _is_of_the_web(path) else found[0]

    return _TOKENS.sub(one, markdown)


def _is_of_the_web(target: str) -> bool:
    return re.match(r"[a-z]+:", target) is not None


def code_blocks(markdown: str, language: str) -> list[str]:
    """What the blocks of code of a language hold."""
    return re.findall(rf"^```{language}\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)


def indented(markdown: str) -> str:
    """What belongs to an item of a numbered list indented by four spaces, which Python-Markdown wants, not by three."""
    lines, within = [], False
    for line in markdown.splitlines():
        within = bool(re.match(r"\d+\. ", line)) or (within and (not line or line.startswith(" ")))
        lines.append(f" {line}" if within and line.startswith("   ") else line)
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Markdown that shows a text as it is, in one line: in a cell of a table, for example."""
    shown = re.sub(r"([\\*_`\[\]|$])", r"\\\1", " ".join(text.split()))
    return shown.replace("<", "&lt;").replace(">", "&gt;")


def with_mathml(content: str) -> str:
    """HTML whose formulas are MathML, which browsers draw without a script."""
    from latex2mathml.converter import convert

    def drawn(display: str) -> Callable[[re.Match[str]], str]:
        return lambda found: convert(html.unescape(found[1]).strip(), display=display).replace(_BAR, _SHORT_BAR)

    return _BLOCK.sub(drawn("block"), _INLINE.sub(drawn("inline"), content))
