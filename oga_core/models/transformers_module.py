"""Settings and weights of a Hugging Face folder, and the module that they make: from safetensors and a list of names only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from oga_core.errors import InputError, raise_as
from oga_core.limits import MODEL_BYTES
from oga_core.model_files import CONFIG
from oga_core.models.adapter import add_adapter
from oga_core.models.config_file import check_sizes
from oga_core.models.model_folder import INDEX, WEIGHTS, ModelFolder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
"""Of a layer, in the name of its tensors."""
MOST_MODULES, MODULES_A_TENSOR = 10_000, 20
"""Modules of a model at most: so many, and so many for each tensor that its weights store."""


def read_config(hf: Any, base: ModelFolder, notes: list[str]) -> PretrainedConfig:
    """The settings of the architecture that transformers knows; the others are left out and named."""
    given = base.settings(CONFIG)
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in hf.CONFIG_MAPPING:
        raise InputError(
            f"{base.name}: {CONFIG} names the model type {kind!r}, which transformers {hf.__version__} does not know"
        )
    if given.get("quantization_config"):
        raise InputError(f"{base.name} is quantized ({CONFIG}, quantization_config): such weights have no gradients")
    known = hf.CONFIG_MAPPING[kind]
    allowed = {
        *known().to_dict(),
        *getattr(known, "attribute_map", {}),
        "num_labels",
        "torch_dtype",
        "rope_theta",
        "rope_scaling",
    }
    left_out = sorted(set(given) - allowed - {"_name_or_path", "_attn_implementation", "_attn_implementation_autoset"})
    if left_out:
        notes.append(f"{CONFIG}: settings that transformers does not know were left out: {', '.join(left_out[:5])}")
    check_sizes(base.name, given)
    with raise_as(InputError, f"{base.name}: {CONFIG} is no settings of a {kind} model"):  # each checks them in its own way
        config: PretrainedConfig = known.from_dict({key: value for key, value in given.items() if key in allowed})
    return config


def _read_tensors(folder: ModelFolder, notes: list[str]) -> dict[str, Tensor]:
    """The weights of one file or of all shards."""
    if not folder.has(INDEX):
        if not folder.has(WEIGHTS):
            raise InputError(f"{folder.name} holds no {WEIGHTS}; save it with safetensors: model.save_pretrained(folder)")
        tensors, noticed = folder.tensors(WEIGHTS)
        notes += noticed
        return tensors
    where = folder.settings(INDEX).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
        raise InputError(f"{folder.name}/{INDEX} does not say which tensor lies in which file")
    out: dict[str, Tensor] = {}
    for name in sorted(set(where.values())):
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise InputError(f"{folder.name}/{INDEX} names {name!r}, which is no safetensors file beside it")
        if not folder.has(name):
            raise InputError(f"{folder.name}: the shard {name} is missing; copy the folder again")
        shard, noticed = folder.tensors(name)
        notes += noticed
        out |= shard
    missing = sorted(set(where) - set(out))
    if missing:
        raise InputError(f"{folder.name}: {len(missing)} tensors of {INDEX} are in no shard, the first {missing[0]}")
    return out


def load_module(
    made: Any, base: ModelFolder, config: PretrainedConfig, adapter: ModelFolder | None, notes: list[str]
) -> nn.Module:
    """The model with its weights, every one of which must have been given."""
    what = "classifier" if made.__name__.endswith("SequenceClassification") else "language model"
    config.use_cache = False  # what was computed for earlier tokens is for writing texts
    tensors = _read_tensors(base, notes)
    _check_declared(made, config, base, tensors)
    module: PreTrainedModel
    with raise_as(InputError, f"the weights of {base.name} do not fit its {CONFIG}"):
        module, told = made.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            output_loading_info=True,
            dtype=torch.float32,
            local_files_only=True,
        )
    missing, unexpected = sorted(told["missing_keys"]), sorted(told["unexpected_keys"])
    layers = {NUMBER.sub("#", name) for name in module.state_dict()}
    if beyond := [name for name in unexpected if NUMBER.search(name) and NUMBER.sub("#", name) in layers]:
        raise InputError(f"{base.name}: {CONFIG} declares fewer layers than the weights have: {beyond[0]} would be left out")
    if unexpected:
        notes.append(f"{len(unexpected)} tensors of {base.name} are not part of a {what} and were left out: {unexpected[0]}, …")
    if told["mismatched_keys"]:
        raise InputError(f"the weights of {base.name} do not fit its {CONFIG}: {sorted(told['mismatched_keys'])[0]}")
    if adapter is not None:
        return add_adapter(module, adapter, missing, notes)
    if missing:
        raise InputError(
            f"{base.name} is no trained {what}: {len(missing)} of its tensors are missing "
            f"({', '.join(missing[:3])}, …); train it on these data first"
        )
    return module


def _check_declared(made: Any, config: PretrainedConfig, base: ModelFolder, tensors: dict[str, Tensor]) -> None:
    """Build the model without memory, and refuse one that declares far more than its weights store, before it is built whole."""
    stored = sum(tensor.numel() for tensor in tensors.values())
    modules, most = 0, MODULES_A_TENSOR * len(tensors) + MOST_MODULES

    def count(*_: object) -> None:
        nonlocal modules
        modules += 1
        if modules > most:
            raise InputError(
                f"{base.name}: {CONFIG} declares a model of more than {most:,} layers and parts of layers, "
                f"the weights are {len(tensors):,} tensors"
            )

    hook = register_module_module_registration_hook(count)
    try:
        with raise_as(InputError, f"{base.name}: {CONFIG} describes no model that can be built"), torch.device("meta"):
            module = made(config)
    finally:
        hook.remove()
    declared = sum(parameter.numel() for parameter in module.parameters())
    if declared > 2 * stored + 1_000_000:  # a head and tied weights may be missing
        raise InputError(f"{base.name}: {CONFIG} declares a model of {declared:,} values, the weights are {stored:,}")
    beside = sum(buffer.numel() * buffer.itemsize for buffer in module.buffers())
    if beside > MODEL_BYTES.value:
        raise InputError(f"{base.name}: {CONFIG} declares {beside:,} bytes beside the weights; {MODEL_BYTES}")
