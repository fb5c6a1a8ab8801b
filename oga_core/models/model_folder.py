"""The folder of a model as ``save_pretrained`` writes it, on disk or in a zip: settings, weights, and nothing in it is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from oga_core.data import SampleError
from oga_core.data.folders import Directory, Folder, Zip
from oga_core.errors import InputError
from oga_core.hub import find_downloaded
from oga_core.limits import MODEL_BYTES, Limit
from oga_core.model_files import ADAPTER, CONFIG
from oga_core.models.weights import read_safetensors, read_state_dict, refuse_more_than_memory
from oga_core.roots import may_open

WEIGHTS, ADAPTER_WEIGHTS, INDEX = "model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json"
CODE = ("auto_map", "trust_remote_code", "custom_pipelines", "custom_pipeline", "auto_mapping")
"""Settings by which a folder names code of its own."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")


class ModelFolder(Folder):
    """A folder of a model."""

    def find(self, name: str) -> ModelFolder | None:
        """The folder that holds a file: this one, or the only one below."""
        if self.has(name):
            return self
        below = [folder for folder in self.below if folder.has(name)]
        return below[0] if len(below) == 1 else None

    def settings(self, name: str) -> dict[str, Any]:
        """The contents of a JSON file of settings; InputError where it is none, or names code."""
        found = super().settings(name)
        for where, key, value in _entries(found):
            if key in CODE and value:
                raise InputError(
                    f"{self.name}/{name} names code of its own ({where}): it is refused; a folder with settings and weights only "
                    "is read"
                )
        return found

    def read(self, name: str, most: Limit = MODEL_BYTES) -> bytes:
        """As `Folder.read`; InputError also for an entry of a zip that unpacks to more than this machine can hold."""
        if isinstance(self.files, Zip):  # which gives no more than is declared
            refuse_more_than_memory(f"{self.name}/{name}", self.files.entries[self.within + name].file_size)
        return super().read(name, most)

    def tensors(self, name: str) -> tuple[dict[str, Tensor], list[str]]:
        """The weights of a safetensors file by name, and what was noticed; InputError as `read_state_dict` says."""
        if isinstance(self.files, Directory):  # it need not be in memory whole
            try:
                path = self.files.path_of(self.within + name)
            except SampleError as error:
                raise InputError(f"{self.name}: {error}") from error
            tensors, about = read_state_dict(path)
        else:
            tensors, about = read_safetensors(f"{self.name}/{name}", self.read(name))
        return tensors, about["notes"]

    def refuse_code(self) -> None:
        """InputError for scripts, and for weights that are pickles alone."""
        names = self.names
        if (script := next((n for n in names if Path(n).suffix in (".py", ".pyc", ".so")), None)) is not None:
            raise InputError(f"{self.name} holds a script ({script}); nothing of a model's folder is run: take it out")
        if not any(name.endswith(".safetensors") for name in names):
            pickled = next((n for n in names if Path(n).suffix in PICKLED), None)
            has = f"only {pickled}, which is not opened" if pickled else "no weights"
            raise InputError(f"{self.name} holds {has}; save it with safetensors: model.save_pretrained(folder)")


def is_folder(path: Path) -> bool:
    """Whether a path is a folder or a zip, and so not a file of weights."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def open_folder(path: Path) -> ModelFolder:
    """A folder on disk or in a zip; InputError as `Folder.at`, and for a link whose target is missing."""
    folder = ModelFolder.at(path)
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):  # as the hub's cache has it
        folder = replace(folder, name=path.parent.parent.name.removeprefix("models--").replace("--", "/"))
    if (
        path.is_dir()
        and (gone := next((n for n in folder.names if not folder.has(n) and not (path / n).exists()), None)) is not None
    ):
        raise InputError(f"{path.name}: {gone} is a link to a missing file; download the folder again")
    return folder


def base_and_adapter(folder: ModelFolder) -> tuple[ModelFolder, ModelFolder | None]:
    """The folder of the whole model, and that of the adapter.

    Raises
    ------
    InputError
        If there is no whole model, also not where the adapter says that it lies; in a zip that is not looked at.
    """
    base, adapter = folder.find(CONFIG), folder.find(ADAPTER)
    folder.refuse_code()
    if base is None:
        if adapter is None:
            raise InputError(f"{folder.name} has no {CONFIG}; give the folder that save_pretrained has written")
        base_name = str(adapter.settings(ADAPTER).get("base_model_name_or_path") or "")
        inside = may_open(Path(base_name) / CONFIG)
        at = Path(base_name) if base_name and inside and (Path(base_name) / CONFIG).is_file() else find_downloaded(base_name)
        if at is None or not isinstance(folder.files, Directory):
            outside = "" if inside else " or is outside the allowed folders (oga serve --root)"
            raise InputError(
                f"{folder.name} is an adapter of {base_name or 'a model it does not name'}, which is not a folder on this "
                f"machine{outside}; put the base model's folder beside the adapter's, and give the folder of both"
            )
        base = open_folder(at)
        base.refuse_code()
    return base, adapter


def _entries(value: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every setting, at any depth, with its position."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{where}{key}", key, inner
            yield from _entries(inner, f"{where}{key}.")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _entries(inner, f"{where}{i}.")
