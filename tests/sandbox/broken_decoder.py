"""A decoder that some files crash, in every process that is started from here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

END = b"poison"
"""How the files end that crash it."""
_CODE = f"""
import os
from PIL import Image
opened = Image.open
def open_(file, *given, **named):
    if file.getvalue().endswith({END!r}):
        os.kill(os.getpid(), 11)
    return opened(file, *given, **named)
Image.open = open_
"""


def break_decoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find it, by the name of a module that every process imports when it starts."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_CODE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
