"""What a reviewer leaves with: lists and cleaned tables, in the formats that training scripts read."""

from oga_core.export.formats import FORMATS, export, read_csv_value, render
from oga_core.export.lists import WHAT, rows

__all__ = ["FORMATS", "WHAT", "export", "read_csv_value", "render", "rows"]
