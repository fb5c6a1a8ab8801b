"""The form on the start page: data, model, scope, detectors, and what it will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from app import state
from app.components import examples
from app.components.literal import literal
from oga_core import Dataset, InputError, load_model, open_dataset, worker
from oga_core.data import SOURCES
from oga_core.detectors import ALWAYS, CONTROLS, DEFAULT, DETECTORS, named
from oga_core.models import Classifier, architectures, class_mapping, starter_for
from oga_core.models.weights import SUFFIXES
from oga_core.scoring import NAMED, Estimate, estimate, prepare
from oga_core.serving import allowed_path

WAYS = ["An example", "Files dropped here", "A path on the server"]
STARTER = "A starter model, trained here"
OWN = "My own weights"
PATTERN = "pattern"
MEANING = {"head": "The last linear layer", "all": "Every parameter", "lora": "The LoRA adapters"}
BY_FILE = "as the file says"


@dataclass(frozen=True)
class Model:
    """What the user chose as the model; nothing of it means a starter that is trained here."""

    architecture: str | None = None
    weights: Path | None = None


def draw(way: str) -> None:
    """Draw the form for one way of giving data."""
    if way == WAYS[0]:
        examples.draw()
        return
    dropped = way == WAYS[1]
    data = _dropped("Data", "data_file", SOURCES) if dropped else _by_path("Path of the data", "data_path")
    if dropped:
        st.caption("A zip with one folder of images a class; a table with a text and a label column; an .npz.")
    model = _model(dropped)
    with st.expander("Columns, detectors, seed", icon=":material/tune:"):
        left, right = st.columns(2)
        inputs = left.text_input("Text column, or array of the samples", key="inputs", placeholder="found by its usual names")
        label = right.text_input("Label column or array", key="label", placeholder="found by its usual names")
        seed = left.number_input("Seed", 0, 2**31 - 1, 0, help="Of the starter model, the forest and the random control.")
        offered = [*DETECTORS, *(name for name in CONTROLS if name not in ALWAYS)]
        names = st.multiselect("Detectors", offered, default=DEFAULT, format_func=lambda name: named(name).title)
        st.caption("Beside them, always: Recommended, " + ", ".join(named(name).title for name in ALWAYS))
        folds = st.number_input(
            "More starter models for the recommendation", 0, 20, None, placeholder="5 for texts and features, none for images",
            help="Each is trained without a part of the samples, so that no label is judged by a model that has seen it.",
        )  # fmt: skip
    if data is None or model is None:
        return
    try:
        found = _found(str(data), inputs or None, label or None, model, folds, Path(data).stat().st_mtime_ns)
        scope = _scope(found, folds)
        _draw_facts(found, scope)
        if not names:
            raise InputError("choose at least one detector")
    except InputError as error:
        st.error(literal(error), icon=":material/error:")
        return
    if st.button("Score the samples", key="score", type="primary", icon=":material/play_arrow:"):
        try:
            run = prepare(
                state.workspace(), data, inputs=inputs or None, label=label or None,
                model=model.architecture, weights=model.weights, scope=scope, detectors=names, seed=int(seed), folds=folds,
                title=Path(data).name,
            )  # fmt: skip
        except InputError as error:
            st.error(literal(error), icon=":material/error:")
            return
        state.open_run(run)
        worker.start(run, "score")
        st.rerun()


def _dropped(label: str, key: str, suffixes: tuple[str, ...]) -> Path | None:
    kept = st.file_uploader(label, type=[s.lstrip(".") for s in suffixes], key=key)
    return state.workspace().keep_upload(kept.name, kept.getvalue()) if kept is not None else None


def _by_path(label: str, key: str) -> Path | None:
    given = st.text_input(label, key=key, placeholder="below a folder that oga serve was given with --root")
    if not given.strip():
        return None
    try:
        return allowed_path(given.strip())
    except InputError as error:
        st.error(literal(error), icon=":material/error:")
        return None


def _model(dropped: bool) -> Model | None:
    chosen = st.segmented_control("Model", [STARTER, OWN], default=STARTER, required=True, key="model")
    if chosen == STARTER:
        return Model()
    left, right = st.columns(2)
    with left:
        name = st.selectbox("Architecture", [BY_FILE, *architectures()], key="architecture",
                            help="Weights that OGA has saved say which architecture they belong to.")  # fmt: skip
    with right:
        weights = _dropped("Weights", "weights_file", SUFFIXES) if dropped else _by_path("Path of the weights", "weights_path")
    return Model(None if name == BY_FILE else name, weights) if weights is not None else None


@dataclass(frozen=True)
class Found:
    """What was found in the data and the model, before anything is scored; ``costs`` by scope."""

    dataset: Dataset
    classifier: Classifier | None
    costs: dict[str, Estimate]


@st.cache_resource(max_entries=4, show_spinner="Looking at data and model …")
def _found(data: str, inputs: str | None, label: str | None, model: Model, folds: int | None, changed: int) -> Found:
    """Open data and model once, not at every rerun; InputError where they do not fit together."""
    dataset = open_dataset(data, inputs=inputs, label=label)
    classifier = load_model(model.architecture, model.weights, dataset) if model.weights is not None else None
    return Found(dataset, classifier, estimate(dataset, classifier, folds=folds))


def _scope(found: Found, folds: int | None) -> str:
    """The scope, chosen beside what each would cost."""
    named = [scope for scope in NAMED if scope in found.costs]
    captions = [f"{MEANING[s]}: {found.costs[s].parameters:,} values, about {_seconds(found.costs[s].seconds)}" for s in named]
    scope = st.radio("Scope: the parameters whose gradient is taken", [*named, PATTERN], key="scope", horizontal=True,
                     captions=[*captions, "Layers by the names of their parameters."])  # fmt: skip
    if scope == PATTERN:
        scope = st.text_input("Names, joined by commas", key="pattern", placeholder="layer4.*, *.weight").strip()
        if not scope:
            raise InputError("write the names of some parameters, with * for anything")
        if scope not in found.costs:
            found.costs.update(estimate(found.dataset, found.classifier, [scope], folds))
    return str(scope)


def _draw_facts(found: Found, scope: str) -> None:
    """Counts, cost, notes and the class mapping."""
    dataset, classifier, cost = found.dataset, found.classifier, found.costs[scope]
    name = classifier.name if classifier else f"{starter_for(dataset)}, trained first"
    facts = (("Samples", f"{len(dataset):,}"), ("Classes", f"{len(dataset.class_names):,}"), ("Kind", dataset.kind),
             ("Model", name), ("Scope", f"{cost.parameters:,} values"), ("Time", f"about {_seconds(cost.seconds)}"),
             ("Memory", f"about {max(1, cost.bytes // 1_000_000):,} MB"))  # fmt: skip
    with st.container(border=True, horizontal=True):
        for label, value in facts:
            with st.container(width="content"):
                st.caption(label)
                st.text(value)
    for note in (*dataset.notes, *(classifier.notes if classifier else ())):
        st.text(f"Note: {note}")
    if classifier is not None:
        with st.expander("Which output of the model is which class", icon=":material/swap_horiz:"):
            rows = [
                {"class in the data": a, "output": i, "class of the model": b} for a, i, b in class_mapping(classifier, dataset)
            ]
            st.dataframe(rows, hide_index=True)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
