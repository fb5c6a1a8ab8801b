"""The embedded examples: the ordinary road, on data that is already there."""

from __future__ import annotations

import streamlit as st

from app import jobs, state
from oga_core import Run
from oga_core.data.examples import EXAMPLES, make_example
from oga_core.scoring import prepare

WANTED = "example"
"""Name in the URL: start this example at once."""


def start(name: str) -> Run:
    """Score an example in the background and make it the current run."""
    workspace = state.workspace()
    with st.spinner("Writing the example's files …"):
        path = make_example(name, workspace.path / "examples")
    run = prepare(workspace, path, title=EXAMPLES[name].title, notes=[EXAMPLES[name].note])
    state.open_run(run)
    jobs.start(run, "score")
    return run


def draw() -> None:
    """A card for each example."""
    for column, example in zip(st.columns(len(EXAMPLES)), EXAMPLES.values(), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.subheader(example.title)
            st.text(example.note)
            if st.button("Open this example", key=f"example_{example.name}", type="primary", icon=":material/play_arrow:"):
                start(example.name)
                st.rerun()
