"""Causal language models from a folder: the loss on the answer alone, exact without padding, tokens as the texts have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors

from oga_core import Dataset, InputError, load_model
from oga_core.data import SampleError, from_prompts, from_texts
from oga_core.data.tables import Answered
from oga_core.gradients import NextToken, PerSampleGradients
from oga_core.models import LanguageModel, language_model, train
from oga_core.models.inputs import list_truncations
from oga_core.models.language_model import IGNORED, AnsweredTokens, token_losses
from tests import language

KINDS = ["llama", "gpt2"]
LONG = "one two three four five six seven eight nine ten " * 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: language.save(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    prompts, answers, kinds = zip(*language.ROWS, strict=True)
    return from_prompts(prompts, answers, kinds)


def opened(folder: Path, dataset: Dataset) -> LanguageModel:
    found = load_model(None, folder, dataset)
    assert isinstance(found, LanguageModel)
    return found


def encoded(model: LanguageModel, dataset: Dataset) -> list[Any]:
    return [model.encoded(dataset.load(i)) for i in range(len(dataset))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_has_the_losses_that_each_answer_has_alone(kind: str, folders: dict[str, Path], dataset: Dataset) -> None:
    model, own = opened(folders[kind], dataset), language.reference(folders[kind], kind)
    inputs, targets = model.batch(encoded(model, dataset))
    found = NextToken()(model.logits(inputs).double(), targets)
    with torch.no_grad():
        expected = torch.stack([language.alone(own, prompt, answer).mean() for prompt, answer, _ in language.ROWS])
    assert torch.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["lora", "all"])
def test_a_padded_batch_has_the_gradients_that_each_answer_has_alone(
    kind: str, scope: str, folders: dict[str, Path], dataset: Dataset
) -> None:
    adapter = scope == "lora"
    model = opened(folders[kind] if adapter else folders[kind] / "base", dataset)
    engine = PerSampleGradients(model.module, scope, loss=NextToken())
    batch = model.batch(encoded(model, dataset)[:9])
    assert len({int((t != IGNORED).sum()) for t in batch[1]}) > 1  # of several lengths
    found = engine(*batch)
    own = language.reference(folders[kind], kind, adapter)
    trained = [p for p in own.parameters() if p.requires_grad]
    for row, (prompt, answer, _) in enumerate(language.ROWS[:9]):
        gradients = torch.autograd.grad(language.alone(own, prompt, answer).mean(), trained)
        whole = torch.cat([g.flatten() for g in gradients])
        assert found.l2 is not None
        assert found.l1 is not None
        assert found.l2[row] == pytest.approx(float(whole.norm()), rel=1e-4)
        assert found.l1[row] == pytest.approx(float(whole.abs().sum()), rel=1e-4)


def test_the_weight_of_a_tied_head_need_not_be_in_the_file(dataset: Dataset, tmp_path: Path) -> None:
    folder = language.save(tmp_path, tie_word_embeddings=True) / "base"
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    model = opened(folder, dataset)
    assert model.head is None
    own = language.reference(tmp_path, adapter=False)
    with torch.no_grad():
        expected = language.alone(own, *language.ROWS[0][:2]).mean()
    inputs, targets = model.batch(encoded(model, dataset)[:1])
    assert NextToken()(model.logits(inputs).double(), targets)[0] == pytest.approx(float(expected), rel=1e-5)


def test_a_missing_head_that_is_not_tied_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    folder = language.save(tmp_path, adapter=False) / "base"
    weights = load_file(folder / "model.safetensors")
    save_file({name: v for name, v in weights.items() if name != "lm_head.weight"}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"is no trained language model: 1 of its tensors are missing \(lm_head.weight"):
        load_model(None, folder, dataset)


def test_a_head_is_known_where_it_is_trained_and_its_own(folders: dict[str, Path], dataset: Dataset) -> None:
    assert opened(folders["llama"] / "base", dataset).head == "lm_head"
    assert opened(folders["llama"], dataset).head is None  # frozen below the adapter
    assert opened(folders["gpt2"] / "base", dataset).head is None  # tied


def test_models_and_data_that_do_not_go_together_are_refused(folders: dict[str, Path], dataset: Dataset, tmp_path: Path) -> None:
    texts = from_texts(["a", "b"], ["x", "y"])
    for folder in (folders["llama"], folders["llama"] / "base"):
        with pytest.raises(InputError, match="is a language model, no classifier: it takes prompts with answers"):
            load_model(None, folder, texts)
    folder = language.save(tmp_path, adapter=False) / "base"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    with pytest.raises(InputError, match=r"no causal language model \(LlamaForSequenceClassification\)"):
        load_model(None, folder, dataset)
    with pytest.raises(InputError, match="no language model is trained here: fine-tune it first"):
        train(dataset)
    with pytest.raises(InputError, match="text_ngrams takes text data, and these are prompts"):
        train(dataset, "text_ngrams")


def tokens(longest: int) -> AnsweredTokens:
    return AnsweredTokens(language.tokenizer(), longest)


def test_the_prompt_is_not_learned_and_the_end_is() -> None:
    made = tokens(48)(Answered("Say cat twice.", "cat cat"))
    words = language.tokenizer()
    answer = [*words("cat cat", add_special_tokens=False).input_ids, words.eos_token_id]
    assert made["input_ids"].tolist() == [*words("Say cat twice.").input_ids, *answer]
    assert made["targets"].tolist() == [*[IGNORED] * (len(made["input_ids"]) - len(answer)), *answer]


def test_a_long_prompt_loses_its_beginning_but_for_the_token_that_begins_a_text() -> None:
    made = tokens(20)(Answered(LONG, "cat"))
    words = language.tokenizer()
    answer = [*words("cat", add_special_tokens=False).input_ids, words.eos_token_id]
    prompt = words(LONG).input_ids
    assert made["input_ids"].tolist() == [prompt[0], *prompt[len(prompt) - 19 + len(answer) :], *answer]


def test_a_sample_is_tokenised_once_and_one_that_reads_alike_is_not_taken_for_it() -> None:
    encode, read = tokens(20), list[str]()
    plain = encode._tokens
    encode._tokens = lambda text, special: read.append(text) or plain(text, special)  # type: ignore[func-returns-value, method-assign]
    first, again, other = (encode(Answered(*both)) for both in (("a\nb", "c"), ("a\nb", "c"), ("a", "b\nc")))
    assert encode.describe_truncation(Answered("a\nb", "c")) == ""
    assert read == ["a\nb", "c", "a", "b\nc"]
    assert first["targets"].tolist() == again["targets"].tolist() != other["targets"].tolist()
    again["input_ids"][:] = 0
    assert encode(Answered("a\nb", "c"))["input_ids"].tolist() == first["input_ids"].tolist() != again["input_ids"].tolist()


def test_an_answer_is_cut_only_where_it_does_not_fit_by_itself() -> None:
    words = language.tokenizer()
    whole = [*words(LONG, add_special_tokens=False).input_ids, words.eos_token_id]
    fits = tokens(len(whole) + 1)(Answered("Say cat twice.", LONG))
    assert fits["input_ids"].tolist() == [words.bos_token_id, *whole]
    cut = tokens(len(whole) - 2)(Answered("Say cat twice.", LONG))
    assert cut["input_ids"].tolist() == [words.bos_token_id, *whole[:-3]]
    assert (cut["targets"] != IGNORED).sum() == len(whole) - 3


def test_what_is_cut_is_counted_in_words() -> None:
    data = from_prompts(["a", LONG, "a"], ["b", "b", LONG])
    assert list_truncations(tokens(20), data) == [
        "1 texts are longer than 20 tokens; the model does not read the beginnings of their prompts",
        "1 texts are longer than 20 tokens; the model does not read the ends of their answers, nor their prompts",
    ]


@pytest.mark.parametrize(
    ("prompt", "answer", "longest", "reason"),
    [
        ("a", "b", 1, "no token to learn"),
        ("a", "\ud800", 20, "cannot be tokenised"),
    ],
)
def test_a_sample_without_anything_to_learn_says_why(prompt: str, answer: str, longest: int, reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        tokens(longest)(Answered(prompt, answer))


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_tokens_are_those_of_the_model_by_itself(kind: str, folders: dict[str, Path], dataset: Dataset) -> None:
    model, own = opened(folders[kind], dataset), language.reference(folders[kind], kind)
    for row in (0, 13):
        prompt, answer, _ = language.ROWS[row]
        found = token_losses(model, dataset.load(row))
        with torch.no_grad():
            expected = language.alone(own, prompt, answer).numpy()
        assert [t.loss for t in found.answer] == pytest.approx(expected.tolist(), rel=1e-5)
        assert found.loss == pytest.approx(float(expected.mean()), rel=1e-6)
        assert "".join(t.text for t in found.prompt if t.own) == prompt
        assert "".join(t.text for t in found.answer if t.own) == answer
        assert [(t.text, t.own) for t in (found.prompt[0], found.answer[-1])] == [("<s>", False), ("</s>", False)]
        assert found.prompt[0].loss is None
        assert (found.before, found.after) == ("", "")


def test_the_characters_of_all_tokens_are_the_text_also_where_a_character_is_several_and_some_is_not_read(
    folders: dict[str, Path], dataset: Dataset
) -> None:
    model = opened(folders["llama"], dataset)
    assert isinstance(model.encode, AnsweredTokens)
    assert model.encode.longest == language.LENGTH
    prompt, answer = f"{LONG} 漢字 ", "🙂 é\n\u202e x "
    found = token_losses(model, Answered(prompt, answer))
    assert found.before
    assert found.before + "".join(t.text for t in found.prompt if t.own) == prompt
    assert "".join(t.text for t in found.answer if t.own) == answer
    found = token_losses(model, Answered("a", LONG))
    assert found.after
    assert "".join(t.text for t in found.answer if t.own) + found.after == LONG


def test_a_model_of_ones_own_is_given_with_its_tokenizer(folders: dict[str, Path], dataset: Dataset) -> None:
    own = language.reference(folders["llama"]).float()
    made = language_model(own, language.tokenizer(), language.LENGTH)
    inputs, targets = made.batch(encoded(made, dataset))
    same = opened(folders["llama"], dataset)
    assert torch.allclose(made.logits(inputs), same.logits(inputs), atol=1e-5)
    assert (targets == same.batch(encoded(same, dataset))[1]).all()


def test_without_a_prompt_or_a_token_that_begins_texts_the_first_token_is_not_learned(
    folders: dict[str, Path], dataset: Dataset
) -> None:
    words = language.tokenizer()
    words.backend_tokenizer.post_processor = processors.ByteLevel()
    module = opened(folders["llama"] / "base", dataset).module
    model = language_model(module, words, language.LENGTH)
    found = token_losses(model, Answered("", "cat cat"))
    assert (found.prompt, found.answer[0].loss) == ([], None)
    inputs, targets = model.batch([model.encoded(Answered("", "cat cat"))])
    assert NextToken()(model.logits(inputs).double(), targets)[0] == pytest.approx(found.loss)
    with pytest.raises(SampleError, match="the answer has no token"):
        model.encoded(Answered("a", ""))
