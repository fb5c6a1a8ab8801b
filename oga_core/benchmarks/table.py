"""A benchmark's rows as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

HEADINGS = ("method", "time", "spread", "CPU time", "peak memory", "error", "note")
ON_A_GPU = ("method", "time", "spread", "samples/s", "TFLOP/s", "of the peak", "memory, GB", "error", "note")


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """One table per model, below the line that names what was measured against."""
    tables = []
    for model, group in groupby(rows, lambda row: row["model"]):
        first, *rest = group
        lines = [f"**{model}**, scope `{first['scope']}`; 1 is a plain forward and backward: {first['note']}", ""]
        headings = HEADINGS if first["tflops"] is None else ON_A_GPU
        lines += [_line(headings), f"|{'-|' * len(headings)}"]
        tables.append("\n".join([*lines, *(_line(_cells(row, headings)) for row in [{**first, "note": ""}, *rest])]))
    return "\n\n".join(tables)


def _cells(row: dict[str, Any], headings: Sequence[str]) -> list[str]:
    spread = "" if row["spread"] is None else "–".join(_number(x) for x in row["spread"])
    error = "" if row["error"] is None else f"{row['error']:.0e}" if row["error"] < 1e-3 else f"{row['error']:.1%}"
    note = str(row["note"]).replace("|", "\\|")
    ratio, cpu, memory = (_number(row[name]) for name in ("ratio", "ratio_cpu", "peak_memory_ratio"))
    found = {
        "method": row["method"],
        "time": ratio,
        "spread": spread,
        "CPU time": cpu,
        "peak memory": memory,
        "error": error,
        "note": note,
        "samples/s": _number(row["samples_per_second"]),
        "TFLOP/s": _number(row["tflops"]),
        "of the peak": "–" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
        "memory, GB": "–" if row["peak_memory"] is None else f"{row['peak_memory'] / 1e9:.1f}",
    }
    return [found[name] for name in headings]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
