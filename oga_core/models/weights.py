"""Weights from strangers: safetensors, or a PyTorch state dict that is checked before PyTorch opens it. No fallback."""

from __future__ import annotations

import io
import json
import pickletools
import warnings
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor, nn

from oga_core.containment import machine_bytes
from oga_core.errors import InputError
from oga_core.limits import HEADER_BYTES, PICKLE_BYTES
from oga_core.model_files import SUFFIXES

if TYPE_CHECKING:
    from oga_core.models.classifier import Classifier

warnings.filterwarnings("ignore", message="Detected pickle protocol")  # an older or newer one is read as well
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
ITEM_SIZES = {"Float": 4, "Double": 8, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1}
STORAGES = {f"torch.{kind}Storage": size for kind, size in ITEM_SIZES.items()} | {"torch.storage.UntypedStorage": 1}
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
CALLS = {*TENSORS, "torch._utils._rebuild_parameter", "collections.OrderedDict", "torch.Size"}
DTYPES = {f"torch.{dtype}" for dtype in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64")}
GLOBALS = {*STORAGES, *CALLS, *DTYPES}
VIEWS = 16
"""Tensors that may share one value: tied weights are two or three, and each is taken as a tensor of its own."""
UNREADABLE = (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError, KeyError)
"""What safetensors raises for a file that it cannot read."""
HOW = "save the weights alone: torch.save(model.state_dict(), 'weights.pt') or safetensors"


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
        raise InputError(f"weights file {path} is not there")
    _refuse_other_types(path)
    refuse_more_than_memory(path.name, path.stat().st_size)
    notes: list[str] = []
    metadata: dict[str, Any] = {"notes": notes}
    if path.suffix.lower() == ".safetensors":
        loaded, more = _read_safetensors(path)
        metadata |= more
    else:
        loaded = _read_torch(path)
    return _plain(path.name, loaded, notes), metadata


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


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
        return _plain(name, load(data), notes), {"notes": notes}
    except UNREADABLE as error:
        raise InputError(f"{name} cannot be read as safetensors: {error}") from error


def _check_safetensors(name: str, size: int, handle: IO[bytes]) -> None:
    """InputError where the header does not fit what is stored."""
    length = int.from_bytes(handle.read(8), "little")
    if size < 8 or length > HEADER_BYTES.value or 8 + length > size:
        raise InputError(f"{name} is truncated or no safetensors file: {length:,} bytes of header declared, {size:,} in all")
    try:
        entries = json.loads(handle.read(length), object_pairs_hook=_no_duplicates)
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


def _read_torch(path: Path) -> Any:
    with open(path, "rb") as handle:
        zipped = handle.read(4) == b"PK\x03\x04"
    if zipped:
        _check_zip(path)
    else:
        _check_legacy(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, on storages of old files
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; there is no second try
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path.name} cannot be read as a state dict: {reason[0][:200]}; {HOW}") from error


def _check_zip(path: Path) -> None:
    name, size = path.name, path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {e.orig_filename: e for e in archive.infolist()}
            if len({n.casefold() for n in entries}) != len(archive.infolist()):  # torch finds them in capitals or not
                raise InputError(f"{name} has two entries of one name; this is not a file torch.save has written")
            inner = {n.partition("/")[2] for n in entries}
            if any("archive_format" in n or n.startswith(("serialized_", "models/")) for n in inner | set(entries)):
                raise InputError(f"{name} is an exported program (.pt2), which can run code and is not opened; {HOW}")
            if "constants.pkl" in inner or any(n.startswith("code/") for n in inner):
                raise InputError(f"{name} is TorchScript, which can run code and is not opened; {HOW}")
            for entry in entries.values():
                if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                    raise InputError(f"{name}: entry {entry.filename!r} is compressed (deflated), not stored; {HOW}")
            pickles = [n for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(f"{name} is a zip but no PyTorch file: it has no data.pkl; {HOW}")
            if entries[pickles[0]].file_size > PICKLE_BYTES.value:
                raise InputError(f"{name}: data.pkl has {entries[pickles[0]].file_size:,} bytes; {PICKLE_BYTES}")
            folder = pickles[0].removesuffix("data.pkl")
            with archive.open(entries[pickles[0]]) as handle:
                storages, _ = _inspect(name, handle)
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} is truncated or damaged ({size:,} bytes): {error}") from error
    for storage in storages:
        entry_or_none = entries.get(f"{folder}data/{storage.key}")
        stored = entry_or_none.file_size if entry_or_none else 0
        if storage.nbytes != stored:
            raise InputError(f"{name}: storage {storage.key!r} declares {storage.nbytes:,} bytes but stores {stored:,}")


def _check_legacy(path: Path) -> None:
    name, size = path.name, path.stat().st_size
    with open(path, "rb") as handle:
        _, magic = _inspect(name, handle, newest=5)  # the state's own protocol is looked at below, after its contents
        if magic != 0x1950A86A20F9469CFC6C:
            raise InputError(f"{name} ({size:,} bytes) is no PyTorch file; {HOW}")
        for _ in range(2):
            _inspect(name, handle, newest=5)
        storages, _ = _inspect(name, handle)
        _, keys = _inspect(name, handle)
        by_key = {s.key: s for s in storages}
        for key in keys if isinstance(keys, list) else []:
            storage = by_key.pop(key, None) if isinstance(key, str) else None
            count = handle.read(8)
            if len(count) < 8:
                raise InputError(f"{name} is truncated: it has {size:,} bytes, more are needed")
            stored = int.from_bytes(count, "little")
            if storage is None or stored != storage.numel:
                raise InputError(f"{name}: storage {key!r} does not have the size it declares; the file is damaged")
            if handle.seek(storage.nbytes, 1) > size:
                raise InputError(f"{name} is truncated: it has {size:,} bytes, {handle.tell():,} or more are needed")
    if by_key:
        raise InputError(f"{name} is truncated: {len(by_key)} storages are declared but not stored")


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    numel: int
    nbytes: int


@dataclass(frozen=True)
class _Bounded:
    """A file of which no more is read at once than a pickle may have: a length in it may be anything."""

    handle: IO[bytes]

    def read(self, size: int) -> bytes:
        return self.handle.read(min(size, PICKLE_BYTES.value))

    def readline(self) -> bytes:
        return self.handle.readline(PICKLE_BYTES.value)

    def tell(self) -> int:
        return self.handle.tell()


class _Opaque:
    """The result of a call that was not made."""


def _inspect(name: str, handle: IO[bytes], newest: int = 3) -> tuple[list[_Storage], Any]:
    """Follow one pickle without running it: its storages and its value, with tensors left out.

    Raises
    ------
    InputError
        For a global or operation that a state dict does not need, a tensor larger than its storage, or a protocol above
        ``newest``.
    """
    machine = _Machine(name)
    try:
        for opcode, argument, _ in pickletools.genops(_Bounded(handle)):  # type: ignore[arg-type]
            machine.step(opcode.name, argument)
            if opcode.name == "STOP":
                if machine.protocol > newest:
                    raise InputError(f"{name} uses pickle protocol {machine.protocol}; torch.save's own is 2")
                return list(machine.storages.values()), machine.stack[-1]
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{name} is truncated or no PyTorch file: {error}") from error
    raise InputError(f"{name} is truncated: its pickle has no end")


_MARK = object()
_VALUES = {
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "LONG4",
    "BINFLOAT",
    "SHORT_BINBYTES",
    "BINBYTES",
    "INT",
    "LONG",
    "FLOAT",
    "UNICODE",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_IGNORED = {"FRAME", "STOP"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack machine of pickle, in which a call is looked at and never made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}
        self.protocol = 0

    def step(self, op: str, argument: Any) -> None:
        stack = self.stack
        if op in _VALUES:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in _EMPTY:
            stack.append(_EMPTY[op]())
        elif op == "MARK":
            stack.append(_MARK)
        elif op in _TUPLES:
            n = _TUPLES[op]
            stack[-n:] = [tuple(stack[-n:])]
        elif op == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif op in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif op in ("APPEND", "APPENDS"):
            items = [stack.pop()] if op == "APPEND" else self._to_mark()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            _ = [stack.pop(), stack.pop()] if op == "SETITEM" else self._to_mark()
        elif op == "BUILD":
            stack.pop()
        elif op == "GLOBAL":
            stack.append(self._global(str(argument).replace(" ", ".", 1)))
        elif op == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._global(f"{module}.{attribute}"))
        elif op == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif op == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._call(called, arguments))
        elif op == "PROTO":
            self.protocol = int(argument)
        elif op not in _IGNORED:
            raise InputError(f"{self.name} uses the pickle operation {op}, which a state dict does not need; {HOW}")

    def _to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _global(self, name: str) -> _Global:
        if "_rebuild_qtensor" in name or name.startswith("torch.Q"):
            raise InputError(f"{self.name} holds quantized weights, which have no gradients; give the float weights")
        if name not in GLOBALS:
            raise InputError(f"{self.name} is a pickled object that needs {name!r} and could run code: refused; {HOW}")
        return _Global(name)

    def _storage(self, reference: Any) -> _Storage:
        _, kind, key, _, numel, *view = reference
        size = STORAGES.get(kind.name) if isinstance(kind, _Global) else None
        if size is None or type(numel) is not int or numel < 0 or not isinstance(key, str) or view not in ([], [None]):
            raise InputError(f"{self.name} declares a storage that torch.save does not write; {HOW}")
        storage = _Storage(key, numel, numel * size)
        if self.storages.setdefault(key, storage) != storage:
            raise InputError(f"{self.name} declares storage {key!r} twice with different sizes; the file is damaged")
        return storage

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, _Global) or called.name not in CALLS:
            what = getattr(called, "name", "an object")
            raise InputError(f"{self.name} calls {what!r}, which a state dict does not need; {HOW}")
        if called.name in TENSORS:
            storage, offset, shape, stride = arguments[:4]
            if not isinstance(storage, _Storage) or any(type(v) is not int or v < 0 for v in (offset, *shape, *stride)):
                raise InputError(f"{self.name} declares a tensor that torch.save does not write; {HOW}")
            last = offset + 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if prod(shape) else 0
            if prod(shape) > storage.numel or last > storage.numel:
                raise InputError(
                    f"{self.name}: a tensor of shape {tuple(shape)} declares far more than it stores: "
                    f"{prod(shape):,} values over {storage.numel:,}"
                )
        return {} if called.name == "collections.OrderedDict" else _Opaque()


def _plain(name: str, loaded: Any, notes: list[str]) -> dict[str, Tensor]:
    """The tensors by name, without wrappers, checked to be finite real numbers."""
    for key in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(inner := loaded.get(key), dict) and _tensors(inner):
            notes.append(f"{name} is a checkpoint; the weights were taken from its key {key!r}")
            loaded = inner
            break
    if not isinstance(loaded, dict) or not (state := _tensors(loaded)):
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
    named = sum(v.numel() * v.element_size() for v in state.values() if v.layout == torch.strided)
    if named > VIEWS * stored:
        raise InputError(
            f"{name} declares far more than it stores: {len(state):,} tensors of {named:,} bytes over {stored:,}; {HOW}"
        )


def _tensors(values: dict[Any, Any]) -> dict[str, Tensor]:
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
        told = [f"{len(keys)} {word} ({_first(keys)})" for word, keys in both if keys]
        raise InputError(f"the weights do not fit {type(module).__name__}: keys {' and '.join(told)}")
    differ = [k for k, v in own.items() if v.shape != state[k].shape]
    shapes = [f"{k} is {tuple(state[k].shape)}, the model has {tuple(own[k].shape)}" for k in differ]
    if shapes:
        raise InputError(f"the weights do not fit {type(module).__name__}: {_first(shapes, '; ')}")
    types = [k for k, v in own.items() if v.is_floating_point() != state[k].is_floating_point()]
    if types:
        raise InputError(f"the weights do not fit {type(module).__name__}: integers for floats: {_first(types)}")
    module.load_state_dict(state)


def _first(items: list[str], between: str = ", ") -> str:
    return between.join(items[:5]) + (", …" if len(items) > 5 else "")


def save_weights(classifier: Classifier, path: Path) -> None:
    """Write the weights as safetensors, with name, classes and arguments of the architecture in the metadata."""
    from oga_core.files import write_whole

    about = json.dumps({"name": classifier.name, "class_names": classifier.class_names, "spec": classifier.spec})
    state = {k: v.detach().cpu().contiguous().clone() for k, v in classifier.module.state_dict().items()}
    write_whole(Path(path), lambda temporary: save_file(state, temporary, metadata={"oga": about}))
