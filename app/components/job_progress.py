"""Progress of a job: a component of our own that asks the server by itself, and reruns the page when the job has ended.

Streamlit's timed fragments are not used: one that meets a change of page can break the page (its issue 15084).
"""

from __future__ import annotations

from dataclasses import asdict

from app.components.component import define_component, read_file
from oga_core import Run


def job_progress(run: Run, kind: str, label: str, *, percent: bool, key: str) -> None:
    """Draw a line of text and a bar.

    Parameters
    ----------
    kind
        Of the job, as `Run.job` takes it.
    label
        Name of the job, for people.
    percent
        Whether to show it in percent of the whole, or in steps of its stage.
    key
        Of the element.
    """
    status = asdict(run.job(kind).status())
    data = {"run": run.id, "kind": kind, "label": label, "percent": percent, "status": status}
    _PROGRESS(key=key, data=data, on_ended_change=lambda: None)


_PROGRESS = define_component(
    "oga_job_progress",
    html=read_file("job_progress/skeleton.html"),
    css=("job_progress/progress.css",),
    js="job_progress/progress.js",
)
