"""Words that the glossary and the style of ``oga_core/README.md`` avoid are not used.

``python tests/test_words.py [WORD …]`` prints where they are.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
Kind = Literal["text", "docstring", "name"]

ANYWHERE = {
    # The column "avoid" of the glossary.
    "item, datum": r"\b(items?|datum)\b",
    "named class": r"\bnamed class(es)?\b",
    "unseen, has not seen": r"\bunseen\b|\b(has|have|had) (not|never) seen\b",
    "wrong among them": r"\bwrong among (them|these)\b",
    "labels surely wrong": r"\bsurely wrong\b",
    "act": r"\bact(s|ed|ing)?\b",
    "work, doing (a job)": r"\bdoing\b|\bwork\b(?! (again|with|without|as|on|in|the same)\b)",
    "road": r"\broads?\b",
    "left over": r"\bleft[ -]?overs?\b",
    "the slow way": r"\bthe slow way\b",
    "strangers": r"\bstrangers?\b",
    "contained (the sandbox)": r"\bcontained\b",
    "reads for the page": r"\breads?( files)? for the pages?\b",
    "room": r"\brooms?\b",
    "number (a token id)": r"\btoken numbers?\b|\bnumbers? of (its|the|a|each) tokens?\b(?= (is|are|as|in the vocabulary))",
    "filled up": r"\bfill(s|ed|ing)? up\b",
    "cut (truncated)": r"\bcuts?\b",
    "is not there": r"\b(is|are|was|were) (not|no longer) there\b",
    "is there twice": r"\b(is|are|was|were) there twice\b",
    "times that each sample is seen": r"\btimes that each sample (is|was) seen\b",
    "goes on (resumes)": r"\b(go|goes|going|gone|went) on\b",
    # The rules.
    "told, tells of": r"\b(is|are|was|were|be|been) told\b|\b(tell|tells|told) (of|from|apart)\b",
    "stands, stands for": r"\bstands\b|\bstand for\b",
    "bears": r"\bbears?\b",
    "whoever": r"\b(who|what|which|where|how)ever\b(?! (it is|they are) called)",
    "so that … so that": r"\bso that\b[^.;:]*\bso that\b",
    "fetched": r"\bfetch(es|ed|ing)?\b",
    "usual names": r"\b(its|their) usual names?\b",
    "cannot be told": r"\bcannot be told\b",
}
IN_NAMES = {
    "kept (a cache)": r"kept( .*)?|.* kept",
    "alone (a lock)": r"alone",
    "again (a retry)": r"again|.* again",
    "part (a shard)": r"parts?|.* parts?",
    "passed (a function that runs a pass)": r"passed",
    "named (a function that makes or finds)": r"named",
    "untouched": r"untouched",
}
"""Fine in a sentence; as a name, a riddle."""
OPENING = {"What …, Who …, Where … (opens a docstring)": r"\s*(what|who|whose|where|those)\b"}

ALLOWED = {
    r"^fetch$|\bfetch\(|\bfetch (api|metadata)\b|\bsec fetch \w+": "the browser's function, and the headers Sec-Fetch-*",
    r"\bhowever\b": "a conjunction",
    r"(\w|\)|\]) ?\. ?items?\b": "methods of Python, NumPy and the browser",
    r"\b(menu|list|grid) ?items?\b|\balign items\b": "ARIA roles and CSS",
    r"\bpower cut\b": "the fault",
    r"^unseen$": "a key in the files of runs",
    r"\b(does|do|did|will|would|must|can|could|to|not|still|that|which|they|and) work\b": "the verb",
}
"""What matches and is meant otherwise, with the reason."""


class Place(NamedTuple):
    """Words of a file: a comment, a string, a docstring or a name that is defined."""

    file: str
    line: int
    kind: Kind
    words: str


PROSE_OF_JAVASCRIPT = r"""//[^\n]*|/\*[\s\S]*?\*/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`"""


def as_words(text: str) -> str:
    """Lower case, one space between words, names split: ``read_only`` and ``readOnly`` are ``read only``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").replace("-", " ")
    return re.sub(r"\s+", " ", text).strip().lower()


def python_places(file: str, source: str) -> Iterator[Place]:
    yield Place(file, 1, "name", as_words(Path(file).stem))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Place(file, token.start[0], "text", as_words(token.string))
    tree = ast.parse(source)
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Place(file, node.lineno, "docstring" if node in docstrings else "text", as_words(node.value))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Place(file, node.lineno, "name", as_words(node.name))
        elif isinstance(node, ast.arg):
            yield Place(file, node.lineno, "name", as_words(node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Place(file, node.lineno, "name", as_words(node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield Place(file, node.lineno, "name", as_words(node.attr))


def javascript_places(file: str, source: str) -> Iterator[Place]:
    """Comments and strings, and every name once; those after a dot may be the browser's."""
    yield Place(file, 1, "name", as_words(Path(file).stem))
    for found in re.finditer(PROSE_OF_JAVASCRIPT, source):
        yield Place(file, source.count("\n", 0, found.start()) + 1, "text", as_words(found[0]))
    code = re.sub(PROSE_OF_JAVASCRIPT, lambda found: "\n" * found[0].count("\n"), source)
    seen = set()
    for found in re.finditer(r"(?<![.\w$])[A-Za-z$][\w$]*", code):
        if found[0] not in seen:
            seen.add(found[0])
            yield Place(file, code.count("\n", 0, found.start()) + 1, "name", as_words(found[0]))


def page_places(file: str, source: str) -> Iterator[Place]:
    """The paragraphs of a page, without the table that lists these words."""
    source = re.sub(r"(?m)^\| term \| meaning \| avoid \|\n(\|.*\n)+", lambda table: "\n" * table[0].count("\n"), source)
    for found in re.finditer(r"(?:.+\n?)+", source):
        yield Place(file, source.count("\n", 0, found.start()) + 1, "text", as_words(found[0]))


@cache
def places() -> list[Place]:
    found: list[Place] = []
    for patterns, read in (
        (("oga_core/**/*.py", "app/**/*.py"), python_places),
        (("app/**/*.js",), javascript_places),
        (("*.md", "oga_core/**/*.md", "app/**/*.md", "tests/*.md", ".github/*.md"), page_places),
    ):
        for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
            found += read(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    return found


def matches(word: str, place: Place) -> int:
    """How often a word to avoid is in a place."""
    if word in IN_NAMES:
        return int(place.kind == "name" and re.fullmatch(IN_NAMES[word], place.words) is not None)
    if word in OPENING:
        return int(place.kind == "docstring" and re.match(OPENING[word], place.words) is not None)
    words = place.words
    if re.search(ANYWHERE[word], words):
        for allowed in ALLOWED:
            words = re.sub(allowed, " – ", words)
    return len(re.findall(ANYWHERE[word], words))


WORDS = [*ANYWHERE, *IN_NAMES, *OPENING]


def list_uses(word: str) -> list[str]:
    """Return the places of a word to avoid as they are printed."""
    return [f"{place.file}:{place.line}: {word}: {place.words[:120]}" for place in places() if matches(word, place)]


@pytest.mark.parametrize("word", WORDS)
def test_word_to_avoid_is_not_used(word: str) -> None:
    assert list_uses(word) == []


@pytest.mark.parametrize(
    ("source", "word", "count"),
    [
        ("# a road of items\n", "road", 1),
        ("def read_items(): ...\n", "item, datum", 1),
        ("x = {}.items()\n", "item, datum", 0),
        ("x = f'a file that is\\nnot there: {1}'\n", "is not there", 1),
        ("parts = 1\n", "part (a shard)", 1),
        ("x = 'in two parts'\n", "part (a shard)", 0),
        ('def f():\n    """What a reader gives."""\n', "What …, Who …, Where … (opens a docstring)", 1),
        ('def f():\n    """Return what a reader gives."""\n', "What …, Who …, Where … (opens a docstring)", 0),
    ],
)
def test_word_is_found_in_comments_strings_and_names(source: str, word: str, count: int) -> None:
    assert sum(matches(word, place) for place in python_places("x.py", source)) == count


if __name__ == "__main__":
    for word in sys.argv[1:] or WORDS:
        print(*list_uses(word), sep="\n")
