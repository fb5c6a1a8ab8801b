"""Models in a Hugging Face folder: weights from safetensors only, settings by a list of names, nothing in the folder is run.

``transformers`` and ``peft`` build the modules (``pip install 'oga-core[hf]'``); they are given tensors and settings that were
read and checked before, and never a name on the hub.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from oga_core.data.dataset import IN_WORDS, Dataset
from oga_core.data.tables import ANSWERED
from oga_core.errors import InputError, raise_as
from oga_core.model_files import ADAPTER
from oga_core.models.classifier import Classifier, token_count
from oga_core.models.inputs import TokenCollate
from oga_core.models.language_model import language_model
from oga_core.models.model_folder import ModelFolder, base_and_adapter, open_folder
from oga_core.models.text_tokens import TextTokens
from oga_core.models.tokenizer_file import read_tokenizer
from oga_core.models.transformers_module import load_module, read_config
from oga_core.task import CLASSIFICATION, LANGUAGE_MODELLING, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

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
    hf = import_transformers()
    folder = open_folder(path)
    with raise_as(InputError, f"{folder.name} cannot be loaded as a model"):  # settings of types that nobody expects
        return _load(hf, folder, dataset)


def _load(hf: Any, folder: ModelFolder, dataset: Dataset) -> Classifier:
    base, adapter = base_and_adapter(folder)
    task, loader = dataset.task, LOADERS[dataset.task]
    notes: list[str] = []
    config = read_config(hf, base, notes)
    made = _find_architecture(hf, base, config, task)
    tuned_for = None if adapter is None else str(adapter.settings(ADAPTER).get("task_type") or "")
    loader.check(base, made.__name__, [str(name) for name in config.architectures or ()], tuned_for)
    tokenizer = read_tokenizer(hf, base, adapter)
    module = load_module(made, base, config, adapter, notes)
    return loader.make(folder.name, base, config, module, tokenizer, notes)


def import_transformers() -> Any:
    """Return the library, quiet and without the network; InputError where it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, on import
    try:
        import transformers
    except ImportError as error:
        raise InputError("this needs transformers and peft: pip install 'oga-core[hf]'") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _find_architecture(hf: Any, base: ModelFolder, config: PretrainedConfig, task: Task) -> Any:
    """Return the class of transformers that builds a model of the task."""
    try:
        return getattr(hf, task.auto_class)._model_mapping[type(config)]
    except KeyError as error:
        raise InputError(f"{base.name}: transformers has no {task.model} of the type {config.model_type}") from error


class TaskLoader(Protocol):
    """The steps of loading a folder that differ between tasks."""

    def check(self, base: ModelFolder, made: str, given: list[str], tuned_for: str | None) -> None:
        """Refuse a model that was trained for another task.

        Parameters
        ----------
        base
            Folder of the model without adapter.
        made
            Name of the class of transformers that is to be built.
        given
            The classes that the folder's settings name.
        tuned_for
            Task of the adapter as peft calls it, empty if it names none; None without an adapter.
        """

    def make(
        self,
        name: str,
        base: ModelFolder,
        config: PretrainedConfig,
        module: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        notes: list[str],
    ) -> Classifier:
        """Return the model with what turns samples into its input."""


class ClassifierLoader:
    """Sequence classifiers."""

    def check(self, base: ModelFolder, made: str, given: list[str], tuned_for: str | None) -> None:
        language = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in given)
        # An adapter may have turned a language model into a classifier.
        if tuned_for == "CAUSAL_LM" or (language and tuned_for is None):
            raise InputError(
                f"{base.name} is a language model, no classifier: it takes prompts with answers (columns prompt and answer, or "
                f"others by --inputs 'PROMPT{ANSWERED}ANSWER')"
            )

    def make(
        self,
        name: str,
        base: ModelFolder,
        config: PretrainedConfig,
        module: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        notes: list[str],
    ) -> Classifier:
        encode = TextTokens(tokenizer, _find_longest(tokenizer, config), _has_segments(tokenizer, config))
        config.pad_token_id = padding = _find_padding(tokenizer, config, base)
        labels = {int(i): str(label) for i, label in (config.id2label or {}).items()}
        names = None if all(label == f"LABEL_{i}" for i, label in labels.items()) else [labels[i] for i in sorted(labels)]
        return Classifier(name, module, names, encode, TokenCollate(padding), notes=notes, length=token_count)


class LanguageModelLoader:
    """Causal language models."""

    def check(self, base: ModelFolder, made: str, given: list[str], tuned_for: str | None) -> None:
        if tuned_for != "CAUSAL_LM" if tuned_for else made not in given:
            raise InputError(
                f"{base.name} is no causal language model ({tuned_for or ', '.join(given) or 'no architecture is named'}), and "
                "the data are prompts with answers; for a classifier of pairs name columns and label (--inputs prompt,answer "
                "--label NAME)"
            )

    def make(
        self,
        name: str,
        base: ModelFolder,
        config: PretrainedConfig,
        module: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        notes: list[str],
    ) -> Classifier:
        return language_model(module, tokenizer, _find_longest(tokenizer, config), name, notes)


LOADERS: dict[Task, TaskLoader] = {CLASSIFICATION: ClassifierLoader(), LANGUAGE_MODELLING: LanguageModelLoader()}


def _find_padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, base: ModelFolder) -> int:
    """The padding token id: the one by which the model itself finds the end of a text, if its configuration has one."""
    for known in (config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id):
        if isinstance(known, int) and 0 <= known < len(tokenizer):
            return known
    raise InputError(f"the tokenizer of {base.name} has no padding token; set tokenizer.pad_token and save it again")


def _has_segments(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> bool:
    """Whether the model takes the segment of each token (first or second text), as its tokenizer's class says (BERT's, say)."""
    return "token_type_ids" in tokenizer.model_input_names and getattr(config, "type_vocab_size", 0) > 1


def _find_longest(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int:
    """Tokens that both tokenizer and positions allow."""
    places = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if places and "roberta" in config.model_type:
        places -= (config.pad_token_id or 0) + 1  # its positions are counted from there
    known = [n for n in (tokenizer.model_max_length, places) if n and n < 1_000_000]
    return int(min(known, default=LONGEST))
