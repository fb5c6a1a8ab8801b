"""Folders that ``save_to_disk`` of the library ``datasets`` has written: Arrow files, read without it and without any code."""

from __future__ import annotations

import pyarrow as pa

from oga_core.data.columns import check_cells, plain_columns
from oga_core.data.dataset import Dataset
from oga_core.data.folders import Folder
from oga_core.data.tables import of_columns
from oga_core.errors import InputError, one_line
from oga_core.limits import TABLE_BYTES

INFO, STATE, SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
MARKS = (INFO, SPLITS)
"""Files by which such a folder is known."""
USUAL = "train"
"""The split that is taken of several."""


def is_saved(folder: Folder) -> bool:
    """Whether a folder is of this kind."""
    return folder.has(SPLITS) or (folder.has(STATE) and folder.has(INFO))


def open_saved(folder: Folder, inputs: str | None = None, label: str | None = None) -> Dataset:
    """The texts, prompts or features in such a folder; of several splits ``train``. Class names are those of its features.

    Parameters
    ----------
    inputs, label
        As `open_table` takes them.

    Raises
    ------
    InputError
        If it holds a script, is damaged or larger than a table may be, or has several splits of which none is ``train``; and as
        `open_table`.
    """
    notes = list(folder.files.notes)
    if script := next((name for name in folder.names if name.endswith(".py")), None):
        raise InputError(f"{folder.name} is a datasets folder with a script ({script}), which is not run: take it out")
    if folder.has(SPLITS):
        folder = _split(folder, notes)
    table = _table(folder)
    try:
        columns = plain_columns(table, folder.name, notes)
    except pa.ArrowException as error:
        raise InputError(f"{folder.name} is damaged: {one_line(error)}; save it again") from error
    features = folder.settings(INFO).get("features")
    for name, feature in (features if isinstance(features, dict) else {}).items():
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        if name in columns and isinstance(names, list):
            columns[name] = [_class_name(value, names, f"{folder.name}, row {row}") for row, value in enumerate(columns[name])]
    return of_columns(columns, inputs, label, folder.name, notes)


def _split(folder: Folder, notes: list[str]) -> Folder:
    """The split that is taken of several."""
    there = [split.name for split in folder.below if is_saved(split)]
    chosen = USUAL if USUAL in there else there[0] if len(there) == 1 else None
    if chosen is None:
        of_what = ", ".join(there) or "none that is whole"
        raise InputError(f"{folder.name} has several splits ({of_what}) and no {USUAL}; give the folder of one of them")
    if others := [name for name in there if name != chosen]:
        notes.append(f"the split {chosen} was taken; there are also: {', '.join(map(one_line, others[:5]))}")
    return type(folder)(folder.files, folder.folder(chosen).within, f"{folder.name}/{chosen}")


def _table(folder: Folder) -> pa.Table:
    """All rows of all files, in their order."""
    state = folder.settings(STATE)
    entries = state.get("_data_files")
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if state.get("_indices_data_files"):
        raise InputError(f"{folder.name} was saved by an old version of datasets, rows and their order apart; save it again")
    if not names:
        raise InputError(f"{folder.name}/{STATE} names no files; save the dataset again: dataset.save_to_disk(folder)")
    batches: list[pa.RecordBatch] = []
    for name in names:
        if not isinstance(name, str) or "/" in name or not folder.has(name):
            raise InputError(f"{folder.name}/{STATE} names {name!r}, which is no file beside it; copy the folder again")
        data = folder.read(name, TABLE_BYTES)
        try:
            with pa.ipc.open_stream(data) as reader:
                for batch in reader:
                    batches.append(batch)
                    check_cells(folder.name, sum(b.num_rows for b in batches), batch.num_columns)
                    if (size := sum(b.nbytes for b in batches)) > TABLE_BYTES.value:
                        raise InputError(f"{folder.name} unpacks to {size:,} bytes; {TABLE_BYTES}")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{folder.name}/{name} is no readable Arrow file: {one_line(error)}; save it again") from error
    try:
        return pa.Table.from_batches(batches)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{folder.name}: its files have different columns, or no rows: {one_line(error)}") from error


def _class_name(value: str, names: list[object], where: str) -> str:
    """The name of a class by its number; -1 is no label, as ``datasets`` has it."""
    if value in ("", "-1"):
        return ""
    if not value.isdecimal() or int(value) >= len(names):
        raise InputError(f"{where}: the label {value} is none of the {len(names):,} classes of {INFO}")
    return str(names[int(value)])
