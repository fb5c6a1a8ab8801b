"""Packages with known holes are too old to start beside."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from oga_core import InputError, cli, floors
from oga_core.floors import check_floors

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
HOLES = {"torch": "2.10", "pyarrow": "17", "pillow": "13", "streamlit": "1.54", "starlette": "1.3"}
"""Packages that read what strangers send, and the versions in which the last of their known holes that concern us were closed."""


def dependencies() -> list[str]:
    found: list[str] = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["dependencies"]
    return found


def test_what_is_installed_here_is_new_enough() -> None:
    check_floors()
    check_floors(dependencies())


def test_the_floors_close_the_known_holes() -> None:
    stated = dict(requirement.split(">=") for requirement in dependencies())
    assert {name: stated[name] for name, floor in HOLES.items() if floors._release(stated[name]) < floors._release(floor)} == {}


def test_each_dependency_has_a_floor_and_a_reason() -> None:
    lines = PYPROJECT.read_text("utf-8").split("dependencies = [", 1)[1].split("]", 1)[0].strip().splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if not line.strip().startswith("#"):
            assert ">=" in line
            assert above.strip().startswith("#") or "  # " in line, f"{line}: no reason"


@pytest.mark.parametrize(
    ("there", "floor", "enough"),
    [
        ("2.14.0", "2.14", True),
        ("2.14.1+cu130", "2.14.1", True),
        ("2.9", "2.14", False),
        ("2.14.0rc1", "2.14", True),
        ("12.3", "12.3.0", True),
        ("12.2.9", "12.3", False),
        ("1!1.0", "2", False),
        ("13", "12.3", True),
        ("0", "0.1", False),
    ],
)
def test_versions_are_compared_by_their_numbers(monkeypatch: pytest.MonkeyPatch, there: str, floor: str, enough: bool) -> None:
    monkeypatch.setattr(floors, "version", lambda name: there)
    if enough:
        check_floors([f"pillow>={floor}"])
    else:
        with pytest.raises(
            InputError,
            match=rf"^pillow {there.replace('+', '.')} is too old: {floor} or newer is needed; "
            "pip install --upgrade 'pillow>=",
        ):
            check_floors([f"pillow>={floor}"])


def test_a_package_that_is_not_there_is_named_and_those_of_extras_are_not_asked_for() -> None:
    check_floors(['no-such-package>=1; extra == "bench"', "pandas-stubs"])
    with pytest.raises(InputError, match="no-such-package is not installed; pip install 'no-such-package>=1'"):
        check_floors(["no-such-package>=1"])


def test_the_command_line_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(floors, "version", lambda name: "0.1" if name == "pillow" else metadata.version(name))
    assert cli.main(["limits"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("oga: pillow 0.1 is too old")
    assert err.count("\n") == 1


def test_the_server_says_it_in_one_line_and_does_not_start() -> None:
    code = "from oga_core import floors; floors.version = lambda name: '0.1'; import app.server"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PYPROJECT.parent, capture_output=True, text=True)
    assert ended.returncode == 1
    assert re.match(r"oga: [\w-]+ 0\.1 is too old: ", ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr
