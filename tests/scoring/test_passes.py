"""One pass over samples of unlike lengths: those of like lengths share a batch, and no result tells of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from oga_core import from_texts
from oga_core.data import Dataset, SampleError
from oga_core.models import Classifier
from oga_core.models.classifier import token_count
from oga_core.scoring import passes
from oga_core.scoring.passes import run_pass
from oga_core.scoring.saved_state import Shard
from oga_core.scoring.tasks.classification import ClassificationPass

WORDS, LABELS, N = 40, 3, 300


class Reader(nn.Module):
    """The mean of the words that are not filling, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.inner, self.fc = nn.Embedding(WORDS, 8), nn.Linear(8, 8), nn.Linear(8, LABELS)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.inner(self.words(input_ids)).tanh() * mask[..., None]
        logits: Tensor = self.fc(hidden.sum(1) / mask.sum(1, keepdim=True))
        return logits


def encode(text: str) -> dict[str, Tensor]:
    if "%" in text:
        raise SampleError("has a percent sign")
    return {"input_ids": torch.tensor([1 + len(word) % (WORDS - 1) for word in text.split()])}


class Collate:
    """Filled up to the longest; keeps the sizes."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        ids = [s["input_ids"] for s in samples]
        filled = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        self.sizes.append((len(ids), filled.shape[1]))
        mask = torch.arange(filled.shape[1]) < torch.tensor([len(i) for i in ids])[:, None]
        return {"input_ids": filled, "mask": mask.float()}


class Kept:
    """Shards in memory in the place of `SavedState`."""

    def __init__(self, shards: dict[int, Shard]) -> None:
        self.kept = shards

    def shards(self, name: str) -> dict[int, Shard]:
        return dict(self.kept)

    def keep(self, name: str, start: int, shard: Shard, total: int) -> None:
        self.kept[start] = shard

    def check(self, row: int, sample_id: str, source: str) -> None:
        assert sample_id


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    texts = [" ".join("x" * int(k) for k in rng.integers(1, 20, int(rng.geometric(0.06)))) for _ in range(N)]
    texts[7] = texts[200] = "100 % wrong"
    return from_texts(texts, rng.integers(0, LABELS, N).tolist())


def classifier(*, sorts: bool) -> Classifier:
    torch.manual_seed(0)
    return Classifier("reader", Reader().eval(), None, encode, Collate(), length=token_count if sorts else None)


def columns(
    model: Classifier, dataset: Dataset, scope: str = "all", saved: Kept | None = None
) -> tuple[dict[str, np.ndarray], list[int]]:
    each = ClassificationPass(model, dataset, scope)
    model.collate.sizes.clear()  # type: ignore[attr-defined]
    samples, failed = run_pass(each, dataset, lambda done, total: None, saved)  # type: ignore[arg-type]
    assert samples is not None
    return samples.arrays(), [one.index for one in failed]


@pytest.mark.parametrize("scope", ["head", "all"])
def test_results_are_those_of_batches_as_the_samples_come_and_in_their_order(dataset: Dataset, scope: str) -> None:
    plain, sorted_ = (columns(classifier(sorts=sorts), dataset, scope) for sorts in (False, True))
    assert plain[1] == sorted_[1] == [7, 200]
    assert list(plain[0]) == list(sorted_[0])
    for name, values in plain[0].items():
        if name in ("index", "sample_id", "predicted", "targets"):
            assert np.array_equal(sorted_[0][name], values)
        else:
            np.testing.assert_allclose(sorted_[0][name].astype(float), values.astype(float), rtol=1e-3, atol=2e-3)
    assert np.array_equal(sorted_[0]["index"], np.sort(sorted_[0]["index"]))


def test_batches_are_filled_up_by_little_and_the_longest_come_first(dataset: Dataset) -> None:
    filled = {}
    for sorts in (False, True):
        model = classifier(sorts=sorts)
        columns(model, dataset, "head")
        sizes: list[tuple[int, int]] = model.collate.sizes  # type: ignore[attr-defined]
        filled[sorts] = sum(n * length for n, length in sizes)
    words = sum(len(str(dataset.load(i)).split()) for i in range(N) if i not in (7, 200))
    assert words <= filled[True] < 0.6 * filled[False]
    assert all(a >= b for (_, a), (_, b) in pairwise(sizes))


@settings(max_examples=4)
@given(data=st.data())
def test_a_pass_that_goes_on_is_byte_for_byte_one_that_was_not_broken(dataset: Dataset, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # A shard ends in the midst of what is put in order together.
        for name, value in (("BATCH", 8), ("WINDOW", 40), ("SHARD", data.draw(st.sampled_from([8, 16, 24, 64])))):
            patch.setattr(passes, name, value)
        kept = Kept({})
        whole, failed = columns(classifier(sorts=True), dataset, "all", kept)
        lost = data.draw(st.sets(st.sampled_from(sorted(kept.kept)), min_size=1))
        again, failed_again = columns(
            classifier(sorts=True), dataset, "all", Kept({k: v for k, v in kept.kept.items() if k not in lost})
        )
    assert failed == failed_again
    assert _bytes(whole) == _bytes(again)


def _bytes(whole: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: values.tobytes() for name, values in whole.items()}
