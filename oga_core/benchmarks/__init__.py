"""Benchmarks: what per-sample gradients cost on this machine, here and by other libraries."""

from oga_core.benchmarks.gradients import compare
from oga_core.benchmarks.models import SHOWN
from oga_core.benchmarks.table import format_table

__all__ = ["SHOWN", "compare", "format_table"]
