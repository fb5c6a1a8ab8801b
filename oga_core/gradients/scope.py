"""Which parameters' gradient is taken."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from oga_core.errors import InputError

if TYPE_CHECKING:
    from torch import nn

HEAD, ALL, LORA = "head", "all", "lora"
SCOPES = (HEAD, ALL, LORA)
_LORA_NAMES = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


def parameters_in(module: nn.Module, scope: str, head: str | None = None) -> dict[str, nn.Parameter]:
    """The trainable parameters of a scope by name, each once, in the model's order.

    Parameters
    ----------
    module
        The model.
    scope
        ``head``: the weight of the layer ``head``. ``all``: every trainable parameter. ``lora``: the matrices A and B of
        LoRA adapters, as PEFT names them. Otherwise one or more patterns over parameter names, joined by commas
        (``layer4.*``, ``*.weight``; case counts).
    head
        Name of the layer that gives the logits.

    Raises
    ------
    InputError
        If a pattern, or the whole scope, matches no trainable parameter.
    """
    by_name = dict(module.named_parameters(remove_duplicate=False))
    if scope == HEAD:
        patterns = [f"{head}.weight"] if head else []
    elif scope == ALL:
        patterns = ["*"]
    elif scope == LORA:
        patterns = [f"*{name}*" for name in _LORA_NAMES]
    else:
        patterns = [p.strip() for p in scope.split(",") if p.strip()]
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for pattern in patterns:
        matched = [name for name in by_name if fnmatchcase(name, pattern)]
        trainable = [name for name in matched if by_name[name].requires_grad]
        if not trainable and scope not in (LORA, HEAD):
            raise InputError(_nothing(scope if scope == ALL else pattern, len({id(by_name[n]) for n in matched}), list(by_name)))
        for name in trainable:
            found.setdefault(id(by_name[name]), (name, by_name[name]))
    if not found:
        missing = {
            LORA: "the model has no trainable LoRA adapter (parameters named lora_A, lora_B)",
            HEAD: "the head's weight is not a trainable parameter",
        }
        raise InputError(missing.get(scope, f"scope {scope!r} names no parameter"))
    order = {id(p): i for i, p in enumerate(by_name.values())}
    return dict(sorted(found.values(), key=lambda pair: order[id(pair[1])]))


def _nothing(pattern: str, matched: int, names: list[str]) -> str:
    if matched:
        return f"scope {pattern!r} names {matched} parameters, and none of them is trainable"
    near = difflib.get_close_matches(pattern, names, 3, 0.3) or names[-3:]
    return (
        f"scope {pattern!r} is neither {', '.join(SCOPES[:-1])} or {LORA}, nor does it match a parameter; "
        f"there are, for example: {', '.join(near)}"
    )
