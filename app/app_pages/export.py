"""Leave with the lists or the cleaned data."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import streamlit as st

from app import state
from app.components import empty
from oga_core.detectors import make_detector
from oga_core.export import FORMATS, WHAT, list_exports, remember, render, rows

PREVIEWED = 200
LISTED = 20

run = empty.require_finished_run()
chosen = state.selection(run)

st.title("Export")
left, right = st.columns([3, 1])
what = left.selectbox("What", list(WHAT), format_func=WHAT.__getitem__, key="export_what")
fmt = right.selectbox("Format", list(FORMATS), key="export_format")
title = make_detector(chosen.detector).title
flags_too = what == "flags" or (
    what != "relabelled"
    and st.toggle(
        f"Also the flagged samples that nobody has decided on ({title}, {100 * chosen.budget:g} %), marked as flagged",
        key="export_flags",
    )
)
detector, budget = (chosen.detector, chosen.budget) if flags_too else (None, None)
dataset = state.dataset(run.id) if what == "cleaned" else None
frame = rows(run, what, detector=detector, budget=budget, dataset=dataset)

st.text(f"{len(frame):,} row{'' if len(frame) == 1 else 's'}")
if frame.empty:
    st.info("Nothing to export yet: decide on some samples first.", icon=":material/info:")
    st.page_link("app_pages/review.py", label="Go to Review", icon=":material/fact_check:")
else:
    st.dataframe(frame.head(PREVIEWED), hide_index=True)
    if len(frame) > PREVIEWED:
        st.caption(f"The first {PREVIEWED:,} rows; the file has all.")
    name = f"oga_{run.id}_{what}.{fmt}"

    def make_file() -> bytes:
        data = render(frame, fmt)
        with suppress(OSError):  # a folder that cannot be written to
            remember(run, what, fmt, len(frame), name)
        return data

    st.download_button(
        "Download",
        make_file,
        file_name=name,
        mime="application/octet-stream",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
        key="download",
    )
if fmt == "csv":
    st.caption(
        "CSV encodes two kinds of text: one that a spreadsheet would run as a formula gets an apostrophe before it; one with "
        "control characters begins with '\\\\ and has each as \\\\xNN. OGA decodes both when it opens the file. JSONL and "
        "parquet are exact."
    )
if earlier := list_exports(run):
    st.subheader("Exported before")
    for one in earlier[:LISTED]:
        note = "superseded: decisions have changed since, export again" if one.superseded else "as the decisions stand now"
        st.text(f"{one.time}  {one.what}, {one.format}, {one.rows:,} rows, {Path(one.to).name}: {note}")
