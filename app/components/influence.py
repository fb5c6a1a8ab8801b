"""A test sample, written or chosen, and the training samples that push towards it and against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.components.literal import literal, visible
from app.components.triage import triage
from oga_core import InputError, Run
from oga_core.data.dataset import IN_WORDS
from oga_core.influence import against, gradient_of, influence_of_row, towards, with_cosines
from oga_core.measured import CHARACTERS
from oga_core.review import Selection

WAYS = ["Written here", "A sample of the run"]
COUNTS = [6, 12, 30]
"""Samples of each kind that are shown."""
_FOUND = "influence_found"


@dataclass(frozen=True)
class Found:
    """The training samples found for a test sample in words."""

    run: str
    prompt: str
    answer: str
    samples: pd.DataFrame
    loss: float


def is_offered(run: Run | None) -> bool:
    """Return whether a run's model can be given a test sample in words."""
    return run is not None and run.status().state == "done" and run.summary.kind in IN_WORDS


def draw(run: Run) -> None:
    """Draw the form, and what was found."""
    if not is_offered(run):
        st.info("This page is for runs on texts, or on prompts with answers.", icon=":material/info:")
        return
    st.text(
        "Choose a test sample: OGA compares its gradient with that of every training sample. Where the two point the same way, "
        "training on that sample pushes the model towards the test sample's answer; where they point apart, against it."
    )
    way = st.segmented_control("Test sample", WAYS, default=WAYS[0], required=True, key="influence_way")
    try:
        samples = _draw_form(run) if way == WAYS[0] else _draw_choice(run)
        if samples is not None:
            _draw_found(run, samples)
    except InputError as error:
        st.error(literal(error), icon=":material/error:")


def _draw_form(run: Run) -> pd.DataFrame | None:
    """Draw the form of a written test sample; return the training samples found for the last one."""
    known: Found | None = st.session_state.get(_FOUND)
    if known is not None and known.run != run.id:
        known = None
    with st.form("influence_test"):
        left, right = st.columns(2)
        prompt = left.text_area(
            run.task.sample_input, known.prompt if known else "", max_chars=CHARACTERS, key="influence_prompt"
        )
        if run.task.names_class:
            names = run.class_names
            answer = right.selectbox(
                "Class", names, names.index(known.answer) if known else 0, format_func=visible, key="influence_answer"
            )
        else:
            answer = right.text_area(
                "Answer",
                known.answer if known else "",
                max_chars=CHARACTERS,
                key="influence_answer",
                help="The loss is taken on these words alone, given the prompt.",
            )
        asked = st.form_submit_button("Find the training samples", type="primary", icon=":material/compare_arrows:")
    if asked:
        st.session_state.pop(_FOUND, None)
        with st.spinner("Opening the model, and taking the gradient …"):
            found = gradient_of(run, prompt, str(answer), state.model(run))
        cosines = run.factors.cosines_with(found.residual, found.feature)
        known = Found(run.id, prompt, str(answer), _take_ends(with_cosines(run, cosines, found.norm)), found.loss)
        st.session_state[_FOUND] = known
    if known is None:
        return None
    st.text(f"Loss of the test sample: {known.loss:.4g} {run.task.loss_unit}")
    return known.samples


def _draw_choice(run: Run) -> pd.DataFrame:
    """Draw the choice of a sample of the run, at first the one last looked at; return the training samples found for it."""
    indices = run.table["index"].to_numpy()
    focus = run.rows_of([st.session_state.get(state.FOCUS) or ""])
    index = st.number_input(
        "Position in the data",
        0,
        int(indices[-1]),
        int(indices[focus[0] if len(focus) else 0]),
        key="influence_index",
        help="From 0, as the table of the scores has it.",
        width=240,
    )
    row = int(np.searchsorted(indices, index))
    if indices[row] != index:
        raise InputError(f"the sample at position {index} was not scored; the page Start says why")
    with st.container(border=True):
        st.text(visible(state.dataset(run.id).text(int(index))))
        st.caption(literal(f"{run.table['source'].iloc[row]}, {run.table['label'].iloc[row]}"))
    return _rank_by_row(run.id, row)


@state.clear_with_runs
@st.cache_resource(max_entries=16, show_spinner=False)  # a decision draws the page anew
def _rank_by_row(chosen: str, row: int) -> pd.DataFrame:
    return _take_ends(influence_of_row(state.load_run(chosen), row))


def _take_ends(samples: pd.DataFrame) -> pd.DataFrame:
    """Return both ends of samples in the order of their cosines: all that can be shown."""
    most, count = COUNTS[-1], len(samples)
    return samples.iloc[[*range(min(most, count)), *range(max(most, count - most), count)]]


def _draw_found(run: Run, samples: pd.DataFrame) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        count = st.segmented_control("Samples each way", COUNTS, default=COUNTS[1], required=True, key="influence_count")
        both = pd.concat([towards(samples, count), against(samples, count)])
        reviewed = st.button(f"Review these {len(both):,}", icon=":material/fact_check:", disabled=not len(both))
    error = samples["error"].max()
    exact = (
        "The gradients are those of the head, and the cosines are exact."
        if error == 0
        else (f"Gradients are known by sketches: a cosine near 0 has a standard error of about {error:.2f}, others less.")
    )
    st.caption(
        "Cosine of two gradients: above 0, a small step of gradient descent on the training sample lowers the loss of the test "
        f"sample, below 0 it raises it. {exact}"
    )
    if reviewed:
        chosen = state.selection(run)
        state.put(run, Selection(chosen.detector, chosen.budget, flagged_only=False, samples=tuple(both["sample_id"])))
        st.switch_page("app_pages/review.py")
    triage(
        run, both.index.to_numpy(np.int32), layout="gallery", key="influence_triage", cosines=both["cosine"].to_numpy(np.float32)
    )
