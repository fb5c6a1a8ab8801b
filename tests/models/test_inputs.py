"""From a decoded sample to a model's input: the same each time, the same in each process, in any script."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as transforms

import oga_core as oga
from oga_core.data import SampleError
from oga_core.errors import InputError
from oga_core.models import inputs
from oga_core.models.inputs import FeatureEncoder, ImageCollate, ImageEncoder, TextEncoder, collate_default, collate_text


def picture(width: int, height: int) -> Image.Image:
    """Smooth colours, so that resampling filters agree."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack([x, y, x * y], -1) * 255).astype(np.uint8))


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    encoded = ImageEncoder(24)(image)
    assert encoded.dtype == torch.uint8
    assert np.array_equal(encoded.permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (256, 256), (40, 90), (1000, 30)])
def test_an_image_is_scaled_and_cut_as_torchvision_does(width: int, height: int) -> None:
    image = picture(width, height)
    resized = transforms.resize(image, [256], interpolation=transforms.InterpolationMode.BILINEAR)
    wanted = transforms.pil_to_tensor(transforms.center_crop(resized, [224, 224])).int()
    encoded = ImageEncoder(224, resize=256)(image).int()
    assert encoded.shape == (3, 224, 224)
    assert (encoded - wanted).abs().float().mean() < 1.5


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_three_channels(mode: str) -> None:
    assert ImageEncoder(8)(picture(20, 10).convert(mode)).shape == (3, 8, 8)


def test_images_are_normalised_as_torchvision_does() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    images = [torch.randint(0, 256, (3, 5, 5), dtype=torch.uint8) for _ in range(4)]
    wanted = torch.stack([transforms.normalize(i / 255, list(mean), list(std)) for i in images])
    torch.testing.assert_close(ImageCollate(mean, std)(images), wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 25.5 °C — sonnig!", ["it", "s", "25", "5", "c", "sonnig"]),
        ("GROSSE Straße", ["grosse", "strasse"]),
        ("Cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("你好，世界", ["你好", "世界"]),
        ("a\0b\u200bc\n\td", ["a", "b", "c", "d"]),
        ("😀 !?", []),
    ],
)
def test_words_of_any_script(text: str, words: list[str]) -> None:
    assert inputs.words(text) == words


@pytest.mark.parametrize("text", ["", "😀", "one", "a" * 100_000, "w " * 100_000, "\udcff lone surrogate"])
def test_any_text_has_buckets(text: str) -> None:
    ids = TextEncoder(50)(text)
    assert ids.dtype == torch.int32
    assert 1 <= len(ids) < 100_000
    assert 0 <= int(ids.min()) <= int(ids.max()) < 50


def test_word_order_and_spelling_count_and_case_does_not() -> None:
    encode = TextEncoder(1 << 20)

    def shared(a: str, b: str) -> float:
        one, two = set(encode(a).tolist()), set(encode(b).tolist())
        return len(one & two) / len(one | two)

    assert shared("The dog bites", "the DOG  bites!") == 1
    assert 0.5 < shared("dog bites man", "man bites dog") < 1
    assert 0.2 < shared("isolation", "isolated") < 1
    assert shared("isolation", "quickly") == 0


def test_texts_of_a_batch_are_laid_end_to_end() -> None:
    ids, offsets = collate_text([torch.tensor(v, dtype=torch.int32) for v in ([5, 6], [7], [8, 9, 1])])
    assert (ids.tolist(), offsets.tolist()) == ([5, 6, 7, 8, 9, 1], [0, 2, 3])
    assert (ids.dtype, offsets.dtype) == (torch.int64, torch.int64)


def test_another_process_encodes_the_same() -> None:
    encode = TextEncoder(1 << 16)
    program = "import pickle, sys; e = pickle.loads(sys.stdin.buffer.read()); print(e('the same Text 漢字').tolist())"
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(encode), capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(encode("the same Text 漢字").tolist())


def test_encoders_can_be_pickled() -> None:
    image = picture(50, 40)
    cases: list[tuple[Callable[[Any], torch.Tensor], Any]] = [(ImageEncoder(32, 40), image), (FeatureEncoder(3), [1, 2, 3])]
    for encode, sample in cases:
        assert torch.equal(pickle.loads(pickle.dumps(encode))(sample), encode(sample))  # noqa: S301


def test_features_of_another_length_are_a_fault_of_the_sample() -> None:
    assert FeatureEncoder(3)(np.array([1, 2, 3])).dtype == torch.float32
    with pytest.raises(SampleError, match=r"shape \(4,\); the model takes 3 features"):
        FeatureEncoder(3)(np.zeros(4))


def test_samples_of_different_shapes_do_not_stack() -> None:
    with pytest.raises(InputError, match="the transform must give all the same shape") as caught:
        collate_default([torch.zeros(3, 5, 5), torch.zeros(3, 5, 6)])
    assert "\n" not in str(caught.value)


def test_the_input_of_a_starter_follows_the_data() -> None:
    rng = np.random.default_rng(0)
    for side, size in ((4, 8), (28, 28), (100, 64)):
        images = rng.integers(0, 128, (40, side, side, 3), np.uint8)
        spec = inputs.spec_for("small_resnet", oga.from_arrays(images, np.arange(40) % 2))
        assert spec["size"] == size
        np.testing.assert_allclose(spec["mean"], images.mean((0, 1, 2)) / 255, atol=0.01)
    grey = inputs.spec_for("small_resnet", oga.from_arrays(np.full((4, 9, 9), 80, np.uint8), [0, 1, 0, 1]))
    assert min(grey["std"]) > 0
    assert inputs.spec_for("feature_mlp", oga.from_arrays(rng.normal(size=(6, 17)), [0, 1] * 3)) == {"features": 17, "width": 128}


def test_data_of_which_nothing_can_be_read_say_why() -> None:
    data = oga.from_arrays(np.full((5, 3), np.nan), [0, 1, 0, 1, 0])
    for fails in (lambda: inputs.spec_for("feature_mlp", data), lambda: inputs.usual_input(data)):
        with pytest.raises(InputError, match="can be read; the last one: a feature is not a finite number"):
            fails()


@pytest.mark.parametrize(
    "change",
    [{"mean": [0.5]}, {"std": [1, 1, 0]}, {"std": ["a", 1, 1]}, {"size": 0}, {"size": 10**9}, {"size": "big"}, {"mean": None}],
)
def test_arguments_that_describe_no_input_are_refused(change: dict[str, object]) -> None:
    spec = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3} | change
    with pytest.raises(InputError, match="do not describe the input of small_resnet"):
        inputs.encoder_for("small_resnet", spec)


def test_a_module_without_transform_is_given_what_is_usual_and_it_is_said() -> None:
    rng = np.random.default_rng(0)
    encode, note = inputs.usual_input(oga.from_arrays(rng.integers(0, 256, (3, 32, 32, 3), np.uint8), [0, 1, 0]))
    assert (encode(picture(32, 32)).shape, "32 × 32" in note) == ((3, 32, 32), True)
    encode, note = inputs.usual_input(oga.from_arrays(rng.integers(0, 256, (3, 40, 70, 3), np.uint8), [0, 1, 0]))
    assert (encode(picture(70, 40)).shape, "224 × 224" in note) == ((3, 224, 224), True)
    encode, note = inputs.usual_input(oga.from_arrays(rng.normal(size=(3, 5)), [0, 1, 0]))
    assert (encode(np.ones(5)).shape, "as they are" in note) == ((5,), True)
    with pytest.raises(InputError, match="needs a transform"):
        inputs.usual_input(oga.from_texts(["a", "b"], ["x", "y"]))
