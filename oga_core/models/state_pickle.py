"""The pickle inside a PyTorch file, followed without running it."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from math import prod
from typing import IO, Any

from oga_core.errors import InputError
from oga_core.limits import PICKLE_BYTES

ELEMENT_SIZES = {
    "Float": 4,
    "Double": 8,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
}
STORAGES = {f"torch.{kind}Storage": size for kind, size in ELEMENT_SIZES.items()} | {"torch.storage.UntypedStorage": 1}
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
CALLS = {*TENSORS, "torch._utils._rebuild_parameter", "collections.OrderedDict", "torch.Size"}
DTYPES = {f"torch.{dtype}" for dtype in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64")}
GLOBALS = {*STORAGES, *CALLS, *DTYPES}
HOW = "save the weights alone: torch.save(model.state_dict(), 'weights.pt') or safetensors"


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class Storage:
    """A storage that the pickle declares: its key, its number of values and its bytes."""

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


def inspect_pickle(name: str, handle: IO[bytes], newest: int = 3) -> tuple[list[Storage], Any]:
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
        self.storages: dict[str, Storage] = {}
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
            values = [stack.pop()] if op == "APPEND" else self._to_mark()
            if isinstance(stack[-1], list):
                stack[-1].extend(values)
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
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _global(self, name: str) -> _Global:
        if "_rebuild_qtensor" in name or name.startswith("torch.Q"):
            raise InputError(f"{self.name} holds quantized weights, which have no gradients; give the float weights")
        if name not in GLOBALS:
            raise InputError(f"{self.name} is a pickled object that needs {name!r} and could run code: refused; {HOW}")
        return _Global(name)

    def _storage(self, reference: Any) -> Storage:
        _, kind, key, _, numel, *view = reference
        size = STORAGES.get(kind.name) if isinstance(kind, _Global) else None
        if size is None or type(numel) is not int or numel < 0 or not isinstance(key, str) or view not in ([], [None]):
            raise InputError(f"{self.name} declares a storage that torch.save does not write; {HOW}")
        storage = Storage(key, numel, numel * size)
        if self.storages.setdefault(key, storage) != storage:
            raise InputError(f"{self.name} declares storage {key!r} twice with different sizes; the file is damaged")
        return storage

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, _Global) or called.name not in CALLS:
            what = getattr(called, "name", "an object")
            raise InputError(f"{self.name} calls {what!r}, which a state dict does not need; {HOW}")
        if called.name in TENSORS:
            storage, offset, shape, stride = arguments[:4]
            if not isinstance(storage, Storage) or any(type(v) is not int or v < 0 for v in (offset, *shape, *stride)):
                raise InputError(f"{self.name} declares a tensor that torch.save does not write; {HOW}")
            last = offset + 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if prod(shape) else 0
            if prod(shape) > storage.numel or last > storage.numel:
                raise InputError(
                    f"{self.name}: a tensor of shape {tuple(shape)} declares far more than it stores: "
                    f"{prod(shape):,} values over {storage.numel:,}"
                )
        return {} if called.name == "collections.OrderedDict" else _Opaque()
