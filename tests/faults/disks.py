"""Small real disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of its own in memory; the test is skipped where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if (tried := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip(f"no disk can be mounted here: {tried.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill a disk but for some bytes."""
    path = folder / "filler"
    with open(path, "ab", buffering=0) as handle:
        while (free := shutil.disk_usage(folder).free - leave) > 0:
            handle.write(bytes(min(free, 1 << 20)))
    return path


@contextmanager
def read_only(folder: Path, megabytes: int, content: Path) -> Iterator[Path]:
    """A folder that cannot be written, with a copy of some content: on a disk of its own, else by its permissions."""
    if os.geteuid():
        shutil.copytree(content, folder / "content")
        inside = [folder / "content", *(folder / "content").rglob("*")]
        for path in inside:
            path.chmod(path.stat().st_mode & 0o555)
        yield folder / "content"
        for path in inside:
            path.chmod(path.stat().st_mode | 0o200)
    else:
        with mounted(folder, megabytes) as disk:
            shutil.copytree(content, disk / "content")
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            yield disk / "content"
