"""Data move to the right only: a stage knows the stages left of it, and the page computes nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import oga_core

ROOT = Path(__file__).parent.parent
ORDER = (
    ("children", "errors", "progress", "task", "terminal"),
    ("addresses", "limits", "floors", "measured", "model_files"),
    ("containment", "files", "hub", "roots", "threads"),
    ("data",),
    ("models",),
    ("gradients",),
    ("detectors",),
    ("runs",),
    ("maps", "review"),
    ("export",),
    ("scoring",),
    ("influence", "upkeep"),
    ("experiments", "sandbox", "serving", "worker"),
    ("benchmarks",),
    ("cli",),
    ("supervision",),
    ("command",),
)
"""The modules of ``oga_core``, each after all that it may import; those of one line do not know each other."""
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
NOT_FOR_THE_PAGE = ("torch", "torchvision", "sklearn", "umap", "numba", "oga_core.gradients")


def imports(source: str) -> Iterator[str]:
    """Everything that is imported anywhere in it: ``from a.b import c`` gives ``a.b.c``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_an_import_is_found_wherever_it_stands() -> None:
    source = "import a.b as x\ndef f():\n    from c import d, e\n    if f:\n        import g\nfrom . import h\n"
    assert set(imports(source)) == {"a.b", "c.d", "c.e", "g", "..h"}


@pytest.mark.parametrize("path", files("oga_core"), ids=named)
def test_the_core_never_imports_streamlit_or_the_page(path: Path) -> None:
    found = set(imports(path.read_text("utf-8")))
    assert [m for m in found if within(m, "streamlit") or within(m, "app") or m.startswith(".")] == []


@pytest.mark.parametrize("path", files("app"), ids=named)
def test_the_page_never_imports_what_computes(path: Path) -> None:
    found = set(imports(path.read_text("utf-8")))
    assert [m for m in found for banned in NOT_FOR_THE_PAGE if within(m, banned) or m.startswith(".")] == []


def test_every_module_of_the_core_has_its_place_in_the_order() -> None:
    there = {path.relative_to(ROOT / "oga_core").parts[0].removesuffix(".py") for path in files("oga_core")}
    assert there - {"__init__"} == set(RANK)


@pytest.mark.parametrize("path", files("oga_core"), ids=named)
def test_a_stage_imports_only_stages_left_of_it(path: Path) -> None:
    own = path.relative_to(ROOT / "oga_core").parts[0].removesuffix(".py")
    core = [m.split(".") for m in imports(path.read_text("utf-8")) if within(m, "oga_core")]
    assert [m for m in core if len(m) < 2 or m[1] not in RANK] == []
    assert [".".join(m) for m in core if m[1] != own and RANK[m[1]] >= RANK[own]] == []


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("oga_core", ("numpy",)),
        ("oga_core.data", ("torch", "pandas", "scipy", "torchvision")),
        ("oga_core.sandbox.server", ("torch", "pandas", "scipy", "torchvision")),
        ("oga_core.cli", ("torch", "torchvision", "sklearn", "scipy.stats", "umap", "streamlit", "plotly")),
        ("app.server", ("torch", "torchvision", "sklearn", "umap", "numba")),
        ("app.main", ("torch", "torchvision", "sklearn", "umap", "numba")),
    ],
)
def test_a_program_starts_without_what_most_of_its_work_never_needs(module: str, slow: tuple[str, ...]) -> None:
    assert loaded(module, slow) == "[]"


def loaded(module: str, others: tuple[str, ...]) -> str:
    """Which of others a process has that has imported a module."""
    code = f"import sys, {module}; print([m for m in {others} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.mark.parametrize("package", ["oga_core", "oga_core.gradients", "oga_core.models", "oga_core.scoring"])
def test_every_name_of_a_package_is_there_and_is_what_its_home_calls_so(package: str) -> None:
    there = importlib.import_module(package)
    assert there.__file__ is not None
    stub = ast.parse(Path(there.__file__ + "i").read_text("utf-8"))
    homes = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(homes) == there.__all__
    for name, home in homes.items():
        if home is not None:
            assert getattr(there, name) is getattr(importlib.import_module(f"{package}.{home}"), name)


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="attribute nothing"):
        oga_core.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        exec("from oga_core import nothing")


def test_a_public_name_stays_itself_where_a_module_has_the_same() -> None:
    code = "import oga_core.export; from oga_core import export; assert callable(export) and oga_core.export is export"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


WHOLE = (
    "benchmarks",
    "browser",
    "corpus",
    "faults",
    "systems",
    "data/test_cases.py",
    "app/test_language_models.py",
    "test_examples.py",
    "test_faults.py",
    "test_layers.py",
    "test_readme.py",
    "test_wheel.py",
    "test_words.py",
)
"""Tests of several modules together."""


def test_tests_mirror_the_tree() -> None:
    """``tests/a/test_b.py`` or ``tests/a/test_b_more.py`` tests ``oga_core/a/b.py``; under ``tests/app`` those of ``app``."""
    homes = {
        path.relative_to(ROOT / top).with_suffix("").as_posix().removesuffix("/__init__"): top
        for top in ("oga_core", "app")
        for path in files(top)
    }
    lost = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        place = path.relative_to(ROOT / "tests").as_posix()
        if place.startswith(WHOLE):
            continue
        top = "app" if place.startswith("app/") else "oga_core"
        module = place.removeprefix("app/").replace("test_", "", 1).removesuffix(".py")
        if not any(home == top and (module == name or module.startswith(f"{name}_")) for name, home in homes.items()):
            lost.append(place)
    assert lost == []
