"""The language model experiment: the converted model, the loss on the answer, DataInf, and the whole of it on a small set."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from sklearn.metrics import roc_auc_score
from torch import nn

from oga_core.errors import InputError
from oga_core.experiments import llm, reproduce
from oga_core.experiments.asked import Asked
from oga_core.experiments.causal import AdapterGradients, Causal, Example, Recipe, fine_tuned, load_causal
from oga_core.experiments.llm import SETTINGS, TASKS, _datainf, auc_of_each, by_gradients, examples
from oga_core.experiments.stories import convert
from oga_core.models.language_model import IGNORED

DIM, HIDDEN, LAYERS, HEADS, GROUPS, LENGTH = 16, 20, 2, 4, 2, 12
PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), " ", "a", "b", "ab", " ab", "abab"]
SCORES = [0.0] * 259 + [-5.0, -6.0, -7.0, -1.0, -2.0, -3.0]
SHAPES = [
    (LAYERS, DIM),
    (LAYERS, DIM, DIM),
    (LAYERS, DIM // 2, DIM),
    (LAYERS, DIM // 2, DIM),
    (LAYERS, DIM, DIM),
    (LAYERS, DIM),
    (LAYERS, HIDDEN, DIM),
    (LAYERS, DIM, HIDDEN),
    (LAYERS, HIDDEN, DIM),
    (DIM,),
]


@pytest.fixture(scope="module")
def weights() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) * 0.3 for shape in [(len(PIECES), DIM), *SHAPES]]


@pytest.fixture(scope="module")
def folder(weights: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of llama2.c with random weights, converted."""
    at = tmp_path_factory.mktemp("stories")
    header = struct.pack("<7i", DIM, HIDDEN, LAYERS, HEADS, GROUPS, len(PIECES), LENGTH)
    (at / "model.bin").write_bytes(header + b"".join(w.tobytes() for w in weights))
    tokens = b"".join(struct.pack("<fi", s, len(p.encode())) + p.encode() for p, s in zip(PIECES, SCORES, strict=True))
    (at / "tokens.bin").write_bytes(struct.pack("<i", 8) + tokens)
    return convert(at / "model.bin", at / "tokens.bin", at / "folder")


def llama2c(weights: list[np.ndarray], tokens: list[int]) -> np.ndarray:
    """Logits of the last token, as run.c computes them: one position after the other, neighbouring pairs turned."""
    table, att, wq, wk, wv, wo, ffn, w1, w2, w3, final = weights
    size, share = DIM // HEADS, HEADS // GROUPS
    keys: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]
    values: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * x / np.sqrt((x**2).mean() + 1e-5)

    def turned(v: np.ndarray, position: int) -> np.ndarray:
        out = v.copy()
        for i in range(0, len(v), 2):
            angle = position / 10000 ** ((i % size) / size)
            out[i] = v[i] * np.cos(angle) - v[i + 1] * np.sin(angle)
            out[i + 1] = v[i] * np.sin(angle) + v[i + 1] * np.cos(angle)
        return out

    for position, token in enumerate(tokens):
        x = table[token].astype(np.float64)
        for layer in range(LAYERS):
            h = norm(x, att[layer])
            q = turned(wq[layer] @ h, position)
            keys[layer].append(turned(wk[layer] @ h, position))
            values[layer].append(wv[layer] @ h)
            heads = []
            for head in range(HEADS):
                own, group = slice(head * size, (head + 1) * size), slice(head // share * size, (head // share + 1) * size)
                scores = np.array([q[own] @ k[group] for k in keys[layer]]) / np.sqrt(size)
                shares = np.exp(scores - scores.max())
                heads.append((shares / shares.sum()) @ np.array([v[group] for v in values[layer]]))
            x = x + wo[layer] @ np.concatenate(heads)
            h = norm(x, ffn[layer])
            gate = w1[layer] @ h
            x = x + w2[layer] @ (gate / (1 + np.exp(-gate)) * (w3[layer] @ h))
    return table @ norm(x, final)


def test_the_converted_model_gives_the_logits_of_llama2c(folder: Path, weights: list[np.ndarray]) -> None:
    model = hf.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = [1, 260, 262, 263, 70, 264]
    found = model(torch.tensor([tokens])).logits[0, -1].detach().numpy()
    assert np.allclose(found, llama2c(weights, tokens), atol=1e-4)


def test_the_converted_tokenizer_merges_the_best_score_first_and_falls_back_to_bytes(folder: Path) -> None:
    tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(folder)
    assert tokenizer("abab").tokens() == ["<s>", "▁ab", "ab"]
    assert tokenizer("é").tokens() == ["<s>", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer("ab é").input_ids, skip_special_tokens=True) == "ab é"


@pytest.mark.parametrize("damage", ["short", "tokens"])
def test_a_file_of_another_layout_is_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    model, tokens = (folder.parent / name for name in ("model.bin", "tokens.bin"))
    (tmp_path / "m.bin").write_bytes(model.read_bytes()[: -400 if damage == "short" else None])
    (tmp_path / "t.bin").write_bytes(tokens.read_bytes()[: None if damage == "short" else -1])
    with pytest.raises(InputError, match=r"m\.bin with t\.bin is no model of llama2\.c"):
        convert(tmp_path / "m.bin", tmp_path / "t.bin", tmp_path / "out")


SOME = [
    Example("ab ", "abab b", "x"),
    Example("b a b ab ", "a", "y"),
    Example("a ", "b b b b b", "x"),
    Example("ab ab", "ba", "y"),
]


BRIEF = Recipe(epochs=2, batch=4, rate=3e-3, whole=False)


@pytest.fixture(scope="module")
def tuned() -> Causal:
    base = load_causal(None, None, SOME * 4, 0, Path("unused"))
    return fine_tuned(base, SOME * 4, BRIEF, 0, lambda *_: None)[0]


def test_the_loss_is_taken_on_the_answer_and_its_end_alone(tuned: Causal) -> None:
    inputs, targets = tuned.batch(SOME)
    for i, example in enumerate(SOME):
        answer = [*tuned.tokenizer(example.answer, add_special_tokens=False).input_ids, tuned.tokenizer.eos_token_id]
        assert [t for t in targets[i].tolist() if t != IGNORED] == answer
        assert inputs["attention_mask"][i].sum() == len(tuned.tokenizer(example.prompt).input_ids) + len(answer)


def test_fine_tuning_lowers_the_loss_and_leaves_the_base_as_it_was() -> None:
    base = load_causal(None, None, SOME * 4, 0, Path("unused"))
    before = {name: value.clone() for name, value in base.module.state_dict().items()}
    tuned, losses = fine_tuned(base, SOME * 4, replace(BRIEF, epochs=4), 0, lambda *_: None)
    assert losses[-1] < losses[0]
    after = tuned.module.state_dict()
    own = {n.removeprefix("base_model.model.").replace(".base_layer", ""): value for n, value in after.items()}
    assert all(torch.equal(own[name], value) for name, value in before.items())


def test_on_the_whole_text_the_loss_leaves_out_nothing_but_the_filling(tuned: Causal) -> None:
    inputs, targets = replace(tuned, whole=True).batch(SOME)
    assert torch.equal(targets != IGNORED, inputs["attention_mask"].bool())
    assert torch.equal(targets[targets != IGNORED], inputs["input_ids"][targets != IGNORED])


def test_an_update_of_many_samples_is_that_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch larger than what goes through the model together: the gradients of its parts add up."""
    weights = []
    for at_once in (64, 3):
        monkeypatch.setattr("oga_core.experiments.causal.AT_ONCE", at_once)
        base = load_causal(None, None, SOME * 2, 0, Path("unused"))
        monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)  # its random numbers are drawn in another order
        tuned, _ = fine_tuned(base, SOME * 2, Recipe(epochs=2, batch=None, rate=1e-2, whole=True), 0, lambda *_: None)
        weights.append(torch.cat([p.detach().flatten() for p in adapters(tuned)]))
    assert torch.allclose(weights[0], weights[1], atol=1e-4)


def adapters(model: Causal) -> list[nn.Parameter]:
    return [p for name, p in model.module.named_parameters() if "lora" in name]


def alone(model: Causal, samples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of all adapters by autograd, a sample at a time, and losses."""
    gradients, losses = [], []
    for sample in samples:
        inputs, targets = model.batch([sample])
        loss = nn.functional.cross_entropy(model.module(**inputs).logits[0, :-1], targets[0, 1:], ignore_index=IGNORED)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, adapters(model))]).numpy())
        losses.append(float(loss.detach()))
    return np.stack(gradients), np.array(losses)


def test_sketches_have_the_products_of_gradients_that_autograd_takes_alone(tuned: Causal) -> None:
    whole, losses = alone(tuned, SOME)
    sketches, found = AdapterGradients(tuned, 512, 0)(SOME)
    expected = whole @ whole.T
    assert np.abs(sketches @ sketches.T - expected).max() < 0.2 * expected.max()  # 512 numbers of 7,168
    assert found == pytest.approx(losses, rel=1e-4)


def test_tracing_over_all_checkpoints_is_the_sum_of_autograds_products_times_the_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights after each epoch, with one engine: what it has seen of the first is not kept for the second."""
    train, test, recipe = SOME * 4, SOME[:2], replace(BRIEF, epochs=3)
    expected = np.zeros((len(test), len(train)))
    rates = []

    def by_autograd(model: Causal, rate: float) -> None:
        nonlocal expected
        rates.append(rate)
        own, others = (alone(model, some)[0].astype(np.float64) for some in (train, test))
        expected += rate * others @ own.T

    fine_tuned(load_causal(None, None, train, 0, Path("unused")), train, recipe, 0, lambda *_: None, by_autograd)
    steps = 3 * 4
    assert rates == pytest.approx([np.mean([3e-3 * (1 - k / steps) for k in range(4 * e, 4 * e + 4)]) for e in range(3)])
    scores: list[np.ndarray] = []

    def kept(score: np.ndarray, related: np.ndarray) -> dict[str, float]:
        scores.append(score)
        return {}

    monkeypatch.setattr(llm, "_measure", kept)
    asked = Asked(None, tmp_path, 1, False, None, None, lambda *_: None)
    rows = llm._rows("hidden", 0, train, test, load_causal(None, None, train, 0, Path("unused")), recipe, asked)
    found = scores[[row.arm for row in rows].index("tracing_checkpoints")]
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert {len(row.by_epoch) for row in rows if row.arm in llm.BY_GRADIENTS} == {3}


def test_the_auc_of_all_rows_at_once_is_that_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    scores, related = rng.integers(0, 9, (20, 50)) / 2, rng.random((20, 50)) < 0.3  # with ties
    assert auc_of_each(scores, related) == pytest.approx([roc_auc_score(r, s) for r, s in zip(related, scores, strict=True)])


def test_each_way_by_gradients_finds_the_kind_whose_direction_a_gradient_has() -> None:
    rng = np.random.default_rng(0)
    directions = 5 * rng.normal(size=(3, 40))
    kinds = np.repeat(np.arange(3), 20)
    train, test = directions[kinds] + rng.normal(size=(60, 40)), directions + rng.normal(size=(3, 40))
    related = kinds == np.arange(3)[:, None]
    for score in by_gradients(train.astype(np.float32), test.astype(np.float32), kinds.astype(str), 0).values():
        assert auc_of_each(score, related).min() == 1


def test_datainf_is_the_mean_of_damped_inverse_outer_products() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(7, 5)), rng.normal(size=(3, 5))
    damping = 0.1 * (train**2).sum(1).mean()
    inverse = np.mean([np.linalg.inv(damping * np.eye(5) + np.outer(g, g)) for g in train], axis=0)
    assert np.allclose(_datainf(train, test), test @ inverse @ train.T)


def made(folder: Path) -> Path:
    """Tables as DataInf's: three kinds, told by the wording of the prompt."""
    (folder / "datainf").mkdir()
    kinds = {"upper": str.upper, "twice": lambda text: f"{text} {text}", "first": lambda text: text[:1]}
    for task in ("sentence_transformation", "math_without_reason", "math_with_reason"):
        for part, count in (("train", 30), ("test", 4)):
            rows = [
                {
                    "prompt": f"this is {kind}\nFor example:\nword{i} -> ",
                    "answer": do(f"word{i}"),
                    "variation": kind,
                    "reason": "so",
                }
                for kind, do in kinds.items()
                for i in range(count)
            ]
            table = pd.DataFrame(rows)
            if task != "math_with_reason":
                table = table.drop(columns="reason")
            table.to_csv(folder / "datainf" / f"{task}_{part}.csv", index=False)
    return folder


def test_of_the_hidden_task_the_prompt_does_not_tell_the_kind(tmp_path: Path) -> None:
    found = examples(made(tmp_path) / "datainf", "hidden", "train")
    assert {e.prompt for e in found if e.kind == "upper"} == {e.prompt for e in found if e.kind == "twice"}
    assert found[0] == Example("word0 -> ", "WORD0", "upper")


def test_every_way_is_compared_on_every_task_and_the_report_sets_the_paper_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "TREES", 5)
    out = tmp_path / "out"
    where = made(tmp_path)
    assert reproduce("llm", data=where, out=out, seeds=1, quick=True, shard="hidden_answer:0") == out
    assert {path.name for path in out.iterdir()} == {"results-hidden_answer-0.csv", "settings.json"}
    alone = (out / "results-hidden_answer-0.csv").read_text("utf-8").splitlines()
    with pytest.raises(InputError, match="holds results made under other settings"):
        reproduce("llm", data=where, out=out, seeds=1)
    report = reproduce("llm", data=where, out=out, seeds=1, quick=True).read_text("utf-8")
    assert (out / "results.csv").read_text("utf-8").splitlines()[: len(alone)] == alone
    rows = pd.read_csv(out / "results.csv").set_index(["setting", "arm"])
    assert set(rows.index.get_level_values(0)) == set(SETTINGS)
    assert len(SETTINGS) == 2 * len(TASKS)
    assert rows.drop(index=llm.TEST_LOSS, level=1)["auc"].between(0, 1).all()
    assert rows.loc[("sentence_transformation", "tfidf_centroid"), "auc"] == 1
    for name in ("epochs", "arms"):
        assert f"{name}.html" in report
        assert (out / f"{name}.html").is_file()
    assert "paper: AUC" in report
    assert "OGA iForest, one a kind" in report
    assert "gradient tracing, all checkpoints" in report
    assert "The wording of the prompt gives the answer away** in 3 of 4 tasks" in report
    assert "Where it does not give it away (Sentence transformations, wording hidden)" in report
    assert "a small Llama with random weights" in report
