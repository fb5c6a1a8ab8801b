"""A table with everything in it that an export can get wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import oga_core as oga
from oga_core.runs import Run

COLUMNS = ["ref", "text", "label", "note"]
ROWS = [
    ["007", '=HYPERLINK("http://x";"y")', "cat", "+cmd|' /C calc'!A0"],
    ["1e5", "two\nlines", "dog", "-1.5"],
    ["NA", "\u202eright to left", "owl", ""],
    ["", 'a "quoted" word', "cat", "'=1"],
    ["5", "no label", "", "@sum"],
    ["6", "twins", "dog", "first"],
    ["7", "  ", "owl", "blank text"],
    ["8", "twins", "dog", "second"],
    ["9", "comma, semicolon; tab\t", "=cat", "\ttab"],
    ["10", "twins", "cat", "same text, another label"],
    ["11", "carriage\rreturn", "owl", "\r"],
    ["12", "ünïcödé 漢字 😀", "dog", "null"],
]
UNREADABLE = [4, 6]
TWINS = [5, 7]


def write(path: Path, rows: Sequence[Sequence[str]] = ROWS) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])


def features(text: str) -> torch.Tensor:
    return torch.tensor([len(text), text.count("a"), sum(map(ord, text)) % 7], dtype=torch.float32)


def scored(path: Path, workspace: Path) -> Run:
    """A run over the table; the classes are =cat, cat, dog and owl."""
    torch.manual_seed(0)
    return oga.score(nn.Linear(3, 4), oga.open_dataset(path), detectors="l1,l2", workspace=workspace, transform=features)
