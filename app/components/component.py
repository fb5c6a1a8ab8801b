"""Our own Streamlit components: each has a skeleton, CSS files and a JavaScript module with all modules that it imports.

Streamlit takes one script for each component and imports it from a blob. We give it a small loader, which makes a blob of each
module and imports the last one. The files are plain ES modules without a build step. They need no route, so they work behind any
prefix and are never stale; the Content-Security-Policy allows what Streamlit itself needs and no more.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent
SHARED_CSS = "shared.css"
_IMPORT = re.compile(r'\bfrom "(\.{1,2}/[^"]+)"')
_LOADER = """
const modules = %s; // each after those that it imports
const urls = {};
for (const [path, source] of modules) {
  const linked = source.replace(/\\bfrom "oga:([^"]+)"/g, (_, imported) => `from "${urls[imported]}"`);
  urls[path] = URL.createObjectURL(new Blob([linked, `\\n//# sourceURL=oga/${path}`], { type: "text/javascript" }));
}
export default (await import(urls[modules.at(-1)[0]])).default;
"""


def define_component(name: str, *, html: str, css: Sequence[str], js: str) -> Callable[..., Any]:
    """Return the function that mounts a component.

    Parameters
    ----------
    name
        By which Streamlit knows it.
    html
        The skeleton.
    css, js
        Files in this folder, ``"triage/triage.js"``. The CSS that all components share comes first; Streamlit calls the
        module's default export.
    """
    styles = "\n".join(read_file(path) for path in (SHARED_CSS, *css))
    return st.components.v2.component(name, html=html, css=styles, js=make_script(js))


def make_script(path: str) -> str:
    """Return one script for a module and all that it imports; its default export is the module's."""
    return _LOADER % json.dumps(link_modules(path))


def link_modules(path: str) -> list[tuple[str, str]]:
    """Return the paths and sources of a module and of all that it imports, each after those that it imports itself.

    The address in an import is written as ``"oga:path"``, which the loader replaces.

    Raises
    ------
    ValueError
        If modules import one another in a circle.
    """
    found: dict[str, str] = {}
    _link(path, found, ())
    return list(found.items())


def _link(path: str, found: dict[str, str], importers: tuple[str, ...]) -> None:
    if path in importers:
        raise ValueError(f"circular import: {' → '.join((*importers, path))}")
    if path in found:
        return

    def link(imported: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), imported[1]))
        _link(target, found, (*importers, path))
        return f'from "oga:{target}"'

    source = _IMPORT.sub(link, read_file(path))
    found[path] = source


def read_file(path: str) -> str:
    """Return the text of a file of this folder."""
    return (FOLDER / path).read_text("utf-8")
