"""A job's state is true, however its process ends, and a cancel reaches it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oga_core.errors import InputError
from oga_core.progress import Cancelled, silent
from oga_core.runs import Job, Run, Workspace

SECONDS = 20.0
"""How long is waited for what should happen at once."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Workspace(tmp_path).new_run("a run")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["sleep", "600"])
    yield started
    started.kill()
    started.wait()


def elsewhere(job: Job) -> Job:
    """The job as another process sees it."""
    return Job(job.path, job.run_id, job.kind)


def becomes(state: str, job: Job) -> bool:
    end = time.monotonic() + SECONDS
    while job.status().state != state and time.monotonic() < end:
        time.sleep(0.01)
    return job.status().state == state


def test_a_job_nobody_has_started_is_absent(run: Run) -> None:
    assert run.job("map").status().state == "absent"
    assert not run.job("map").status().finished
    assert not run.job("map").cancel_asked


def test_a_job_runs_and_then_is_done_and_its_progress_is_seen_elsewhere(run: Run) -> None:
    job, told = run.job("score"), []
    with job.track(lambda *report: told.append(report)) as progress:
        assert elsewhere(job).status().state == "running"
        progress("scoring", 3, 10)
        seen = elsewhere(job).status()
        assert (seen.state, seen.stage, seen.done, seen.total) == ("running", "scoring", 3, 10)
        assert not seen.finished
    assert elsewhere(job).status().state == "done"
    assert elsewhere(job).status().finished
    assert told == [("scoring", 3, 10)]


def test_the_end_of_a_stage_is_entered_however_soon_it_comes(run: Run) -> None:
    with run.job("score").track(silent) as progress:
        progress("scoring", 1, 10)
        progress("scoring", 10, 10)
        assert run.job("score").status().done == 10


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (InputError("no such column"), "failed", "no such column"),
        (ZeroDivisionError("division"), "failed", "unexpected ZeroDivisionError: division"),
        (Cancelled(), "cancelled", "stopped by the user"),
        (KeyboardInterrupt(), "cancelled", "stopped by the user"),
    ],
)
def test_an_exception_ends_the_job_and_is_passed_on(run: Run, error: BaseException, state: str, message: str) -> None:
    job = run.job("score")

    def work() -> None:
        with job.track(silent):
            raise error

    with pytest.raises(type(error)):
        work()
    status = elsewhere(job).status()
    assert (status.state, status.message, status.finished) == (state, message, True)


def test_a_job_can_be_done_again_after_it_failed(run: Run) -> None:
    job = run.job("score")
    with pytest.raises(InputError), job.track(silent):
        raise InputError("no such column")
    with job.track(silent):
        assert job.status().message == ""
    assert job.status().state == "done"


def test_a_job_whose_process_was_killed_has_failed(run: Run, process: subprocess.Popen[bytes]) -> None:
    job = run.job("score")
    job.entered(process.pid)
    assert job.status().state == "running"
    process.kill()
    assert becomes("failed", job)  # a zombie still: nobody has waited for it
    process.wait()
    status = job.status()
    assert status.state == "failed"
    assert "ended unexpectedly" in status.message


def test_a_job_that_vanished_after_a_cancel_was_cancelled(run: Run, process: subprocess.Popen[bytes]) -> None:
    job = run.job("score")
    job.entered(process.pid)
    job.cancel()
    assert job.status().state == "running"
    process.kill()
    assert becomes("cancelled", job)


def cancelled(work: Callable[[], None], job: Job) -> None:
    with pytest.raises(Cancelled):
        work()
    assert elsewhere(job).status().state == "cancelled"


def test_a_cancel_is_noticed_at_the_next_stage(run: Run) -> None:
    job = run.job("score")

    def work() -> None:
        with job.track(silent) as progress:
            progress("opening", 0, 1)
            elsewhere(job).cancel()
            progress("scoring", 0, 9)

    cancelled(work, job)


def test_a_cancel_is_noticed_within_a_long_stage(run: Run) -> None:
    job = run.job("score")

    def work() -> None:
        with job.track(silent) as progress:
            progress("scoring", 0, 9)
            elsewhere(job).cancel()
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                progress("scoring", 1, 9)

    cancelled(work, job)


def test_a_cancel_left_before_the_worker_came_up_is_not_lost(run: Run) -> None:
    job = run.job("score")
    job.entered(os.getpid())
    elsewhere(job).cancel()

    def work() -> None:
        with job.track(silent) as progress:
            progress("opening", 0, 1)

    cancelled(work, job)


def test_a_cancel_of_an_earlier_try_does_not_stop_the_next(run: Run) -> None:
    job = run.job("score")

    def work() -> None:
        with job.track(silent) as progress:
            job.cancel()
            progress("opening", 0, 1)

    cancelled(work, job)
    assert not job.cancel_asked
    with job.track(silent) as progress:
        progress("opening", 0, 1)
    assert job.status().state == "done"


def test_two_jobs_of_a_run_and_of_two_runs_do_not_touch_each_other(run: Run) -> None:
    other = run.workspace.new_run("another")
    with run.job("score").track(silent) as scoring, run.job("map").track(silent), other.job("score").track(silent) as second:
        run.job("map").cancel()
        scoring("scoring", 1, 2)
        second("opening", 0, 1)
        assert run.job("map").cancel_asked
        assert [job.status().stage for job in (run.job("score"), run.job("map"), other.job("score"))] == [
            "scoring",
            "starting",
            "opening",
        ]
    assert run.status().state == "done"
