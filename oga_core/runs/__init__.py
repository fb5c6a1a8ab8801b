"""What one scoring leaves on disk."""

from oga_core.runs.run import Run, Status
from oga_core.runs.workspace import Workspace

__all__ = ["Run", "Status", "Workspace"]
