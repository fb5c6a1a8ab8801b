"""Models by their name on the Hugging Face hub, for owners who allow the network; a download is a folder like any other.

The process that downloads, ``python -m oga_core.hub NAME``, is one of its own: all others stay offline.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from oga_core.children import end_with_parent, spawn_module
from oga_core.errors import InputError
from oga_core.model_files import ADAPTER, CONFIG

ALLOWED = "OGA_ALLOW_HUB"
"""Environment variable by which the owner of the machine allows the network: 1."""
NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PATTERNS = ["*.safetensors", "*.json"]
"""Files that are downloaded, of which the models are made: no code, and no pickles."""


def allow() -> None:
    """Allow the network, for this process and those that it starts."""
    os.environ[ALLOWED] = "1"


def is_allowed() -> bool:
    """Whether the owner of the machine has allowed the network."""
    return os.environ.get(ALLOWED) == "1"


def download_model(name: str) -> Path:
    """The folder of a model on the hub, and with an adapter also its base, from the local cache where it is there.

    Raises
    ------
    InputError
        If this is no such name, the owner does not allow the network, or the download fails.
    """
    if not NAME.fullmatch(name) or Path(name).suffix[1:].isalpha():  # a missing file
        raise InputError(f"weights file not found: {name}")
    if not is_allowed():
        raise InputError(
            f"weights file not found: {name}; a model of this name on the Hugging Face hub is downloaded only where the owner of "
            f"the machine allows it (--allow-hub, or {ALLOWED}=1): allow it, or download the folder and give that"
        )
    process = spawn_module(
        *("oga_core.hub", name),
        environment={"HF_HUB_OFFLINE": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # progress is on stderr
    )
    with process:
        try:
            answer, _ = process.communicate()
        except BaseException:  # Ctrl+C, which does not reach it
            process.kill()
            raise
    try:
        told = json.loads(answer)
    except ValueError:
        told = {"error": f"the download process ended with code {process.returncode}"}
    if "path" not in told:
        raise InputError(f"{name} could not be downloaded from the Hugging Face hub: {told['error'][:300]}")
    return Path(told["path"])


def find_downloaded(name: str) -> Path | None:
    """The folder of a downloaded model of the hub; None where it is missing, or the owner does not allow the network."""
    if not is_allowed() or not NAME.fullmatch(name):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None


def main(name: str) -> int:
    """Download a model; prints its folder, or what went wrong, as JSON."""
    try:
        from huggingface_hub import snapshot_download

        path = Path(snapshot_download(name, allow_patterns=PATTERNS))
        if (path / ADAPTER).is_file() and not (path / CONFIG).is_file():
            base = json.loads((path / ADAPTER).read_text("utf-8")).get("base_model_name_or_path")
            if isinstance(base, str) and NAME.fullmatch(base):
                snapshot_download(base, allow_patterns=PATTERNS)
    except Exception as error:  # the hub's library raises many kinds, all of which are reported
        print(json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}))
        return 1
    print(json.dumps({"path": str(path)}))
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1]))
