"""From a decoded sample to a model's input. Encoders can be pickled and give the same result each time."""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from oga_core.data.dataset import Dataset, SampleError
from oga_core.errors import InputError, raise_as

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MIN_SIZE, MAX_SIZE, MAX_INPUT = 8, 64, 2048
LOOKED_AT = 500
MAX_WORDS = 512
CHARACTERS = 64
CACHED_TEXTS = 1 << 16
"""Texts whose tokens are cached: a scoring asks for some of them more than once."""
"""Of a longer word, only that many characters give character n-grams."""


@dataclass(frozen=True)
class ImageEncoder:
    """RGB image to uint8, shape ``(3, size, size)``: stretched, or with ``resize`` scaled and cropped."""

    size: int
    resize: int | None = None

    def __call__(self, image: Image.Image) -> Tensor:
        image = image.convert("RGB")
        if self.resize is None:
            if image.size != (self.size, self.size):
                image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        else:
            scale = self.resize / min(image.size)
            width, height = (max(self.size, round(side * scale)) for side in image.size)
            left, top = (width - self.size) // 2, (height - self.size) // 2
            box = (
                left / width * image.width,
                top / height * image.height,
                (left + self.size) / width * image.width,
                (top + self.size) / height * image.height,
            )
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class ImageCollate:
    """uint8 images to a normalised float batch, shape ``(n, 3, size, size)``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: list[Tensor]) -> Tensor:
        return self.normalise(torch.stack(list(images)))

    def normalise(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return (images.float() / 255 - mean) / std


class _Letters(dict[int, int | str]):
    """Punctuation, spaces and control characters become spaces; letters, marks and digits of any script stay."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMN" else " "
        return self[code]


_LETTERS = _Letters()


def words(text: str) -> list[str]:
    """The first `MAX_WORDS` words in lower case, composed (NFC), with their combining marks."""
    return _every_word(text)[:MAX_WORDS]


def _every_word(text: str) -> list[str]:
    return unicodedata.normalize("NFC", text.casefold()).translate(_LETTERS).split()


def _hash(gram: str) -> int:
    return zlib.crc32(gram.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=1 << 16)
def _word_grams(word: str) -> tuple[int, ...]:
    """Hashes of the word and of the 3 to 5 characters long pieces of ``<word>``."""
    framed = f"<{word[:CHARACTERS]}>"
    pieces = {framed[i : i + n] for n in (3, 4, 5) for i in range(len(framed) - n + 1)}
    return (_hash("w " + word), *sorted(_hash("c " + piece) for piece in pieces))


@dataclass(frozen=True)
class TextEncoder:
    """Text to the bucket numbers of its words, word pairs and pieces of words, int32."""

    buckets: int

    def __call__(self, text: str) -> Tensor:
        found = words(text)
        grams = [g for word in found for g in _word_grams(word)]
        grams += [_hash(f"b {a} {b}") for a, b in pairwise(found)]
        return torch.from_numpy((np.array(grams or [0], np.int64) % self.buckets).astype(np.int32))

    reads = f"{MAX_WORDS} words"

    def describe_truncation(self, text: str) -> str:
        """Describe what is truncated of a text that is too long; empty where all of it is read."""
        return ENDS if len(text) > 2 * MAX_WORDS and len(_every_word(text)) > MAX_WORDS else ""


ENDS = "the model does not read their ends"


@runtime_checkable
class Truncating(Protocol):
    """An encoder that does not read all of a long text."""

    @property
    def reads(self) -> str: ...

    def describe_truncation(self, text: str) -> str: ...


def list_truncations(encode: Callable[[Any], Any], dataset: Dataset) -> list[str]:
    """Notes where texts are longer than what the model is given of them."""
    if not isinstance(encode, Truncating):
        return []
    truncated: Counter[str] = Counter()
    for index in range(len(dataset)):
        with suppress(SampleError):
            truncated[encode.describe_truncation(dataset.load(index))] += 1
    return [f"{count:,} texts are longer than {encode.reads}; {what}" for what, count in sorted(truncated.items()) if what]


def collate_text(ids: list[Tensor]) -> tuple[Tensor, Tensor]:
    """All bucket numbers in a row, int64, and where each text starts."""
    lengths = torch.tensor([0] + [len(i) for i in ids[:-1]])
    return torch.cat(ids).long(), lengths.cumsum(0)


@dataclass(frozen=True)
class TokenCollate:
    """Token ids to a batch that is padded on the right; the mask excludes the padding."""

    padding: int

    def __call__(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        out = {}
        for name in samples[0]:
            filling = self.padding if name == "input_ids" else 0
            out[name] = pad_sequence([s[name] for s in samples], batch_first=True, padding_value=filling)
        lengths = torch.tensor([len(s["input_ids"]) for s in samples])
        out["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        return out


@dataclass(frozen=True)
class FeatureEncoder:
    """Features to float32, shape ``(features,)``."""

    features: int

    def __call__(self, values: Any) -> Tensor:
        array = np.array(values, dtype=np.float32)
        if array.shape != (self.features,):
            raise SampleError(f"has shape {array.shape}; the model takes {self.features} features")
        return torch.from_numpy(array)


def collate_default(samples: list[Any]) -> Any:
    """Stack tensors, arrays and numbers, also inside tuples and dicts.

    Raises
    ------
    InputError
        If they are of different shapes or of no such type.
    """
    try:
        return default_collate(samples)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the samples do not stack to a batch, the transform must give all the same shape: {reason}") from error


def spec_for(name: str, dataset: Dataset) -> dict[str, Any]:
    """Arguments of an architecture and its input that suit the data, JSON.

    Raises
    ------
    InputError
        If none of the first samples can be read.
    """
    if name == "text_ngrams":
        return {"buckets": 1 << 16, "width": 64}
    if name not in ("small_resnet", "feature_mlp"):
        return torchvision_input(name)
    step = max(1, len(dataset) // LOOKED_AT)
    samples, reason = [], "there are none"
    for index in range(0, len(dataset), step):
        try:
            samples.append(dataset.load(index))
        except SampleError as error:
            reason = str(error)
    if not samples:
        raise InputError(f"none of the samples looked at can be read; the last one: {reason}")
    if name == "feature_mlp":
        return {"features": len(samples[0]), "width": 128}
    size = int(np.clip(np.median([max(image.size) for image in samples]), MIN_SIZE, MAX_SIZE))
    pixels = torch.stack([ImageEncoder(size)(image) for image in samples]).double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)).clamp_min(0.05)
    return {"size": size, "mean": [round(float(v), 4) for v in mean], "std": [round(float(v), 4) for v in std]}


def torchvision_input(name: str) -> dict[str, Any]:
    """Size and normalisation that torchvision's own weights of an architecture were trained with."""
    if name.startswith("vit_"):  # built for 224 pixels, also where some of its weights are for another size
        return {"size": 224, "resize": 256, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    from torchvision import models

    weights = next(iter(models.get_model_weights(name)))
    preset = weights.transforms()
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    return {"size": crop, "resize": resize, "mean": list(preset.mean), "std": list(preset.std)}


def encoder_for(name: str, spec: dict[str, Any]) -> tuple[Callable[[Any], Any], Callable[[list[Any]], Any]]:
    """Encoder and collate of a named architecture.

    Raises
    ------
    InputError
        If the arguments lack what the input needs.
    """
    with raise_as(InputError, f"the arguments {str(spec)[:200]} do not describe the input of {name}"):
        if name == "text_ngrams":
            return TextEncoder(int(spec["buckets"])), collate_text
        if name == "feature_mlp":
            return FeatureEncoder(int(spec["features"])), collate_default
        collate = ImageCollate(*(tuple(float(v) for v in spec[key]) for key in ("mean", "std")))
        if len(collate.mean) != 3 or len(collate.std) != 3 or not min(collate.std) > 0:
            raise ValueError("mean and std need three numbers each, std above 0")
        size, resize = int(spec["size"]), spec.get("resize")
        if not 1 <= size <= MAX_INPUT:
            raise ValueError(f"size must be from 1 to {MAX_INPUT}")
        return ImageEncoder(size, None if resize is None else max(size, int(resize))), collate


@dataclass(frozen=True)
class EncodeOne:
    """One sample encoded to what a module takes, without the batch dimension."""

    encode: Callable[[Any], Any]
    collate: Callable[[list[Any]], Any]

    def __call__(self, sample: Any) -> Tensor:
        batch: Tensor = self.collate([self.encode(sample)])
        return batch[0]


NEEDS_TRANSFORM = {
    "prompts": "a model for prompts with answers is given with its tokenizer: oga_core.models.language_model(…)",
    "text": "a model for texts needs a transform that turns one text into its input (transform=…)",
}
"""Kinds of data of which it cannot be guessed what a module takes, and what to do."""


def usual_input(dataset: Dataset) -> tuple[Callable[[Any], Any], str]:
    """Return the default encoder of a module of unknown origin that has no transform, and a line that says so.

    Raises
    ------
    InputError
        For texts: what a module takes for a text cannot be guessed.
    """
    if dataset.kind == "features":
        return FeatureEncoder(len(np.asarray(first_readable(dataset)))), "the model is given the features as they are"
    if dataset.kind in NEEDS_TRANSFORM:
        raise InputError(NEEDS_TRANSFORM[dataset.kind])
    width, height = first_readable(dataset).size
    small = width == height <= MAX_SIZE
    size, resize = (width, None) if small else (224, 256)
    spec = {"size": size, "resize": resize, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    note = f"the model is given RGB images of {size} × {size}, normalised with ImageNet's mean and std"
    return EncodeOne(*encoder_for("image", spec)), note


def first_readable(dataset: Dataset) -> Any:
    reason = "there are none"
    for index in range(len(dataset)):
        try:
            return dataset.load(index)
        except SampleError as error:
            reason = str(error)
    raise InputError(f"no sample can be read; the last one: {reason}")
