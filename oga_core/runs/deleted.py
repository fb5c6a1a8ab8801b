"""The errors of runs that were deleted."""

from __future__ import annotations

from oga_core.errors import InputError


class DeletedRun(InputError):
    """A run was deleted and is in the trash."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} is in the trash; oga undelete {run_id} puts it back")


class UnknownRun(InputError):
    """There is no such run: it was removed for good, or never was in this workspace."""
