"""The wheel holds all that is needed, and works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_has_every_file_of_the_core_and_the_page_and_nothing_else(unpacked: Path) -> None:
    there = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    sources = {
        p.relative_to(ROOT).as_posix()
        for folder in ("app", "oga_core")
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {p for p in there if not p.startswith("oga-")} == sources | {"app/config.toml"}
    assert (unpacked / "app" / "config.toml").read_bytes() == (ROOT / ".streamlit" / "config.toml").read_bytes()


def test_the_wheel_has_the_command_and_the_licence(unpacked: Path) -> None:
    (about,) = unpacked.glob("oga-*.dist-info")
    assert "oga = oga_core.command:run" in (about / "entry_points.txt").read_text("utf-8").splitlines()
    assert (about / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    metadata = (about / "METADATA").read_text("utf-8")
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Dist: streamlit>=" in metadata


SCRIPT = """
import app, oga_core
from oga_core import cli, serving
print(oga_core.__file__, app.__file__, *serving.command(8600), sep="\\n")
cli.main(["--version"])
"""


def test_it_works_without_the_checkout_and_serves_the_page_inside_it(unpacked: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(unpacked)}  # before the checkout, which is installed
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    core, app, *command, version = done.stdout.splitlines()
    assert Path(core) == unpacked / "oga_core" / "__init__.py"
    assert Path(app) == unpacked / "app" / "__init__.py"
    server = Path(command[command.index("run") + 1])
    assert server == unpacked / "app" / "server.py"
    assert server.is_file()
    assert "--server.address=127.0.0.1" in command
    (about,) = unpacked.glob("oga-*.dist-info")
    assert version == about.name.removesuffix(".dist-info").replace("-", " ")
