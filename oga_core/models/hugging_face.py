"""Models in a Hugging Face folder: weights from safetensors only, settings by a list of names, nothing in the folder is run.

``transformers`` and ``peft`` build the modules (``pip install 'oga[hf]'``); they are given tensors and settings that were read
and checked here, and never a name on the hub.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from oga_core.data.dataset import Dataset, SampleError
from oga_core.errors import InputError
from oga_core.limits import SETTINGS_BYTES
from oga_core.models.classifier import Classifier
from oga_core.models.weights import read_state_dict

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CONFIG, ADAPTER = "config.json", "adapter_config.json"
WEIGHTS, ADAPTER_WEIGHTS, INDEX = "model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json"
CODE = ("auto_map", "trust_remote_code", "custom_pipelines", "custom_pipeline", "auto_mapping")
"""Settings by which a folder names code of its own."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
ADAPTED = ("r", "lora_alpha", "target_modules", "exclude_modules", "fan_in_fan_out", "bias", "use_rslora", "use_dora",
           "modules_to_save", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "task_type")  # fmt: skip
"""Settings of a LoRA adapter that are taken over; any other must be off."""
LONGEST = 512
"""Tokens of a text where neither tokenizer nor model says how many it takes."""


def is_folder(path: Path) -> bool:
    """Whether a path is a folder as ``save_pretrained`` of transformers or peft writes it."""
    return path.is_dir() and any(_find(path, name) for name in (CONFIG, ADAPTER))


def load_folder(path: Path, dataset: Dataset) -> Classifier:
    """A sequence classifier, with its LoRA adapter where there is one, and its tokenizer.

    Parameters
    ----------
    path
        Folder with ``config.json``, safetensors weights and the tokenizer's files; an adapter (``adapter_config.json``) beside
        them or in a folder below, or a folder of the adapter alone whose base model lies where its settings say.
    dataset
        Texts, or pairs of them.

    Raises
    ------
    InputError
        If something is missing, does not fit, names code, or is not safetensors; if the data are no texts; or without the extra
        ``hf``.
    """
    if dataset.kind != "text":
        raise InputError(f"{path.name} takes texts, and these are {dataset.kind}")
    hf = transformers_offline()
    _refuse_code(path)
    base, adapter = _folders(path)
    notes: list[str] = []
    config = _config(hf, base, notes)
    tokenizer = _tokenizer(hf, base, adapter)
    module = _module(hf, base, config, adapter, notes)
    encode = TextTokens(tokenizer, _longest(tokenizer, config), _segments(tokenizer, config))
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    named = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    names = None if all(name == f"LABEL_{i}" for i, name in named.items()) else [named[i] for i in sorted(named)]
    return Classifier(path.name, module, names, encode, TokenCollate(tokenizer.pad_token_id), notes=notes)


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

    def __call__(self, text: str) -> dict[str, Tensor]:
        parts = getattr(text, "parts", (str(text),))
        try:
            found = self.tokenizer(*parts, truncation=True, max_length=self.longest)
        except Exception as error:  # tokenizers raise bare exceptions, for a lone surrogate for example
            raise SampleError(f"cannot be tokenised: {error}") from error
        encodings = found.encodings or []
        if not encodings or not encodings[0].ids:
            raise SampleError("has no token")
        tokens = {"input_ids": torch.tensor(encodings[0].ids)}
        return tokens | {"token_type_ids": torch.tensor(encodings[0].type_ids)} if self.segments else tokens

    @property
    def reads(self) -> str:
        return f"{self.longest} tokens"

    def cuts(self, text: str) -> bool:
        """Whether a text has more than what is read."""
        parts = getattr(text, "parts", (str(text),))
        return len(text) > self.longest // 2 and len(self.tokenizer(*parts).input_ids) > self.longest


@dataclass(frozen=True)
class TokenCollate:
    """Token numbers to a batch that is filled up on the right; the mask leaves the filling out."""

    padding: int

    def __call__(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        out = {}
        for name in samples[0]:
            filling = self.padding if name == "input_ids" else 0
            out[name] = nn.utils.rnn.pad_sequence([s[name] for s in samples], batch_first=True, padding_value=filling)
        lengths = torch.tensor([len(s["input_ids"]) for s in samples])
        out["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        return out


def transformers_offline() -> Any:
    """The library, quiet and without the network; InputError where it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, on import
    try:
        import transformers
    except ImportError as error:
        raise InputError("this needs transformers and peft: pip install 'oga[hf]'") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _find(path: Path, name: str) -> Path | None:
    """The folder that holds a file: this one, or the only one below."""
    if (path / name).is_file():
        return path
    below = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and (folder / name).is_file()]
    return below[0] if len(below) == 1 else None


def _refuse_code(path: Path) -> None:
    """InputError for scripts, links and weights that are pickles."""
    files = [file for file in sorted(path.rglob("*")) if file.is_symlink() or file.is_file()]
    for file in files:
        name = file.relative_to(path)
        if file.is_symlink() and not file.resolve().is_file():
            raise InputError(f"{path.name}: {name} is a link to a file that is not there; download the folder again")
        if file.suffix in (".py", ".pyc", ".so"):
            raise InputError(f"{path.name} holds a script ({name}); nothing of a model's folder is run: take it out")
    if not any(file.suffix == ".safetensors" for file in files):
        pickled = next((f.name for f in files if f.suffix in PICKLED), None)
        has = f"only {pickled}, which is not opened" if pickled else "no weights"
        raise InputError(f"{path.name} holds {has}; save it with safetensors: model.save_pretrained(folder)")


def _folders(path: Path) -> tuple[Path, Path | None]:
    """The folder of the whole model, and that of the adapter."""
    base, adapter = _find(path, CONFIG), _find(path, ADAPTER)
    if base is None and adapter is not None:
        named = str(_settings(adapter / ADAPTER).get("base_model_name_or_path") or "")
        base = Path(named) if named and (Path(named) / CONFIG).is_file() else None
        if base is None:
            raise InputError(
                f"{path.name} is an adapter of {named or 'a model it does not name'}, which is not a folder on this machine; "
                "put the base model's folder beside the adapter's, and give the folder of both"
            )
        _refuse_code(base)
    if base is None:
        raise InputError(f"{path.name} has no {CONFIG}; give the folder that save_pretrained has written")
    return base, adapter


def _settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings in which nothing names code."""
    name = f"{path.parent.name}/{path.name}"
    if path.stat().st_size > SETTINGS_BYTES.value:
        raise InputError(f"{name} has {path.stat().st_size:,} bytes; {SETTINGS_BYTES}")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{name} is not readable JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{name} holds no settings but a {type(found).__name__}")
    for where, key, value in _entries(found):
        if key in CODE and value:
            raise InputError(
                f"{name} names code of its own ({where}): it is refused; a folder with settings and weights only is read"
            )
    return found


def _entries(value: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every setting, however deep, with where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{where}{key}", key, inner
            yield from _entries(inner, f"{where}{key}.")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _entries(inner, f"{where}{i}.")


def _config(hf: Any, base: Path, notes: list[str]) -> PretrainedConfig:
    """The settings of the architecture that transformers knows; the others are left out and named."""
    given = _settings(base / CONFIG)
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
    try:
        config: PretrainedConfig = known.from_dict({key: value for key, value in given.items() if key in allowed})
    except Exception as error:  # each architecture checks its settings in its own way
        raise InputError(f"{base.name}: {CONFIG} is no settings of a {kind} model: {error}") from error
    return config


def _tensors(folder: Path, notes: list[str]) -> dict[str, Tensor]:
    """The weights of one file or of all shards."""
    index = folder / INDEX
    if not index.is_file():
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder.name} holds no {WEIGHTS}; save it with safetensors: model.save_pretrained(folder)")
        tensors, about = read_state_dict(folder / WEIGHTS)
        notes += about["notes"]
        return tensors
    where = _settings(index).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
        raise InputError(f"{folder.name}/{INDEX} does not say which tensor lies in which file")
    out: dict[str, Tensor] = {}
    for name in sorted(set(where.values())):
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise InputError(f"{folder.name}/{INDEX} names {name!r}, which is no safetensors file beside it")
        if not (folder / name).is_file():
            raise InputError(f"{folder.name}: the shard {name} is missing; copy the folder again")
        shard, about = read_state_dict(folder / name)
        notes += about["notes"]
        out |= shard
    missing = sorted(set(where) - set(out))
    if missing:
        raise InputError(f"{folder.name}: {len(missing)} tensors of {INDEX} are in no shard, the first {missing[0]}")
    return out


def _module(hf: Any, base: Path, config: PretrainedConfig, adapter: Path | None, notes: list[str]) -> nn.Module:
    """The classifier with its weights, every one of which must have been given."""
    try:
        made = hf.AutoModelForSequenceClassification._model_mapping[type(config)]
    except KeyError as error:
        raise InputError(f"{base.name}: transformers has no sequence classifier of the type {config.model_type}") from error
    tensors = _tensors(base, notes)
    with torch.device("meta"):
        declared = sum(parameter.numel() for parameter in made(config).parameters())
    stored = sum(tensor.numel() for tensor in tensors.values())
    if declared > 2 * stored + 1_000_000:  # a head and tied weights may be missing
        raise InputError(f"{base.name}: {CONFIG} declares a model of {declared:,} values, the weights are {stored:,}")
    module: PreTrainedModel
    try:
        module, told = made.from_pretrained(
            None, config=config, state_dict=tensors, output_loading_info=True, dtype=torch.float32, local_files_only=True,
        )  # fmt: skip
    except Exception as error:  # shapes that differ are an exception of transformers' own
        raise InputError(f"the weights of {base.name} do not fit its {CONFIG}: {' '.join(str(error).split())[:300]}") from error
    missing, unexpected = sorted(told["missing_keys"]), sorted(told["unexpected_keys"])
    if unexpected:
        notes.append(
            f"{len(unexpected)} tensors of {base.name} are not part of a classifier and were left out: {unexpected[0]}, …"
        )
    if told["mismatched_keys"]:
        raise InputError(f"the weights of {base.name} do not fit its {CONFIG}: {sorted(told['mismatched_keys'])[0]}")
    if adapter is not None:
        return _adapted(module, adapter, missing, notes)
    if missing:
        raise InputError(
            f"{base.name} is no trained classifier: {len(missing)} of its tensors are missing ({', '.join(missing[:3])}, …); "
            "train it for these classes first"
        )
    return module


def _adapted(module: PreTrainedModel, folder: Path, missing: list[str], notes: list[str]) -> nn.Module:
    """The model with a LoRA adapter, whose values can be trained and whose base cannot."""
    try:
        import peft
    except ImportError as error:
        raise InputError("an adapter needs peft: pip install 'oga[hf]'") from error
    given = _settings(folder / ADAPTER)
    if given.get("peft_type") != "LORA":
        raise InputError(f"{folder.name}: {ADAPTER} is of the type {given.get('peft_type')!r}; LORA adapters are read")
    usual = peft.LoraConfig().to_dict()
    others = [k for k, v in given.items() if k not in ADAPTED and v and v != usual.get(k) and k not in _DESCRIBING]
    if others:
        raise InputError(f"{folder.name}: {ADAPTER} asks for {', '.join(sorted(others)[:5])}, which is not supported")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(f"{folder.name} holds no {ADAPTER_WEIGHTS}; save it again: model.save_pretrained(folder)")
    tensors, about = read_state_dict(folder / ADAPTER_WEIGHTS)
    notes += about["notes"]
    try:
        adapted = peft.get_peft_model(module, peft.LoraConfig(**{k: v for k, v in given.items() if k in ADAPTED}))
        told: Any = peft.set_peft_model_state_dict(adapted, tensors)
    except Exception as error:  # target modules that are not there, shapes that differ, …
        raise InputError(f"the adapter {folder.name} does not fit its base: {' '.join(str(error).split())[:300]}") from error
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    absent = sorted(trained & set(told.missing_keys))
    if told.unexpected_keys or absent:
        first = (told.unexpected_keys or absent)[0]
        raise InputError(
            f"the adapter {folder.name} does not fit its base: {first} is {'not expected' if told.unexpected_keys else 'missing'}"
        )
    replaced = {name.replace("base_model.model.", "").replace("modules_to_save.default.", "") for name in trained}
    if left := [name for name in missing if name not in replaced]:
        raise InputError(f"neither base nor adapter {folder.name} holds {', '.join(left[:3])}; the classifier is not trained")
    return adapted


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


def _tokenizer(hf: Any, base: Path, adapter: Path | None) -> PreTrainedTokenizerBase:
    """The tokenizer, from the adapter's folder where it has one of its own."""
    folder = next((f for f in (adapter, base) if f is not None and (f / "tokenizer.json").is_file()), None)
    if folder is None:
        raise InputError(f"{base.name} holds no tokenizer.json; save it there: tokenizer.save_pretrained(folder), a fast one")
    given = _settings(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    try:
        # The class only says what is handed to the model: the file is used as it is.
        own = getattr(hf, str(given.get("tokenizer_class")), hf.PreTrainedTokenizerFast)
        names = given.get("model_input_names") or own.model_input_names
        tokenizer: PreTrainedTokenizerBase = hf.PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True, model_input_names=names
        )
    except Exception as error:  # each tokenizer checks its files in its own way
        raise InputError(f"the tokenizer in {folder.name} cannot be read: {' '.join(str(error).split())[:300]}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"the tokenizer in {folder.name} has no token to fill up with; set tokenizer.pad_token and save it again"
        )
    return tokenizer


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
