"""The process of the sandbox: ``python -m oga_core.sandbox.server``, asked through a socket, its standard input.

It opens one data set, with the limits that it receives, and then answers about it until the socket is closed.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oga_core import models, scoring
from oga_core.children import end_with_parent
from oga_core.containment import allow_seconds, contain, machine_bytes, seclude
from oga_core.data import Dataset, SampleError, open_dataset
from oga_core.errors import InputError
from oga_core.limits import READER_BYTES, READER_SECONDS, set_limits
from oga_core.sandbox import wire

if TYPE_CHECKING:
    from oga_core.scoring.one_sample import OpenedModel

TOLD = (InputError, SampleError, TypeError, IndexError)
"""Errors that a reader of data raises itself, and passes on to the client."""


def import_models(_: None) -> None:
    """Import what `estimate_run` needs: seconds, which who looks at images should not wait."""
    import oga_core.models.loader
    import oga_core.scoring.estimate  # noqa: F401


def estimate_run(
    dataset: Dataset, model: str | None, weights: str | None, scopes: list[str], folds: int | None
) -> dict[str, Any]:
    """Return the fields of `Outlook`."""
    classifier = models.load_model(model, Path(weights), dataset) if weights is not None else None
    costs = scoring.estimate(dataset, classifier, scopes, folds)
    return {
        "model": classifier.name if classifier else f"{models.starter_for(dataset)}, trained first",
        "notes": classifier.notes if classifier else [],
        "mapping": models.class_mapping(classifier, dataset) if classifier else [],
        "costs": {scope: [cost.parameters, cost.seconds, cost.bytes] for scope, cost in costs.items()},
    }


def open_model(dataset: Dataset, model: str | None, weights: str | None) -> OpenedModel:
    """Return the model with its data; it is kept for the next question while its files stay as they are."""
    path = Path(weights) if weights is not None else None
    files = [path, *sorted(path.rglob("*"))] if path is not None else []
    return _open_model(dataset, model, path, tuple(file.stat().st_mtime_ns for file in files if file.exists()))


@lru_cache(maxsize=1)
def _open_model(dataset: Dataset, model: str | None, weights: Path | None, changed: tuple[int, ...]) -> OpenedModel:
    return scoring.one_sample.OpenedModel(dataset, model, weights)


def excerpts(dataset: Dataset, samples: list[tuple[int, str]], most: int) -> list[list[tuple[str, int]] | None]:
    """Return the result of `SandboxedDataset.excerpts`."""
    return [_excerpt(dataset, index, sample_id, most) for index, sample_id in samples]


def _excerpt(dataset: Dataset, index: int, sample_id: str, most: int) -> list[tuple[str, int]] | None:
    try:
        words = dataset.words(index) if dataset.holds(index, sample_id) else None
    except SampleError:
        return None
    return None if words is None else [(word[:most], len(word)) for word in words]


def facts(dataset: Dataset) -> dict[str, Any]:
    """Return the properties of the data other than labels and sources, of which there may be millions."""
    return {
        "kind": dataset.kind,
        "class_names": dataset.class_names,
        "notes": dataset.notes,
        "label_column": dataset.label_column,
    }


OPERATIONS: dict[str, Callable[..., Any]] = {
    # of the program
    "import_models": import_models,
    "list_architectures": lambda _: list(models.architectures()),
    # of the data
    "facts": facts,
    "labels": lambda dataset: np.ascontiguousarray(dataset.labels, "<i8"),
    "sources": lambda dataset: dataset.sources,
    "originals": lambda dataset, start, stop: [dataset.original(i) for i in range(start, min(stop, len(dataset)))],
    "excerpts": excerpts,
    "search": lambda dataset, words: dataset.search(words),
    # of a sample
    "source": lambda dataset, index: str(dataset.sources[index]),
    "content": lambda dataset, index: dataset.content(index),
    "load": lambda dataset, index: dataset.load(index),
    "thumbnail": lambda dataset, index, size: dataset.thumbnail(index, size),
    "text": lambda dataset, index: dataset.text(index),
    "words": lambda dataset, index: list(dataset.words(index)),
    "sample_id": lambda dataset, index: dataset.sample_id(index),
    "holds": lambda dataset, index, sample_id: dataset.holds(index, sample_id),
    # of a model with the data
    "estimate_run": estimate_run,
    "squared_norms": lambda dataset, model, weights, *asked: open_model(dataset, model, weights).squared_norms(*asked),
    "token_losses": lambda dataset, model, weights, *asked: open_model(dataset, model, weights).token_losses(*asked).to_dict(),
    "gradient": lambda dataset, model, weights, *asked: open_model(dataset, model, weights).gradient(*asked).to_dict(),
}
"""Operations that the client may request, by name."""


def main() -> None:
    end_with_parent()
    seclude()
    connection = _connection()
    os.dup2(2, 1)  # what a library prints is no answer
    tempfile.gettempdir()  # is found by writing to it, and torch asks
    with suppress(EOFError, OSError):  # who asks is gone
        _answer(connection)


def _connection() -> socket.socket:
    """The socket to who asks: standard input itself, or the end of a bridge to standard input and output."""
    if sys.platform != "win32":
        return socket.socket(fileno=os.dup(0))
    ours, theirs = socket.socketpair()
    wire.bridge(theirs, os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    return ours


def _answer(connection: socket.socket) -> None:
    """Answer until the socket is closed, which raises."""
    dataset: Dataset | None = None
    while True:
        (name, given), _ = wire.receive(connection)
        try:
            if name == "open":
                source, options, limits = given
                set_limits(limits)
                contain(min(READER_BYTES.value, machine_bytes()), writes=False)
            allow_seconds(READER_SECONDS.value)
            if name == "open":
                dataset = open_dataset(source, **options)
                value: Any = None
            else:
                value = OPERATIONS[name](dataset, *given)
            answer = wire.pack(value)
        except BaseException as error:  # after any error, the next question may be answered
            if isinstance(error, KeyboardInterrupt):
                raise
            answer = _describe_error(error), b""
        wire.send(connection, *answer)


def _describe_error(error: BaseException) -> dict[str, Any]:
    """Return the answer to a question that failed."""
    told = str(error) if isinstance(error, TOLD) else "".join(traceback.format_exception(error))
    kind = next((kind.__name__ for kind in TOLD if isinstance(error, kind)), "")
    return {"is": "error", "kind": kind, "told": told, "memory": _is_out_of_memory(error)}


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory that was refused is behind an error; torch has no type for it."""
    behind = error.__cause__ or error.__context__
    return (
        isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
        or (behind is not None and _is_out_of_memory(behind))
    )


if __name__ == "__main__":
    main()
