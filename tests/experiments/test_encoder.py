"""A transformer in the text experiment: what is trained, that a seed decides all, and the whole of it on a small set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from oga_core.data import Dataset, Subset, open_dataset
from oga_core.errors import InputError
from oga_core.experiments import encoder, reproduce
from oga_core.experiments.encoder import ENCODER, Adapted, Base, base_of
from oga_core.models import TrainedModel

EPOCHS = 3


def silent(*_: object) -> None:
    pass


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        encoder, "SIZE", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    )
    monkeypatch.setattr(encoder, "WORDS", 200)
    monkeypatch.setattr(encoder, "QUICK_STEPS", 3)
    monkeypatch.setattr(encoder, "EPOCHS", EPOCHS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two classes, as SST-2 has them; and pairs, as MRPC."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(20)])
    folder = tmp_path_factory.mktemp("data")
    for task, columns in (("sst2", ["text"]), ("mrpc", ["sentence1", "sentence2"])):
        (folder / task).mkdir()
        for split, count in (("train", 60), ("dev", 20), ("test", 20)):
            labels = rng.integers(0, 2, count)
            texts = [[" ".join(rng.choice(words[10 * label : 10 * label + 10], 6)) for label in labels] for _ in columns]
            table = pd.DataFrame(dict(zip(columns, texts, strict=True)) | {"label": labels})
            table.to_csv(folder / task / f"{split}.csv", index=False)
    return folder


def parts(data: Path) -> tuple[Subset, Subset, Subset]:
    train, dev, test = (open_dataset(data / "sst2" / f"{split}.csv") for split in ("train", "dev", "test"))
    return whole(train), whole(dev), whole(test)


def whole(dataset: Dataset) -> Subset:
    return Subset(dataset, np.arange(len(dataset)))


def base(data: Path, folder: Path) -> Base:
    texts = [str(part.load(i)) for part in parts(data) for i in range(len(part))]
    return base_of(ENCODER, texts, folder / ENCODER, True, silent)


def test_adapters_and_head_are_trained_and_nothing_else(data: Path, tmp_path: Path) -> None:
    states = []

    class Watched(Adapted):
        def fitted(self, rows: np.ndarray, after_epoch: encoder.AfterEpoch | None) -> TrainedModel:
            def kept(epoch: int, classifier: encoder.Classifier) -> None:
                states.append({n: p.detach().clone() for n, p in classifier.module.named_parameters()})
                assert not classifier.module.training

            return super().fitted(rows, kept)

    Watched(*parts(data), seed=0, base=base(data, tmp_path))(np.arange(60))
    assert len(states) == EPOCHS
    changed = {name for name, values in states[0].items() if not torch.equal(values, states[-1][name])}
    assert changed == {name for name in states[0] if "value.lora_" in name or "modules_to_save" in name}
    assert sum("lora_A" in name for name in changed) == 2


def test_words_with_the_same_neighbours_have_like_vectors() -> None:
    """Words 5 to 14 stand beside words 25 and 26, 15 to 24 beside 27 and 28, and never beside one of their own."""
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(400):
        group = int(rng.integers(2))
        word, *beside = rng.integers(5 + 10 * group, 15 + 10 * group), *rng.permutation(25 + 2 * group + np.arange(2))
        texts.append(np.array([2, beside[0], word, beside[1], 3]))
    found = encoder.word_vectors(texts, 29, 8, special=5)
    assert found.shape == (29, 8)
    assert found.std() == pytest.approx(encoder.VECTORS, rel=1e-4)
    assert np.abs(found[:5]).max() < 1e-6
    unit = found[5:25] / np.linalg.norm(found[5:25], axis=1, keepdims=True)
    alike = unit @ unit.T
    assert alike[:10, :10].min() > 0.8
    assert alike[10:, 10:].min() > 0.8
    assert np.abs(alike[:10, 10:]).max() < 0.2


def test_a_seed_and_the_rows_decide_all(data: Path, tmp_path: Path) -> None:
    start = base(data, tmp_path)
    logits = []
    for seed, rows in ((0, 60), (0, 60), (1, 60), (0, 50)):
        adapted = Adapted(*parts(data), seed=seed, base=start)
        torch.rand(seed + rows)  # what was drawn before has no part in it
        classifier = adapted.fitted(np.arange(rows), None).classifier
        logits.append(torch.cat([classifier.logits(batch) for batch in adapted.batches(classifier, "test")]))
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])
    assert not torch.allclose(logits[0], logits[3])


def test_an_encoder_that_is_there_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    first = base(data, tmp_path)
    weights = (first.folder / "model.safetensors").stat().st_mtime_ns
    assert {path.name for path in tmp_path.iterdir()} == {ENCODER}  # nothing half written is left beside it
    assert base(data, tmp_path).folder == first.folder
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == weights
    with pytest.raises(InputError, match="missing is neither 'encoder' nor a folder"):
        base_of("missing", [], tmp_path / "other", True, silent)


def test_all_arms_with_curves_and_parts_put_together(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for task in ("sst2", "mrpc"):
        assert reproduce("text", data=data, out=out, arch=ENCODER, seeds=1, quick=True, shard=f"{task}:0") == out
    report = reproduce("text", data=data, out=out, arch=ENCODER, seeds=1, quick=True, progress=unexpected).read_text("utf-8")
    rows = pd.read_csv(out / "results.csv", keep_default_na=False, na_values=[""])
    assert set(rows["setting"]) == {"sst2", "mrpc"}
    trained = rows.dropna(subset=["accuracy"])
    assert set(trained["arm"]) == {"untrimmed", "oracle", "random", "l1", "iforest", "low_confidence", "recommended"}
    assert {len(curve.split()) for curve in trained["by_epoch"]} == {EPOCHS}
    assert (trained["by_epoch"].str.split().str[-1].astype(float) == trained["accuracy"]).all()
    assert rows.loc[rows["arm"] == "l1", "trimmed"].tolist() == [18, 18]  # 30 % of 60
    assert "epochs.html" in report
    assert "fine-tuned with LoRA (r = 4" in report


def unexpected(stage: str, done: int, total: int) -> None:
    raise AssertionError(f"{stage}: it had been done")


def test_a_part_that_is_not_there_is_refused(data: Path, tmp_path: Path) -> None:
    for shard, message in (("sst3:0", "no shard 'sst3' here; there are: sst2, mrpc"), ("sst2", "is not SETTING:SEED")):
        with pytest.raises(InputError, match=message):
            reproduce("text", data=data, out=tmp_path / "out", arch=ENCODER, seeds=1, quick=True, shard=shard)
