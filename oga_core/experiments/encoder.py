"""Transformers that are fine-tuned with LoRA: of a Hugging Face folder, or a small encoder trained here on texts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from oga_core.detectors import Gradients
from oga_core.errors import InputError
from oga_core.experiments.starter import Starter
from oga_core.files import write_whole_folder
from oga_core.models import Classifier, TrainedModel
from oga_core.models.hugging_face import import_transformers
from oga_core.models.inputs import TokenCollate
from oga_core.models.text_tokens import TextTokens
from oga_core.models.training import AfterEpoch
from oga_core.progress import Progress

ENCODER = "encoder"
"""The ``arch`` that means the small encoder."""
WORDS, LONGEST = 8000, 64
NEAR = 5
"""Words apart that count as near each other."""
VECTORS = 0.05
"""Standard deviation of the word vectors' numbers."""
SIZE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
MASKED, BATCH, RATE, STEPS, QUICK_STEPS = 0.15, 64, 1e-3, 1500, 200
"""Of the training on masked words."""
EPOCHS, TUNED_BATCH, TUNED_RATE, FOLDER_RATE = 10, 32, 2e-3, 3e-4
"""The paper's recipe, with a rate that falls linearly; its rate is for large models, the small one takes a larger."""


@dataclass(frozen=True)
class Base:
    """A model without a trained head, and its tokens.

    Attributes
    ----------
    folder
        As ``save_pretrained`` writes it.
    rate
        Learning rate of its adapters.
    about
        What it is, in a line.
    """

    folder: Path
    encode: TextTokens
    padding: int
    rate: float
    about: str


def base_of(arch: str, texts: Sequence[str], folder: Path, quick: bool, progress: Progress, device: str = "cpu") -> Base:
    """The small encoder, trained on masked words where ``folder`` does not hold it yet, or the model of a folder.

    Raises
    ------
    InputError
        If the folder is none, or transformers and peft are missing.
    """
    hf = import_transformers()
    own = arch == ENCODER
    if own and not (folder / "config.json").is_file():
        steps = QUICK_STEPS if quick else STEPS
        write_whole_folder(folder, lambda written: _pretrain(hf, texts, written, steps, progress, device))
    at = folder if own else Path(arch)
    if not (at / "config.json").is_file():
        raise InputError(f"{arch} is neither {ENCODER!r} nor a folder of a model that save_pretrained has written")
    try:
        tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(at, local_files_only=True)
        longest = min(
            tokenizer.model_max_length, hf.AutoConfig.from_pretrained(at, local_files_only=True).max_position_embeddings - 2
        )
    except Exception as error:  # each architecture checks its files in its own way
        raise InputError(f"{at} cannot be read as an encoder: {' '.join(str(error).split())[:300]}") from error
    about = (
        f"a small encoder ({SIZE['num_hidden_layers']} layers, d = {SIZE['hidden_size']}) whose word vectors come from "
        "their neighbours, trained on masked words of these texts"
    )
    encode = TextTokens(tokenizer, longest, segments=own)
    return Base(at, encode, tokenizer.pad_token_id, TUNED_RATE if own else FOLDER_RATE, about if own else at.name)


def _pretrain(hf: Any, texts: Sequence[str], folder: Path, steps: int, progress: Progress, device: str) -> None:
    """A RoBERTa on masked words, without any label; its tokenizer's pieces are made of the same texts."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False))
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=LONGEST,
    )
    encode, collate = TextTokens(tokenizer, LONGEST, segments=True), TokenCollate(0)
    rows = [encode(text) for text in texts]
    with torch.random.fork_rng(devices=_seed_devices(device)):
        torch.manual_seed(0)
        config = hf.RobertaConfig(
            **SIZE,
            vocab_size=len(tokenizer),
            max_position_embeddings=LONGEST + 2,
            type_vocab_size=2,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
        module = hf.RobertaForMaskedLM(config).to(device).train()
        found = word_vectors([row["input_ids"].numpy() for row in rows], len(tokenizer), SIZE["hidden_size"], len(special))
        module.roberta.embeddings.word_embeddings.weight.data[len(special) :] = torch.from_numpy(found[len(special) :])
        optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=0.1)
        for step in range(steps):
            progress("training the encoder on masked words", step, steps)
            batch = collate([rows[i] for i in torch.randint(len(rows), (BATCH,)).tolist()])
            hidden = (torch.rand(batch["input_ids"].shape) < MASKED) & (batch["input_ids"] >= len(special))
            targets = batch["input_ids"][hidden].to(device)
            batch["input_ids"] = torch.where(hidden, special.index("[MASK]"), batch["input_ids"])
            if not hidden.any():
                continue
            # The other places are not predicted, and logits are most of the cost.
            states = module.roberta(**_on(device, batch)).last_hidden_state[hidden.to(device)]
            loss = nn.functional.cross_entropy(module.lm_head(states), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress("training the encoder on masked words", steps, steps)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def word_vectors(texts: Sequence[np.ndarray], words: int, size: int, special: int) -> np.ndarray:
    """Vectors of words by their neighbours, float32 ``(words, size)``, without which so few texts teach the encoder nothing.

    A truncated singular value decomposition of the positive pointwise mutual information (Levy, Goldberg, Dagan 2015).

    Parameters
    ----------
    texts
        The numbers of their words, int64; those below ``special`` count for nothing.
    """
    near = sparse.csr_array((words, words))
    for apart in range(1, NEAR + 1):
        first, second = (np.concatenate([t[s] for t in texts]) for s in (slice(None, -apart), slice(apart, None)))
        own = (first >= special) & (second >= special)
        near = near + sparse.coo_array((np.ones(own.sum()), (first[own], second[own])), (words, words)).tocsr()
    pairs = (near + near.T).tocoo()
    often = np.bincount(pairs.row, pairs.data, words)
    around = often**0.75 / (often**0.75).sum()  # rare words would else seem to tell most
    information = np.log(pairs.data / (often[pairs.row] * around[pairs.col]))
    positive = sparse.coo_array((np.maximum(information, 0), (pairs.row, pairs.col)), pairs.shape).tocsr()
    left, values, _ = svds(positive, k=size, v0=np.ones(words))
    found = left * np.sqrt(values)
    return (found * VECTORS / max(float(found.std()), 1e-12)).astype(np.float32)


def _seed_devices(device: str) -> list[str]:
    """The devices whose random numbers are kept, beside the CPU's."""
    return [] if device == "cpu" else [device]


def _on(device: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.to(device) for name, values in batch.items()}


@dataclass
class Adapted(Starter):
    """Fine-tunes LoRA adapters (r = 4 on the values' projections) and the head on some of the training samples."""

    base: Base | None = None
    device: str = "cpu"

    @property
    def out_of_fold(self) -> Gradients | None:
        """None: no further transformers are trained."""
        return None

    def batches(self, classifier: Classifier, split: str) -> Iterator[Any]:
        """As the starter's, on the device."""
        return (_on(self.device, batch) for batch in super().batches(classifier, split))

    def fitted(self, rows: np.ndarray, after_epoch: AfterEpoch | None) -> TrainedModel:
        import peft
        import transformers as hf

        assert self.base is not None
        tokens = self.inputs(self.base.encode, "train")
        labels, epochs = torch.from_numpy(self.train.labels).to(self.device), self.epochs or EPOCHS
        collate = TokenCollate(self.base.padding)
        with torch.random.fork_rng(devices=_seed_devices(self.device)):
            torch.manual_seed(self.seed)
            module = hf.AutoModelForSequenceClassification.from_pretrained(
                self.base.folder,
                num_labels=len(self.train.class_names),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
            )
            config = peft.LoraConfig(r=4, target_modules=["value"], lora_dropout=0.05, task_type="SEQ_CLS")
            adapted = peft.get_peft_model(module, config).to(self.device).train()
            names = list(self.train.class_names)
            classifier = Classifier(f"{self.base.folder.name} with LoRA", adapted, names, self.base.encode, collate)
            optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=self.base.rate)
            batches = max(1, len(rows) // TUNED_BATCH)
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs * batches)
            rng = np.random.default_rng(self.seed)
            for epoch in range(epochs):
                for positions in np.array_split(rng.permutation(rows), batches):
                    batch = _on(self.device, collate([tokens[i] for i in positions]))
                    loss = nn.functional.cross_entropy(adapted(**batch).logits, labels[positions])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                if after_epoch is not None:
                    adapted.eval()
                    with torch.random.fork_rng(devices=_seed_devices(self.device)):
                        after_epoch(epoch + 1, classifier)
                    adapted.train()
        adapted.eval()
        return TrainedModel(classifier, None, np.empty(0, np.int64), epochs, [])
