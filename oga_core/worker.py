"""The process that does a job for the dashboard: ``python -m oga_core.worker KIND RUN WORKSPACE``."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from oga_core import maps, scoring
from oga_core.children import end_with_parent, spawn_module
from oga_core.containment import contain, explain_end, limit_reading, machine_bytes, peak_bytes, seclude
from oga_core.errors import InputError
from oga_core.files import open_private
from oga_core.progress import Cancelled
from oga_core.runs import DeletedRun, Job, Run, Workspace

JOBS: dict[str, Callable[[Run], object]] = {
    "score": lambda run: scoring.do_run(run),
    **{kind: partial(maps.do_map, space=space) for space, kind in maps.JOBS.items()},
}
CANCEL_SECONDS = 0.5


def start(run: Run, kind: str) -> None:
    """Start a job in a process of its own, which ends with this one at the latest; an interrupted scoring can be resumed.

    Nothing happens where the job is running already, or where nothing can be saved.

    Raises
    ------
    InputError
        If the run was deleted.
    """
    job = run.job(kind)
    if job.status().state == "running" or run.workspace.read_only:
        return
    if run.deleted:
        raise DeletedRun(run.id)
    # Threads that spin while they wait make a busy machine many times slower.
    environment = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    with open(run.path / f"{kind}.log", "wb", opener=open_private) as log:
        process = spawn_module(
            *("oga_core.worker", kind, run.id, str(run.workspace.path)),
            environment=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        job.entered(process.pid)  # a run that was deleted just now is refused here, and by the process itself
    finally:
        threading.Thread(target=_record_end, args=(process, job), daemon=True).start()


def _record_end(process: subprocess.Popen[bytes], job: Job) -> None:
    """Wait for the process of a job; of one that a signal has ended, enter which, as it could not do so itself."""
    if sys.platform == "win32":  # it has no signals, and a process that is ended there by another one leaves no reason
        process.wait()
        return
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode < 0:
        job.died(process.pid, explain_end(signal.Signals(-process.returncode), peak_bytes(used.ru_maxrss)) + "; start it again")


def main(kind: str, run_id: str, workspace: str) -> int:
    """Do a job; returns the exit code. How it ended is in the workspace."""
    end_with_parent()
    contain(machine_bytes(), writes=True)
    limit_reading()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script has started the server in the background
    run = Workspace(workspace).run(run_id)
    if not run.spec.has_own_code:  # which may need what it likes
        seclude()
    threading.Thread(target=_stop_when_asked, args=(run.job(kind),), daemon=True).start()
    try:
        JOBS[kind](run)
    except (Cancelled, KeyboardInterrupt):
        return 1
    except InputError:
        return 2
    return 0


def _stop_when_asked(job: Job) -> None:
    """Interrupt steps that report no progress of their own, such as UMAP."""
    while not job.cancel_asked:
        time.sleep(CANCEL_SECONDS)
    _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
