"""A LoRA adapter of a Hugging Face folder, put on its base model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from oga_core.errors import InputError, raise_as
from oga_core.model_files import ADAPTER
from oga_core.models.model_folder import ADAPTER_WEIGHTS, ModelFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTED = (
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "fan_in_fan_out",
    "bias",
    "use_rslora",
    "use_dora",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "task_type",
)
"""Settings of a LoRA adapter that are taken over; any other must be off."""
DESCRIBING = (
    "base_model_name_or_path",
    "peft_type",
    "peft_version",
    "revision",
    "inference_mode",
    "lora_dropout",
    "init_lora_weights",
)
"""Settings of an adapter that describe it or only matter in training."""


def add_adapter(module: PreTrainedModel, folder: ModelFolder, missing: list[str], notes: list[str]) -> nn.Module:
    """The model with a LoRA adapter, whose values can be trained and whose base cannot."""
    try:
        import peft
    except ImportError as error:
        raise InputError("an adapter needs peft: pip install 'oga-core[hf]'") from error
    given = folder.settings(ADAPTER)
    if given.get("peft_type") != "LORA":
        raise InputError(f"{folder.name}: {ADAPTER} is of the type {given.get('peft_type')!r}; LORA adapters are read")
    usual = peft.LoraConfig().to_dict()
    others = [k for k, v in given.items() if k not in ADAPTED and v and v != usual.get(k) and k not in DESCRIBING]
    if others:
        raise InputError(f"{folder.name}: {ADAPTER} asks for {', '.join(sorted(others)[:5])}, which is not supported")
    if not folder.has(ADAPTER_WEIGHTS):
        raise InputError(f"{folder.name} holds no {ADAPTER_WEIGHTS}; save it again: model.save_pretrained(folder)")
    tensors, noticed = folder.tensors(ADAPTER_WEIGHTS)
    notes += noticed
    _check_rank(folder, given, tensors)
    with raise_as(InputError, f"the adapter {folder.name} does not fit its base"):  # its target modules, its shapes, …
        adapted = peft.get_peft_model(module, peft.LoraConfig(**{k: v for k, v in given.items() if k in ADAPTED}))
        told: Any = peft.set_peft_model_state_dict(adapted, tensors)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    absent = sorted(trained & set(told.missing_keys))
    if told.unexpected_keys or absent:
        first = (told.unexpected_keys or absent)[0]
        raise InputError(
            f"the adapter {folder.name} does not fit its base: {first} is {'not expected' if told.unexpected_keys else 'missing'}"
        )
    replaced = {name.replace("base_model.model.", "").replace("modules_to_save.default.", "") for name in trained}
    if left := [name for name in missing if name not in replaced]:
        raise InputError(f"neither base nor adapter {folder.name} holds {', '.join(left[:3])}; the model is not trained")
    return adapted.eval()


def _check_rank(folder: ModelFolder, given: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Refuse an adapter whose settings would make far larger matrices than it stores."""
    patterns = given.get("rank_pattern") or {}
    ranks = [given.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    largest = max((max(tensor.shape, default=0) for tensor in tensors.values()), default=0)
    for rank in ranks:
        if isinstance(rank, (int, float)) and not 0 < rank <= max(largest, 1):
            raise InputError(f"{folder.name}: {ADAPTER} sets the rank {rank}; the adapter stores no matrix of that size")
