"""Weights from untrusted files: safetensors, or a PyTorch state dict that is checked before PyTorch opens it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor, nn

from oga_core.containment import machine_bytes
from oga_core.errors import InputError
from oga_core.limits import HEADER_BYTES
from oga_core.model_files import SUFFIXES
from oga_core.models.state_pickle import HOW
from oga_core.models.torch_file import read_torch

if TYPE_CHECKING:
    from oga_core.models.classifier import Classifier

WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
VIEWS = 16
"""Tensors that may share one value: tied weights are two or three, and each is taken as a tensor of its own."""
UNREADABLE = (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError, KeyError)
"""Errors that safetensors raises for a file that it cannot read."""


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights file.

    Parameters
    ----------
    path
        ``.safetensors``, or a state dict in ``.pt``, ``.pth``, ``.th`` or ``.bin``.

    Returns
    -------
    The tensors by name, on the CPU, half precision made float32; and the file's metadata, with what was noticed under
    ``notes`` (list of lines).

    Raises
    ------
    InputError
        If the file is missing, damaged, of another type, needs code to run, declares more than it stores, or holds
        weights that are not finite real numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights file not found: {path}")
    _refuse_other_types(path)
    refuse_more_than_memory(path.name, path.stat().st_size)
    notes: list[str] = []
    metadata: dict[str, Any] = {"notes": notes}
    if path.suffix.lower() == ".safetensors":
        loaded, more = _read_safetensors(path)
        metadata |= more
    else:
        loaded = read_torch(path)
    return _unwrap(path.name, loaded, notes), metadata


def _refuse_other_types(path: Path) -> None:
    name, size = path.name, path.stat().st_size
    with open(path, "rb") as handle:
        start = handle.read(512)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not size:
        raise InputError(f"{name} is empty (0 bytes); copy the weights file again")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{name} is a Git LFS pointer of {size} bytes, not the weights; run git lfs pull")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise InputError(f"{name} is a web page ({size:,} bytes), not weights; download the file itself")
    if path.suffix.lower() in (".pt2", ".ptl"):
        raise InputError(f"{name}: {path.suffix} files hold a program and are not opened; {HOW}")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{name}: weights come as {', '.join(SUFFIXES)}, not {path.suffix or 'a file without suffix'}")


def refuse_more_than_memory(name: str, size: int) -> None:
    """InputError for what would make the machine swap or kill: it is in memory twice, as it was read and as the model has it."""
    if 2 * size > machine_bytes():
        raise InputError(
            f"{name} holds {size / 1e9:.1f} GB of weights, which need about {2 * size / 1e9:.1f} GB of memory; this machine "
            f"has {machine_bytes() / 1e9:.1f} GB: take a larger machine or a smaller model"
        )


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise InputError(f"key {twice!r} appears twice")
    return out


def read_safetensors(name: str, data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the bytes of a safetensors file, as `read_state_dict` reads one on disk.

    Parameters
    ----------
    name
        Of the file, for messages.

    Raises
    ------
    InputError
        As there.
    """
    _check_safetensors(name, len(data), io.BytesIO(data))
    notes: list[str] = []
    try:
        return _unwrap(name, load(data), notes), {"notes": notes}
    except UNREADABLE as error:
        raise InputError(f"{name} cannot be read as safetensors: {error}") from error


def _check_safetensors(name: str, size: int, handle: IO[bytes]) -> None:
    """InputError where the header does not fit what is stored."""
    length = int.from_bytes(handle.read(8), "little")
    if size < 8 or length > HEADER_BYTES.value or 8 + length > size:
        raise InputError(f"{name} is truncated or no safetensors file: {length:,} bytes of header declared, {size:,} in all")
    try:
        entries = json.loads(handle.read(length), object_pairs_hook=_reject_duplicates)
        ends = [int(e["data_offsets"][1]) for k, e in entries.items() if k != "__metadata__"]
    except InputError as error:
        raise InputError(f"{name}: {error} in the safetensors header; write the file again") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(f"{name} is no safetensors file: its header is not readable") from error
    stored = size - 8 - length
    if (declared := max(ends, default=0)) != stored:
        raise InputError(f"{name} is damaged: the tensors declare {declared:,} bytes, the file stores {stored:,}")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with open(path, "rb") as handle:
        _check_safetensors(path.name, path.stat().st_size, handle)
    try:
        with safe_open(path, framework="pt") as archive:
            return {k: archive.get_tensor(k) for k in archive.keys()}, dict(archive.metadata() or {})  # noqa: SIM118
    except UNREADABLE as error:
        raise InputError(f"{path.name} cannot be read as safetensors: {error}") from error


def _unwrap(name: str, loaded: Any, notes: list[str]) -> dict[str, Tensor]:
    """The tensors by name, without wrappers, checked to be finite real numbers."""
    for key in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(inner := loaded.get(key), dict) and _find_tensors(inner):
            notes.append(f"{name} is a checkpoint; the weights were taken from its key {key!r}")
            loaded = inner
            break
    if not isinstance(loaded, dict) or not (state := _find_tensors(loaded)):
        raise InputError(f"{name} holds no tensors by name ({type(loaded).__name__}); {HOW}")
    others = [k for k in loaded if k not in state]
    if others:
        raise InputError(f"{name} holds entries that are not weights ({', '.join(map(str, others[:5]))}); {HOW}")
    for prefix in PREFIXES:
        if all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
            notes.append(f"the prefix {prefix!r} was taken off every key of {name}")
    _refuse_many_views(name, state)
    halves = 0
    for key, tensor in state.items():
        if tensor.is_quantized or (not tensor.is_floating_point() and key.rpartition(".")[2] in ("weight", "bias")):
            raise InputError(f"{name}: {key} is {tensor.dtype}: quantized or integer weights have no gradients")
        if tensor.is_complex() or tensor.layout != torch.strided:
            raise InputError(f"{name}: {key} is {tensor.dtype}, {tensor.layout}; dense real numbers are needed")
        if tensor.is_floating_point():
            if tensor.dtype not in (torch.float32, torch.float64):
                halves += 1
                state[key] = tensor.float()
            if not torch.isfinite(state[key]).all():
                what = "NaN" if torch.isnan(state[key]).any() else "infinite values"
                raise InputError(f"{name}: {key} holds {what}: its training has diverged; give another checkpoint")
    if halves:
        notes.append(f"{halves} tensors of {name} are in half precision; they are used as float32")
    return state


def _refuse_many_views(name: str, state: dict[str, Tensor]) -> None:
    """A million names of one tensor would be a million tensors once each is checked and made float32."""
    storages = [v.untyped_storage() for v in state.values() if v.layout == torch.strided]
    stored = sum({s.data_ptr(): s.nbytes() for s in storages}.values())
    declared = sum(v.numel() * v.element_size() for v in state.values() if v.layout == torch.strided)
    if declared > VIEWS * stored:
        raise InputError(
            f"{name} declares far more than it stores: {len(state):,} tensors of {declared:,} bytes over {stored:,}; {HOW}"
        )


def _find_tensors(values: dict[Any, Any]) -> dict[str, Tensor]:
    return {k: v.detach() for k, v in values.items() if isinstance(k, str) and isinstance(v, Tensor)}


def load_strict(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state dict whose keys, shapes and types must all fit.

    Raises
    ------
    InputError
        With the first missing and unexpected keys, and the shapes that differ.
    """
    own = module.state_dict()
    missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
    if missing or unexpected:
        both = (("missing", missing), ("unexpected", unexpected))
        differences = [f"{len(keys)} {word} ({_list_first(keys)})" for word, keys in both if keys]
        raise InputError(f"the weights do not fit {type(module).__name__}: keys {' and '.join(differences)}")
    differ = [k for k, v in own.items() if v.shape != state[k].shape]
    shapes = [f"{k} is {tuple(state[k].shape)}, the model has {tuple(own[k].shape)}" for k in differ]
    if shapes:
        raise InputError(f"the weights do not fit {type(module).__name__}: {_list_first(shapes, '; ')}")
    types = [k for k, v in own.items() if v.is_floating_point() != state[k].is_floating_point()]
    if types:
        raise InputError(f"the weights do not fit {type(module).__name__}: integers for floats: {_list_first(types)}")
    module.load_state_dict(state)


def _list_first(names: list[str], between: str = ", ") -> str:
    return between.join(names[:5]) + (", …" if len(names) > 5 else "")


def save_weights(classifier: Classifier, path: Path) -> None:
    """Write the weights as safetensors, with name, classes and arguments of the architecture in the metadata.

    Examples
    --------
    >>> classifier = oga.train(dataset, epochs=1).classifier
    >>> oga.save_weights(classifier, "model.safetensors")
    >>> oga.load_model(None, "model.safetensors", dataset).name
    'feature_mlp'
    """
    from oga_core.files import write_whole

    about = json.dumps({"name": classifier.name, "class_names": classifier.class_names, "spec": classifier.spec})
    state = {k: v.detach().cpu().contiguous().clone() for k, v in classifier.module.state_dict().items()}
    write_whole(Path(path), lambda temporary: save_file(state, temporary, metadata={"oga": about}))
