"""Limits: by name, changed by the owner alone, and told in every refusal."""

from __future__ import annotations

import json

import pytest

from oga_core.cli import main
from oga_core.errors import InputError
from oga_core.limits import LIMITS, set_limits


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIMITS:  # what a test sets, monkeypatch takes back
        monkeypatch.setenv(f"OGA_LIMIT_{name.upper()}", "1")
        monkeypatch.delenv(f"OGA_LIMIT_{name.upper()}")


def test_a_limit_is_changed_by_its_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIMITS["files"].value == 2_000_000
    monkeypatch.setenv("OGA_LIMIT_FILES", "7")
    assert LIMITS["files"].value == 7


@pytest.mark.parametrize(("written", "value"), [("10", 10), ("2k", 2048), ("3M", 3 << 20), ("4G", 4 << 30)])
def test_a_limit_is_changed_by_the_option_with_units(written: str, value: int) -> None:
    set_limits([f"table_bytes={written}"])
    assert LIMITS["table_bytes"].value == value


@pytest.mark.parametrize("written", ["files=0", "files=-1", "files=1.5", "files=", "files", "files=²", "files=nan", "nothing=1"])
def test_what_is_no_limit_is_refused_by_name(written: str) -> None:
    with pytest.raises(InputError, match=written.partition("=")[0]):
        set_limits([written])


def test_a_bad_value_in_the_environment_ends_the_command_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILES", "many")
    assert main(["limits"]) == 2
    assert "limit files: 'many' is not a whole number above 0" in capsys.readouterr().err


def test_oga_limits_shows_every_limit_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", "--json", "--limit", "image_pixels=5k"]) == 0
    shown = {entry["name"]: entry["value"] for entry in json.loads(capsys.readouterr().out)}
    assert shown == {name: limit.default for name, limit in LIMITS.items()} | {"image_pixels": 5120}


def test_a_refusal_names_the_limit_its_value_and_the_option() -> None:
    assert str(LIMITS["image_pixels"]) == "the limit image_pixels is 50,000,000 pixels (--limit image_pixels=N changes it)"
