"""What one scoring leaves on disk."""

from oga_core.runs.deleted import DeletedRun, UnknownRun
from oga_core.runs.job import Job, Status
from oga_core.runs.run import Run, recommend
from oga_core.runs.workspace import Workspace

__all__ = ["DeletedRun", "Job", "Run", "Status", "UnknownRun", "Workspace", "recommend"]
