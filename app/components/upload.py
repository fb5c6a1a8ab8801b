"""A place to drop a file on: a component of our own that sends it to the server's disk, past the memory of the session."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from app import state
from app.components.component import define_component, read_file
from app.components.literal import literal
from oga_core import InputError
from oga_core.limits import UPLOAD_BYTES


def upload(label: str, suffixes: Sequence[str], marks: Sequence[str], *, key: str) -> Path | None:
    """Draw the drop area; return the path of the file that was last dropped on it, if any.

    Parameters
    ----------
    label
        Name of the file's purpose.
    suffixes
        Endings that are offered. A file with another arrives too: its reader knows best why it is not opened.
    marks
        Names of files by one of which a folder is known that may be dropped here; it arrives as a zip.
    key
        Of the element; the file is remembered while the session lasts, also while another page is shown.
    """
    file: Path | None = st.session_state.get(session_key(key))
    if file is not None and not file.is_file():
        file = None
    _UPLOAD(
        key=key,
        on_file_change=partial(_take, key),
        data={
            "label": label,
            "suffixes": list(suffixes),
            "marks": list(marks),
            "most": UPLOAD_BYTES.value,
            "seen": st.session_state.get(f"{key}-seen"),
            "stored": None if file is None else {"name": file.name, "bytes": file.stat().st_size},
        },
    )
    if error := st.session_state.pop(f"{key}-error", None):
        st.error(literal(error), icon=":material/error:")
    return file


def session_key(key: str) -> str:
    """Return the name in the session state of the file of the element with this key."""
    return f"{key}-file"


def _take(key: str) -> None:
    """Remember the file that the browser says it has sent, or that it was taken away."""
    sent: Any = getattr(st.session_state.get(key), "file", None)  # no more there where the page has changed meanwhile
    if not isinstance(sent, dict):
        return
    st.session_state[f"{key}-seen"] = sent.get("id")
    st.session_state.pop(session_key(key), None)
    if "name" in sent:
        try:
            st.session_state[session_key(key)] = state.workspace().uploaded(str(sent.get("content")), str(sent["name"]))
        except InputError as error:
            st.session_state[f"{key}-error"] = str(error)


_UPLOAD = define_component(
    "oga_upload", html=read_file("upload/skeleton.html"), css=("buttons.css", "upload/upload.css"), js="upload/upload.js"
)
