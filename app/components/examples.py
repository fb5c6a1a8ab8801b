"""The embedded examples: ordinary runs on data that come with OGA."""

from __future__ import annotations

import streamlit as st

from app import state
from oga_core import worker
from oga_core.data.examples import EXAMPLES
from oga_core.scoring import prepare_example


def draw() -> None:
    """Draw a card for each example."""
    for column, example in zip(st.columns(len(EXAMPLES)), EXAMPLES.values(), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.subheader(example.title)
            st.text(example.note)
            if st.button("Open this example", key=f"example_{example.name}", type="primary", icon=":material/play_arrow:"):
                with st.spinner("Writing the example's files …"):
                    run = prepare_example(state.workspace(), example.name)
                state.open_run(run)
                worker.start(run, "score")
                st.rerun()
