"""The wheel holds all that is needed, and works where there is no checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from oga_core.addresses import free_port

ROOT = Path(__file__).parent.parent
DASHBOARD = "oga_core/_dashboard"
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"


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


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, beside the packages that this one has: the checkout is not among them."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    command = [sys.executable, "-m", "pip", "--python", str(folder / PYTHON), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], env=variables(), check=True, capture_output=True)
    (site_packages(folder) / "others.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    return folder


def site_packages(environment: Path) -> Path:
    """The folder of a virtual environment that packages are installed in."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))


def run_python(environment: Path, folder: Path, *arguments: str) -> str:
    """Run Python, or a module, of an environment in a folder; returns its output."""
    done = subprocess.run(
        [str(environment / PYTHON), *arguments],
        cwd=folder,
        env=variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def variables() -> dict[str, str]:
    """The environment variables of this process, without a path to the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@contextmanager
def demo(environment: Path, folder: Path) -> Iterator[str]:
    """`oga demo` as installed, run in a folder; yields its URL, and ends it."""
    command = [str(environment / PYTHON), "-m", "oga_core.command", "demo", "--no-browser", "--port", str(free_port())]
    with subprocess.Popen(
        command, cwd=folder, env=variables() | {"OGA_WORKSPACE": str(folder / "w")}, stderr=subprocess.PIPE
    ) as oga:
        try:
            assert oga.stderr is not None
            told = next((line.decode() for line in oga.stderr if b"OGA is at" in line), "")
            yield re.findall(r"http://\S+", told)[0]
        finally:
            oga.terminate()


def test_the_wheel_has_every_file_of_the_core_and_the_page_and_nothing_else(unpacked: Path) -> None:
    there = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    expected = {
        f"{into}{p.relative_to(ROOT).as_posix()}"
        for folder, into in (("app", f"{DASHBOARD}/"), (".streamlit", f"{DASHBOARD}/"), ("oga_core", ""))
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {p for p in there if not p.startswith("oga_core-")} == expected
    assert (unpacked / DASHBOARD / ".streamlit" / "config.toml").read_bytes() == (
        ROOT / ".streamlit" / "config.toml"
    ).read_bytes()


def test_the_wheel_has_the_command_and_the_licence(unpacked: Path) -> None:
    (about,) = unpacked.glob("oga_core-*.dist-info")
    assert "oga = oga_core.command:run" in (about / "entry_points.txt").read_text("utf-8").splitlines()
    assert (about / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    metadata = (about / "METADATA").read_text("utf-8")
    assert metadata.splitlines()[1] == "Name: oga-core"
    assert "\nAuthor: OGA contributors\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Dist: streamlit>=" in metadata


def test_nothing_else_is_added_to_the_packages_of_a_user(environment: Path) -> None:
    added = {p.name for p in site_packages(environment).iterdir()} - {"others.pth", "__pycache__"}
    assert sorted(re.sub(r"-[\d.]+\.", ".", name) for name in added) == ["oga_core", "oga_core.dist-info"]


SCRIPT = """
import oga_core
from oga_core import cli, serving
print(oga_core.__file__, *serving.command(8600), sep="\\n")
cli.main(["--version"])
"""


def test_it_works_without_the_checkout_and_serves_the_page_inside_it(environment: Path, tmp_path: Path) -> None:
    installed = site_packages(environment).resolve()
    core, *command, version = run_python(environment, tmp_path, "-P", "-c", SCRIPT).splitlines()
    assert Path(core).resolve() == installed / "oga_core" / "__init__.py"
    server = Path(command[command.index("run") + 1])
    assert server == installed / DASHBOARD / "app" / "server.py"
    assert server.is_file()
    assert "--server.address=127.0.0.1" in command
    assert "--browser.gatherUsageStats=false" in command  # from config.toml
    (about,) = installed.glob("oga_core-*.dist-info")
    assert version == about.name.removesuffix(".dist-info").replace("oga_core-", "oga ")


PAGE = """
import sys
sys.path.insert(0, sys.argv[1])  # as the server does
for name in ("torch", "torchvision", "sklearn", "umap", "numba"):
    sys.modules[name] = None
from streamlit.testing.v1 import AppTest
page = AppTest.from_file(sys.argv[1] + "/app/main.py", default_timeout=60).run()
print(len(page.exception), *(title.value for title in page.title))
"""


def test_the_page_is_drawn_where_nothing_of_torch_can_be_imported(environment: Path, tmp_path: Path) -> None:
    assert run_python(environment, tmp_path, "-c", PAGE, str(site_packages(environment) / DASHBOARD)).split()[0] == "0"


def test_the_demo_is_served_from_it_beside_a_module_app_of_the_users(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('the server has imported this')", "utf-8")
    with demo(environment, tmp_path) as url, urlopen(url) as answer:
        assert answer.status == 200
        assert b"<title>" in answer.read()


def test_a_users_module_app_is_a_factory(environment: Path, tmp_path: Path) -> None:
    lines = ["from torch import nn", "def make_model(num_classes):", "    return nn.Sequential(nn.Linear(4, num_classes))"]
    (tmp_path / "app.py").write_text("\n".join(lines), "utf-8")
    x, y = "np.random.default_rng(0).normal(size=(60, 4)).astype('f4')", "np.arange(60) % 3"
    run_python(environment, tmp_path, "-c", f"import numpy as np; np.savez('data.npz', x={x}, y={y})")
    command = ["score", "data.npz", "--model", "app:make_model", "--workspace", "w"]
    assert "60 of 60 samples scored" in run_python(environment, tmp_path, "-m", "oga_core.command", *command)
