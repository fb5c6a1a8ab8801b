"""Export of a review: lists and cleaned tables, in the formats that training scripts read."""

from oga_core.export.formats import FORMATS, export, render
from oga_core.export.lists import WHAT, rows
from oga_core.export.record import Exported, list_exports, remember

__all__ = ["FORMATS", "WHAT", "Exported", "export", "list_exports", "remember", "render", "rows"]
