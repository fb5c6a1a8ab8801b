"""The documentation: its commands are those of CI, its examples run, its links lead to files, and it stays short."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_README, LONGEST = 160, 400
PAGES = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "app/**/*.md", "oga_core/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text("utf-8")


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_second_command_is_the_command_of_ci() -> None:
    commands = re.findall(r"^    (python3 -m venv .+)$", read(ROOT / "README.md"), re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("oga demo")
    assert f'command="{commands[1]}"' in read(ROOT / ".ci" / "run").splitlines()


def test_readme_has_at_most_160_lines() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_page_has_at_most_400_lines(page: Path) -> None:
    assert len(read(page).splitlines()) <= LONGEST


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_and_pictures_lead_to_files_and_headings(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(read(file))):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=relative)
def test_paths_in_code_style_exist(page: Path) -> None:
    paths = re.findall(r"`((?:app|oga_core|tests|assets|\.ci|\.github)/[\w./]*)`", read(page))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(read(page))], ids=relative)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    examples = doctest.DocTestParser().get_doctest("\n".join(python_blocks(read(page))), {}, relative(page), str(page), 0)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples, out=report.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(report)


def test_every_python_block_is_an_example_that_runs() -> None:
    assert [relative(page) for page in PAGES for block in python_blocks(read(page)) if not block.startswith(">>> ")] == []
