"""The form on the start page: data, model, scope, detectors, and what it will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from app import state
from app.components import examples
from app.components.literal import literal
from app.components.upload import upload
from oga_core import InputError, hub, worker
from oga_core.data import SOURCES
from oga_core.data.saved_datasets import MARKS
from oga_core.detectors import ALWAYS, CONTROLS, DEFAULT, DETECTORS, choose_detectors as chosen_detectors, make_detector
from oga_core.model_files import ADAPTER, CONFIG, SUFFIXES
from oga_core.sandbox import Outlook, SandboxedDataset, SandboxedModel, list_architectures, open_sandboxed, start_spare
from oga_core.scoring import SCOPES, prepare
from oga_core.serving import check_path

WAYS = ["Example", "Upload", "Server path"]
STARTER = "A starter model, trained here"
OWN = "My model"
PATTERN = "pattern"
MEANING = {"head": "The last linear layer", "all": "Every parameter", "lora": "The LoRA adapters"}
BY_FILE = "Detect from file"


@dataclass(frozen=True)
class Data:
    """The user's choice of data; the time of their last change, in nanoseconds, separates new data from old."""

    path: str
    inputs: str | None
    label: str | None
    changed: int


@dataclass(frozen=True)
class Model:
    """The user's choice of model; without any, a starter is trained here."""

    architecture: str | None = None
    weights: Path | None = None
    changed: int = 0


@dataclass(frozen=True)
class Options:
    """The user's other choices."""

    inputs: str | None
    label: str | None
    seed: int
    detectors: list[str]
    folds: int | None


def draw(way: str) -> None:
    """Draw the form for one way of giving data."""
    if way == WAYS[0]:
        examples.draw()
        return
    start_spare()
    dropped = way == WAYS[1]
    path = _choose_data(dropped)
    model = _choose_model(dropped)
    options = _draw_options()
    if path is None or model is None:
        return
    try:
        data = Data(str(path), options.inputs, options.label, path.stat().st_mtime_ns)
        outlook = _estimate(data, model, SCOPES, options.folds)
        scope = _choose_scope(outlook)
        if scope not in outlook.costs:
            outlook = _estimate(data, model, (scope,), options.folds)
        _draw_facts(_open(data), outlook, scope)
        if not options.detectors:
            raise InputError('"Detectors" is empty: choose at least one')
        chosen_detectors(options.detectors, _open(data).task)
        if st.button("Score the samples", key="score", type="primary", icon=":material/play_arrow:"):
            _start_run(path, model, scope, options)
    except InputError as error:
        st.error(literal(error), icon=":material/error:")


def _choose_data(dropped: bool) -> Path | None:
    if not dropped:
        return _choose_path("Path of the data", "data_path")
    path = upload("Data", SOURCES, MARKS, key="data_file")
    st.caption(
        "A zip with one folder of images a class; a table with a text and a label column, or prompt and answer; "
        "an .npz; what save_to_disk of datasets has written."
    )
    return path


def _draw_options() -> Options:
    with st.expander("Columns, detectors, seed", icon=":material/tune:"):
        left, right = st.columns(2)
        inputs = left.text_input(
            "Text column, or array of the samples",
            key="inputs",
            placeholder="Auto-detect",
            help="Two texts as first,second; a prompt and its answer as prompt>answer.",
        )
        label = right.text_input("Label column or array", key="label", placeholder="Auto-detect")
        seed = left.number_input("Seed", 0, 2**31 - 1, 0, help="Of the starter model, the forest and the random control.")
        offered = [*DETECTORS, *(name for name in CONTROLS if name not in ALWAYS)]
        names = st.multiselect("Detectors", offered, default=DEFAULT, format_func=lambda name: make_detector(name).title)
        st.caption("Beside them, always: Recommended, " + ", ".join(make_detector(name).title for name in ALWAYS))
        folds = st.number_input(
            "More starter models for the recommendation",
            0,
            20,
            None,
            placeholder="5 for texts and features, none for images",
            help="Each is trained without a part of the samples, so no label is judged by a model trained on it.",
        )
    return Options(inputs or None, label or None, int(seed), names, folds)


def _start_run(data: Path, model: Model, scope: str, options: Options) -> None:
    """Start a run and make it the current one."""
    run = prepare(
        state.workspace(),
        data,
        inputs=options.inputs,
        label=options.label,
        model=model.architecture,
        weights=model.weights,
        scope=scope,
        detectors=options.detectors,
        seed=options.seed,
        folds=options.folds,
        title=data.name,
    )
    state.open_run(run)
    worker.start(run, "score")
    st.rerun()


def _choose_path(label: str, key: str, hub_too: bool = False) -> Path | None:
    """Return the path that is entered, if it is allowed; with `hub_too` it may be the name of a model on the Hugging Face hub."""
    placeholder = "below a folder that oga serve was given with --root"
    if hub_too:
        placeholder += ", or a name on the Hugging Face hub"
    given = st.text_input(label, key=key, placeholder=placeholder).strip()
    if not given:
        return None
    try:
        try:
            return check_path(given)
        except InputError:
            if hub_too and hub.NAME.fullmatch(given):
                return _download(given)
            raise
    except InputError as error:
        st.error(literal(error), icon=":material/error:")
        return None


@st.cache_resource(max_entries=16, show_spinner="Downloading the model …")
def _download(name: str) -> Path:
    return hub.download_model(name)


def _choose_model(dropped: bool) -> Model | None:
    chosen = st.segmented_control("Model", [STARTER, OWN], default=STARTER, required=True, key="model")
    if chosen == STARTER:
        return Model()
    try:
        with st.spinner("Listing the architectures …"):
            names = list_architectures()
    except InputError as error:
        st.error(literal(error), icon=":material/error:")
        return None
    left, right = st.columns(2)
    with left:
        name = st.selectbox(
            "Architecture",
            [BY_FILE, *names],
            key="architecture",
            help="Weights that OGA has saved say which architecture they belong to.",
        )
    with right:
        if dropped:
            weights = upload("Weights", (*SUFFIXES, ".zip"), (CONFIG, ADAPTER), key="weights_file")
        else:
            weights = _choose_path("Path of the weights", "weights_path", hub_too=hub.is_allowed())
    if weights is None:
        return None
    return Model(None if name == BY_FILE else name, weights, weights.stat().st_mtime_ns)


@state.clear_with_runs
@st.cache_resource(max_entries=2, show_spinner="Looking at the data …")
def _open(data: Data) -> SandboxedDataset:
    """Open the data once, not at every rerun, in a process of their own."""
    return open_sandboxed(data.path, inputs=data.inputs, label=data.label, use_spare=True)


@state.clear_with_runs
@st.cache_resource(max_entries=16, show_spinner="Looking at data and model …")
def _estimate(data: Data, model: Model, scopes: tuple[str, ...], folds: int | None) -> Outlook:
    """Open the weights in the process that reads the data; InputError where they do not fit together."""
    return SandboxedModel(_open(data), model.architecture, model.weights).estimate_run(scopes, folds)


def _choose_scope(outlook: Outlook) -> str:
    """Draw the scopes with their costs; return the chosen one."""
    offered = [scope for scope in SCOPES if scope in outlook.costs]
    costs = [outlook.costs[s] for s in offered]
    captions = [
        f"{MEANING[s]}: {c.parameters:,} parameters, about {_format_seconds(c.seconds)}"
        for s, c in zip(offered, costs, strict=True)
    ]
    scope = st.radio(
        "Scope: the parameters whose gradient is taken",
        [*offered, PATTERN],
        key="scope",
        horizontal=True,
        captions=[*captions, "Layers by the names of their parameters."],
    )
    if scope == PATTERN:
        scope = st.text_input("Names, joined by commas", key="pattern", placeholder="layer4.*, *.weight").strip()
        if not scope:
            raise InputError('"Names, joined by commas" is empty: write the names of some parameters, with * for anything')
    return str(scope)


def _draw_facts(dataset: SandboxedDataset, outlook: Outlook, scope: str) -> None:
    """Draw counts, cost, notes and the class mapping."""
    cost = outlook.costs[scope]
    facts = (
        ("Samples", f"{len(dataset):,}"),
        (dataset.task.groups.capitalize(), f"{len(dataset.class_names):,}"),
        ("Kind", dataset.kind),
        ("Model", outlook.model),
        ("Scope", f"{cost.parameters:,} parameters"),
        ("Time", f"about {_format_seconds(cost.seconds)}"),
        ("Memory", f"about {max(1, cost.bytes // 1_000_000):,} MB"),
    )
    with st.container(border=True, horizontal=True):
        for label, value in facts:
            with st.container(width="content"):
                st.caption(label)
                st.text(value)
    for note in (*dataset.notes, *outlook.notes):
        st.text(f"Note: {note}")
    if outlook.mapping:
        with st.expander("Which output of the model is which class", icon=":material/swap_horiz:"):
            rows = [{"class in the data": a, "output": i, "class of the model": b} for a, i, b in outlook.mapping]
            st.dataframe(rows, hide_index=True)


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
