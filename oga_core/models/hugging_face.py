"""Models in a Hugging Face folder: weights from safetensors only, settings by a list of names, nothing in the folder is run.

``transformers`` and ``peft`` build the modules (``pip install 'oga-core[hf]'``); they are given tensors and settings that were
read and checked here, and never a name on the hub.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from oga_core.data.dataset import IN_WORDS, Dataset, SampleError
from oga_core.data.tables import ANSWERED
from oga_core.errors import InputError, raised_as
from oga_core.limits import MODEL_BYTES
from oga_core.model_files import ADAPTER, CONFIG
from oga_core.models.classifier import Classifier, token_count
from oga_core.models.config_file import check_sizes
from oga_core.models.inputs import ENDS, KEPT, TokenCollate
from oga_core.models.language_model import language_model
from oga_core.models.model_folder import ADAPTER_WEIGHTS, INDEX, WEIGHTS, ModelFolder, base_and_adapter, opened
from oga_core.models.tokenizer_file import check_growth
from oga_core.task import CLASSIFICATION, LANGUAGE_MODELLING

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

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
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
"""Of a layer, in the name of its tensors."""
MOST_MODULES, MODULES_A_TENSOR = 10_000, 20
"""Modules of a model at most: so many, and so many for each tensor that its weights store."""
LONGEST = 512
"""Tokens of a text where neither tokenizer nor model says how many it takes."""


def load_folder(path: Path, dataset: Dataset) -> Classifier:
    """A sequence classifier, or for prompts a causal language model, with its LoRA adapter where there is one, and its tokenizer.

    Parameters
    ----------
    path
        Folder, or zip of one, with ``config.json``, safetensors weights and the tokenizer's files; an adapter
        (``adapter_config.json``) beside them or in a folder below, or a folder of the adapter alone whose base model lies where
        its settings say.
    dataset
        Texts or pairs of them, or prompts with answers.

    Raises
    ------
    InputError
        If something is missing, does not fit, names code, or is not safetensors; if the data are not what such a model takes; or
        without the extra ``hf``.
    """
    if dataset.kind not in IN_WORDS:
        raise InputError(f"{path.name} takes texts, and these are {dataset.kind}")
    hf = transformers_offline()
    folder = opened(path)
    with raised_as(InputError, f"{folder.name} cannot be loaded as a model"):  # settings of types that nobody expects
        return _load(hf, folder, dataset)


def _load(hf: Any, folder: ModelFolder, dataset: Dataset) -> Classifier:
    base, adapter = base_and_adapter(folder)
    notes: list[str] = []
    config = _config(hf, base, notes)
    made = _architecture(hf, base, config, adapter, dataset)
    tokenizer = _tokenizer(hf, base, adapter)
    module = _module(made, base, config, adapter, notes)
    return _MAKE[dataset.task](folder, base, config, module, tokenizer, notes)


def _make_language_model(
    folder: ModelFolder, base: ModelFolder, config: PretrainedConfig, module: nn.Module, tokenizer: Any, notes: list[str]
) -> Classifier:
    return language_model(module, tokenizer, _longest(tokenizer, config), folder.name, notes)


def _make_classifier(
    folder: ModelFolder, base: ModelFolder, config: PretrainedConfig, module: nn.Module, tokenizer: Any, notes: list[str]
) -> Classifier:
    encode = TextTokens(tokenizer, _longest(tokenizer, config), _segments(tokenizer, config))
    config.pad_token_id = padding = _padding(tokenizer, config, base)
    named = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    names = None if all(name == f"LABEL_{i}" for i, name in named.items()) else [named[i] for i in sorted(named)]
    return Classifier(folder.name, module, names, encode, TokenCollate(padding), notes=notes, length=token_count)


_MAKE = {CLASSIFICATION: _make_classifier, LANGUAGE_MODELLING: _make_language_model}


@dataclass(eq=False)
class TextTokens:
    """Text, or pair of texts, to its token numbers, int64, cut to ``longest``.

    Attributes
    ----------
    segments
        Whether the model is told which token is of which of two texts.
    """

    tokenizer: PreTrainedTokenizerBase
    longest: int
    segments: bool

    def __post_init__(self) -> None:
        self._kept = lru_cache(maxsize=KEPT)(self._read)

    def __call__(self, text: str) -> dict[str, Tensor]:
        ids, types, _ = self._kept(_parts(text))
        tokens = {"input_ids": torch.from_numpy(ids).long()}
        return tokens | {"token_type_ids": torch.from_numpy(types).long()} if self.segments else tokens

    def _read(self, parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Token numbers and which text each is of, int32, and whether something is left out."""
        with raised_as(SampleError, "cannot be tokenised"):  # for a lone surrogate for example
            found = self.tokenizer(*parts, truncation=True, max_length=self.longest)
        encodings = found.encodings or []
        if not encodings or not encodings[0].ids:
            raise SampleError("has no token")
        one = encodings[0]
        return np.array(one.ids, np.int32), np.array(one.type_ids, np.int32), bool(one.overflowing)

    @property
    def reads(self) -> str:
        return f"{self.longest} tokens"

    def cuts(self, text: str) -> str:
        """What is not read of a text that is too long; empty where all of it is."""
        return ENDS if len(text) > self.longest // 2 and self._kept(_parts(text))[2] else ""


def _parts(text: str) -> tuple[str, ...]:
    return tuple(getattr(text, "parts", (str(text),)))


def transformers_offline() -> Any:
    """The library, quiet and without the network; InputError where it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, on import
    try:
        import transformers
    except ImportError as error:
        raise InputError("this needs transformers and peft: pip install 'oga-core[hf]'") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _config(hf: Any, base: ModelFolder, notes: list[str]) -> PretrainedConfig:
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
    with raised_as(InputError, f"{base.name}: {CONFIG} is no settings of a {kind} model"):  # each checks them in its own way
        config: PretrainedConfig = known.from_dict({key: value for key, value in given.items() if key in allowed})
    return config


def _tensors(folder: ModelFolder, notes: list[str]) -> dict[str, Tensor]:
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


def _architecture(hf: Any, base: ModelFolder, config: PretrainedConfig, adapter: ModelFolder | None, dataset: Dataset) -> Any:
    """The class of the model: a causal one for prompts, else a sequence classifier."""
    task = dataset.task
    try:
        made = getattr(hf, task.auto_class)._model_mapping[type(config)]
    except KeyError as error:
        raise InputError(f"{base.name}: transformers has no {task.model} of the type {config.model_type}") from error
    given = [str(name) for name in config.architectures or ()]
    tuned_for = None if adapter is None else str(adapter.settings(ADAPTER).get("task_type") or "")
    _CHECK[task](base, made.__name__, given, tuned_for)
    return made


def _check_language_model(base: ModelFolder, made: str, given: list[str], tuned_for: str | None) -> None:
    if tuned_for != "CAUSAL_LM" if tuned_for else made not in given:
        raise InputError(
            f"{base.name} is no causal language model ({tuned_for or ', '.join(given) or 'no architecture is named'}), and the "
            "data are prompts with answers; for a classifier of pairs name columns and label (--inputs prompt,answer --label "
            "NAME)"
        )


def _check_classifier(base: ModelFolder, made: str, given: list[str], tuned_for: str | None) -> None:
    language = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in given)
    # An adapter may have turned a language model into a classifier.
    if tuned_for == "CAUSAL_LM" or (language and tuned_for is None):
        raise InputError(
            f"{base.name} is a language model, no classifier: it takes prompts with answers (columns prompt and answer, or "
            f"others by --inputs 'PROMPT{ANSWERED}ANSWER')"
        )


_CHECK = {CLASSIFICATION: _check_classifier, LANGUAGE_MODELLING: _check_language_model}


def _module(made: Any, base: ModelFolder, config: PretrainedConfig, adapter: ModelFolder | None, notes: list[str]) -> nn.Module:
    """The model with its weights, every one of which must have been given."""
    what = "classifier" if made.__name__.endswith("SequenceClassification") else "language model"
    config.use_cache = False  # what was computed for earlier tokens is for writing texts
    tensors = _tensors(base, notes)
    _check_declared(made, config, base, tensors)
    module: PreTrainedModel
    with raised_as(InputError, f"the weights of {base.name} do not fit its {CONFIG}"):
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
        return _adapted(module, adapter, missing, notes)
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
        with raised_as(InputError, f"{base.name}: {CONFIG} describes no model that can be built"), torch.device("meta"):
            module = made(config)
    finally:
        hook.remove()
    declared = sum(parameter.numel() for parameter in module.parameters())
    if declared > 2 * stored + 1_000_000:  # a head and tied weights may be missing
        raise InputError(f"{base.name}: {CONFIG} declares a model of {declared:,} values, the weights are {stored:,}")
    beside = sum(buffer.numel() * buffer.itemsize for buffer in module.buffers())
    if beside > MODEL_BYTES.value:
        raise InputError(f"{base.name}: {CONFIG} declares {beside:,} bytes beside the weights; {MODEL_BYTES}")


def _adapted(module: PreTrainedModel, folder: ModelFolder, missing: list[str], notes: list[str]) -> nn.Module:
    """The model with a LoRA adapter, whose values can be trained and whose base cannot."""
    try:
        import peft
    except ImportError as error:
        raise InputError("an adapter needs peft: pip install 'oga-core[hf]'") from error
    given = folder.settings(ADAPTER)
    if given.get("peft_type") != "LORA":
        raise InputError(f"{folder.name}: {ADAPTER} is of the type {given.get('peft_type')!r}; LORA adapters are read")
    usual = peft.LoraConfig().to_dict()
    others = [k for k, v in given.items() if k not in ADAPTED and v and v != usual.get(k) and k not in _DESCRIBING]
    if others:
        raise InputError(f"{folder.name}: {ADAPTER} asks for {', '.join(sorted(others)[:5])}, which is not supported")
    if not folder.has(ADAPTER_WEIGHTS):
        raise InputError(f"{folder.name} holds no {ADAPTER_WEIGHTS}; save it again: model.save_pretrained(folder)")
    tensors, noticed = folder.tensors(ADAPTER_WEIGHTS)
    notes += noticed
    _check_rank(folder, given, tensors)
    with raised_as(InputError, f"the adapter {folder.name} does not fit its base"):  # its target modules, its shapes, …
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


_DESCRIBING = (
    "base_model_name_or_path",
    "peft_type",
    "peft_version",
    "revision",
    "inference_mode",
    "lora_dropout",
    "init_lora_weights",
)
"""Settings of an adapter that describe it or only matter in training."""


def _tokenizer(hf: Any, base: ModelFolder, adapter: ModelFolder | None) -> PreTrainedTokenizerBase:
    """The tokenizer, from the adapter's folder where it has one of its own."""
    folder = next((f for f in (adapter, base) if f is not None and f.has("tokenizer.json")), None)
    if folder is None:
        raise InputError(f"{base.name} holds no tokenizer.json; save it there: tokenizer.save_pretrained(folder), a fast one")
    given: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        given |= folder.settings(name) if folder.has(name) else {}
    from tokenizers import Tokenizer  # which transformers comes with

    data = folder.read("tokenizer.json")
    check_growth(folder.name, data)
    with raised_as(InputError, f"the tokenizer in {folder.name} cannot be read"):
        # The class only says what is handed to the model: the file is used as it is.
        own = getattr(hf, str(given.get("tokenizer_class")), hf.PreTrainedTokenizerFast)
        special = {
            key: value["content"] if isinstance(value, dict) else value
            for key in hf.PreTrainedTokenizerFast.SPECIAL_TOKENS_ATTRIBUTES
            if (value := given.get(key)) is not None
        }
        tokenizer: PreTrainedTokenizerBase = hf.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_buffer(data),
            model_input_names=given.get("model_input_names") or own.model_input_names,
            model_max_length=given.get("model_max_length"),
            is_local=True,
            local_files_only=True,
            **special,
        )
    return tokenizer


def _padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, base: ModelFolder) -> int:
    """The token to fill up with: the one by which the model itself knows where a text ends, if it says so."""
    for known in (config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id):
        if isinstance(known, int) and 0 <= known < len(tokenizer):
            return known
    raise InputError(f"the tokenizer of {base.name} has no token to fill up with; set tokenizer.pad_token and save it again")


def _segments(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> bool:
    """Whether the model is told of the two texts, as its own tokenizer's class (BERT's, say) does."""
    return "token_type_ids" in tokenizer.model_input_names and getattr(config, "type_vocab_size", 0) > 1


def _longest(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int:
    """Tokens that both tokenizer and positions allow."""
    places = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if places and "roberta" in config.model_type:
        places -= (config.pad_token_id or 0) + 1  # its positions are counted from there
    known = [n for n in (tokenizer.model_max_length, places) if n and n < 1_000_000]
    return int(min(known, default=LONGEST))
