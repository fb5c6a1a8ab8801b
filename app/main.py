"""The pages, and what all of them share: the run, the one selection, and who is reviewing."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import login, state
from app.components import guide, influence, map_panel, selection_panel
from app.components.literal import literal
from oga_core import InputError

LOGO = Path(__file__).with_name("logo.svg")

st.set_page_config(page_title="OGA", page_icon=str(LOGO), layout="wide")
st.logo(str(LOGO), size="large")
st.html(Path(__file__).with_name("style.css"))

if login.is_asked_for() and login.user() is None:
    login.draw()
    st.stop()

state.release_deleted()
INFLUENCE = st.Page(
    "app_pages/influence.py",
    title="Influence",
    icon=":material/compare_arrows:",
    help="Which training samples push the model towards a test sample, and which against it.",
)
PAGES = [
    st.Page(
        "app_pages/start.py",
        title="Start",
        icon=":material/play_circle:",
        default=True,
        help="Give a model and the data it was trained on, and score the data.",
    ),
    st.Page(
        "app_pages/scores.py",
        title="Scores",
        icon=":material/bar_chart:",
        help="How suspicious the samples are, and what would be flagged.",
    ),
    st.Page(
        "app_pages/map.py",
        title="Map",
        icon=":material/bubble_chart:",
        help="The gradients as a map: pick samples with the lasso.",
    ),
    st.Page(
        "app_pages/review.py",
        title="Review",
        icon=":material/fact_check:",
        help="Look at the selected samples and decide: keep, remove, relabel.",
    ),
    *([INFLUENCE] if influence.is_offered(state.current_run()) else []),
    st.Page("app_pages/export.py", title="Export", icon=":material/download:", help="Leave with the lists or the cleaned data."),
]

page = st.navigation(PAGES, position="top")
run = state.current_run()
try:
    if why := state.workspace().read_only:
        st.warning(literal(why), icon=":material/lock:")
    if missing := state.missing_run():
        st.warning(literal(missing), icon=":material/delete:")
    if run is not None and run.status().state == "done":
        state.keep_url(run)
        map_panel.apply_actions(run)
        selection_panel.draw(run)
        guide.draw(run, page.url_path)
    page.run()
except Exception as error:
    if run is not None and (missing := state.missing_run()):  # deleted while the page was drawn
        st.warning(literal(missing), icon=":material/delete:")
    elif isinstance(error, InputError):
        st.error(literal(error), icon=":material/error:")
    else:
        raise
