"""What one scoring leaves on disk."""

from oga_core.runs.deleted import DeletedRun, RemovedRun
from oga_core.runs.job import Job, Status
from oga_core.runs.run import Run, recommend
from oga_core.runs.workspace import Workspace

__all__ = ["DeletedRun", "Job", "RemovedRun", "Run", "Status", "Workspace", "recommend"]
