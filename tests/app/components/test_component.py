"""The files of the components: real ES modules that fit together, short enough to read, and CSS rules that stand once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from app.components import component
from app.components.component import FOLDER, link_modules

ENTRIES = ("embedding_map/map.js", "job_progress/progress.js", "triage/triage.js", "upload/upload.js")
SCRIPTS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js"))
STYLES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.css"))
MOST_LINES = 400
IMPORT = re.compile(r'import \{([^}]*)\} from "oga:([^"]+)";')
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (?:(\w+)|\[([^\]]+)\])", re.MULTILINE)


def names(listed: str) -> set[str]:
    return {name.strip() for name in listed.split(",")} - {""}


def exports(source: str) -> set[str]:
    return set().union(*(names(one or several) for one, several in EXPORT.findall(source)))


@pytest.mark.parametrize("path", SCRIPTS + STYLES)
def test_no_file_is_longer_than_400_lines(path: str) -> None:
    assert len((FOLDER / path).read_text("utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_module_comes_after_those_that_it_imports_and_each_name_is_exported(entry: str) -> None:
    known: dict[str, set[str]] = {}
    for path, source in link_modules(entry):
        imports = IMPORT.findall(source)
        assert len(imports) == len(re.findall(r"^import\b", source, re.MULTILINE))
        for listed, imported in imports:
            assert names(listed) <= known[imported], f"{path} imports from {imported}"
        known[path] = exports(source)
    assert list(known)[-1] == entry
    assert "export default function" in dict(link_modules(entry))[entry]


def test_every_module_belongs_to_a_component_and_every_export_is_imported() -> None:
    used, imported, exported = set(), set(), set()
    for entry in ENTRIES:
        for path, source in link_modules(entry):
            used.add(path)
            imported |= {(target, name) for listed, target in IMPORT.findall(source) for name in names(listed)}
            exported |= {(path, name) for name in exports(source)}
    assert used == set(SCRIPTS)
    assert exported == imported


def test_modules_that_import_one_another_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "FOLDER", tmp_path)
    (tmp_path / "one.js").write_text('import { two } from "./two.js";', "utf-8")
    (tmp_path / "two.js").write_text('import { one } from "./one.js";', "utf-8")
    with pytest.raises(ValueError, match=r"one\.js → two\.js → one\.js"):
        link_modules("one.js")


def test_no_address_starts_at_the_root_of_the_host() -> None:
    """A proxy may serve the pages below a prefix: an address is relative to the page."""
    for path in (*(FOLDER / name for name in SCRIPTS), *FOLDER.glob("*.py")):
        assert not re.search(r"""["'`]/oga""", path.read_text("utf-8")), path.name


def test_no_css_rule_stands_in_two_files() -> None:
    rules = Counter(
        (selector.strip(), " ".join(body.split()))
        for path in STYLES
        for selector, body in set(re.findall(r"([^{}/]+)\{([^{}]*)\}", (FOLDER / path).read_text("utf-8")))
    )
    assert [rule for rule, count in rules.items() if count > 1] == []
