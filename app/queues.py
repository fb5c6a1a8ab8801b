"""The samples that a page shows, in their order: the browser knows a queue by its name and asks for the part it needs."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import streamlit as st

from app import state
from oga_core import Run
from oga_core.errors import one_line
from oga_core.review import Decision, Reviewer, Selection, Standing, pace, standing_of
from oga_core.sandbox import Excerpt

AT_ONCE = 60
"""Most samples in one answer, one page and one action without a confirmation."""
MOST_QUEUES = 16
SHORT = 280
"""Characters of a text in the gallery; of a prompt and of its answer half of them each."""


@dataclass(frozen=True)
class Queue:
    """Rows of ``run.table`` in the order they are reviewed in, int32 ``(n,)``, with the selection they come from.

    Where the order is by cluster, `groups` numbers the samples that look alike, int64 ``(n,)``, and `sizes` counts them. Where
    they were found for a test sample, `cosines` are those of the gradients, float32 ``(n,)``.
    """

    name: str
    rows: np.ndarray
    selection: Selection
    groups: np.ndarray | None
    sizes: np.ndarray | None
    cosines: np.ndarray | None = None

    def find_place(self, row: int) -> int | None:
        """Return the place of a row, or None."""
        found = np.flatnonzero(self.rows == row)
        return int(found[0]) if len(found) else None

    def find_undecided(self, standing: Standing, start: int = 0) -> int | None:
        """Return the first place from `start` on whose sample nobody has decided on, or None."""
        for at in range(start, len(self.rows), 1 << 16):
            found = np.flatnonzero(standing.codes[self.rows[at : at + (1 << 16)]] == 0)
            if len(found):
                return at + int(found[0])
        return None


_queues: OrderedDict[str, Queue] = OrderedDict()
_lock = Lock()


def keep(
    run: Run, rows: np.ndarray, selection: Selection, groups: np.ndarray | None = None, cosines: np.ndarray | None = None
) -> Queue:
    """Give rows a name, the same for equal rows and selections, by which the browser may ask for them; the rest as in `Queue`."""
    rows = rows.astype(np.int32, copy=False)
    digest = hashlib.blake2b(np.ascontiguousarray(rows).data, digest_size=8)
    digest.update(f"{run.id}\0{selection.detector}\0{selection.budget}\0{selection.order}".encode())
    if cosines is not None:
        digest.update(np.ascontiguousarray(cosines).data)
    name = digest.hexdigest()
    with _lock:
        known = _queues.get(name)
    if known is None:
        known = Queue(name, rows, selection, groups, None if groups is None else np.bincount(groups), cosines)
    with _lock:
        _queues[name] = known
        _queues.move_to_end(name)
        while len(_queues) > MOST_QUEUES:
            _queues.popitem(last=False)
    return known


def find(name: str) -> Queue | None:
    """Return a queue by its name; None where it was dropped, or the server has been restarted."""
    with _lock:
        return _queues.get(name)


def measure_progress(run: Run, queue: Queue, reviewer: Reviewer) -> dict[str, Any]:
    """Count the decided samples of a queue, and measure the pace of a reviewer."""
    decided = int(np.count_nonzero(standing_of(run).codes[queue.rows]))
    return {"decided": decided, "total": len(queue.rows), "perMinute": number(pace(run, reviewer).per_minute)}


@state.clear_with_runs
@st.cache_resource(max_entries=16, show_spinner=False)
def _sort_scores(chosen: str, detector: str) -> np.ndarray:
    return np.sort(state.load_run(chosen).table[detector].to_numpy())


def describe_samples(run: Run, rows: Sequence[int] | np.ndarray, detector: str) -> list[dict[str, Any]]:
    """Return the samples of some rows, at most `AT_ONCE`, as JSON for the browser to draw."""
    rows = np.asarray(rows, np.int64)[:AT_ONCE]
    standing = standing_of(run)
    data = state.dataset(run.id)
    below = _sort_scores(run.id, detector)
    columns = ["sample_id", "index", "source", "label", *(run.task.predictions or ["loss"])]
    table = run.table[list(dict.fromkeys([*columns, detector]))].iloc[rows]
    out = []
    for row, entry in zip(rows, table.to_dict("records"), strict=True):
        score = float(entry[detector])
        sample = {
            "row": int(row),
            "id": entry["sample_id"],
            "index": int(entry["index"]),
            "source": one_line(entry["source"]),
            "label": str(entry["label"]),
            **(_describe_prediction(entry) if run.task.predictions else {"loss": number(entry["loss"])}),
            "score": number(score),
            "percentile": number(np.searchsorted(below, score, "right") / len(below)),
            "decision": describe_decision(standing.by_id.get(entry["sample_id"])),
            "disputed": bool(standing.disputed[row]),
        }
        out.append(sample)
    if data.kind != "image":
        excerpts = data.excerpts([(sample["index"], sample["id"]) for sample in out], SHORT)
        for sample, texts in zip(out, excerpts, strict=True):
            if texts is None:
                sample["changed"] = True
            else:
                most = SHORT // len(texts)
                sample |= name_texts([Excerpt(text[:most], length) for text, length in texts])
                sample["long"] = any(length > most for _, length in texts)
    return out


def _describe_prediction(entry: dict[Hashable, Any]) -> dict[str, Any]:
    """Return the predicted and the suggested label of a sample, for JSON."""
    return {
        "predicted": str(entry["predicted"]),
        "confidence": number(entry["confidence"]),
        "suggested": str(entry["suggested_label"]),
        "suggestedBy": str(entry["suggested_label_source"]),
    }


def describe_decision(current: Decision | None) -> dict[str, Any] | None:
    """Return a decision for JSON."""
    if current is None:
        return None
    others = [[word.reviewer, word.action, word.new_label] for word in current.others]  # the names, never the identities
    return {
        "seq": current.seq,
        "action": current.action,
        "label": current.new_label,
        "reviewer": current.reviewer,
        "time": current.time,
        "conflict": current.conflict,
        "disputed": current.disputed,
        "others": others,
    }


def name_texts(excerpts: list[Excerpt]) -> dict[str, str]:
    """Return a sample in words for JSON: one text, or a prompt and its answer."""
    return dict(zip(("text", "answer"), (excerpt.text for excerpt in excerpts)))


def number(value: Any) -> float | None:
    """Return a number for JSON; None for one that is not finite, which JSON does not know."""
    value = float(value)
    return value if math.isfinite(value) else None
