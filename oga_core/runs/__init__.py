"""Runs: the files and records of a scoring on disk."""

from oga_core.runs.deleted import DeletedRun, UnknownRun
from oga_core.runs.job import Job, Status
from oga_core.runs.records import DataSource, Factory, InMemory, ModelSource, RunSpec, RunSummary, Starter, Weights
from oga_core.runs.run import Run, recommend
from oga_core.runs.workspace import Workspace

__all__ = [
    "DataSource",
    "DeletedRun",
    "Factory",
    "InMemory",
    "Job",
    "ModelSource",
    "Run",
    "RunSpec",
    "RunSummary",
    "Starter",
    "Status",
    "UnknownRun",
    "Weights",
    "Workspace",
    "recommend",
]
