"""Controls against their formulas in decimal arithmetic and against cleanlab, at any logits."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from oga_core.detectors import CONTROLS, Gradients, make_detector, of_head

FORMULAS = [name for name in CONTROLS if name != "random"]


def outputs(logits: np.ndarray, labels: np.ndarray) -> Gradients:
    return of_head(logits, np.ones((len(labels), 1)), labels)


def by_hand(name: str, logits: np.ndarray, label: int) -> float:
    """From the definition, in so many digits that 1 − e⁻¹⁰⁰⁰ keeps some."""
    with localcontext(prec=500):
        e = [Decimal(float(z)).exp() for z in logits]
        p = [one / sum(e) for one in e]
        others = [one for c, one in enumerate(p) if c != label]
        match name:
            case "loss":
                found = -p[label].ln()
            case "low_confidence":
                found = 1 - p[label]
            case "margin":
                found = 1 - p[label] + max(others)
            case "confidence_entropy":
                entropy = -sum(one * one.ln() for one in p) / Decimal(len(p)).ln()
                found = (1 + entropy / p[label]).ln()
            case _:
                found = ((1 - p[label]) ** 2 + sum(one**2 for one in others)).sqrt()
        return float(found)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 9), classes=st.integers(2, 12), scale=st.floats(0.01, 2), seed=st.integers(0, 2**31))
def test_controls_are_what_they_are_called(n: int, classes: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = scale * rng.normal(size=(n, classes)), rng.integers(0, classes, n)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    given = p[np.arange(n), labels]
    others = np.where(np.arange(classes) == labels[:, None], -1, p).max(1)
    entropy = -(p * np.log(p)).sum(1) / np.log(classes)
    wanted = {
        "loss": -np.log(given),
        "low_confidence": 1 - given,
        "margin": 1 - given + others,
        "confidence_entropy": np.log1p(entropy / given),
        "el2n": np.linalg.norm(p - np.eye(classes)[labels], axis=1),
    }
    gradients = outputs(logits, labels)
    assert list(wanted) == FORMULAS
    for name in FORMULAS:
        score = make_detector(name).fit_score(gradients)
        assert (score.shape, score.dtype) == ((n,), np.float64)
        np.testing.assert_allclose(score, wanted[name], rtol=1e-6, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("rest", [(), (0.0,), (-3.0, 2.0), (-900.0,)])
@pytest.mark.parametrize("margin", [-1000.0, -300.0, -40.0, -5.0, 0.0, 5.0, 36.5, 37.2, 60.0, 700.0])
def test_extreme_logits_keep_their_digits(name: str, rest: tuple[float, ...], margin: float) -> None:
    logits = np.array([[margin, 0.0, *rest]])
    score = make_detector(name).fit_score(outputs(logits, np.array([0])))[0]
    assert score == pytest.approx(by_hand(name, logits[0], 0), rel=1e-9, abs=1e-323)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("classes", [2, 3, 50])
def test_more_wrong_is_never_less_suspicious(name: str, classes: int) -> None:
    margins = np.concatenate([np.linspace(-700, 60, 400), np.linspace(61, 1000, 200)])  # the true class less the given one
    logits = np.zeros((600, classes))
    logits[:, 0], logits[:, 2:] = -margins, -np.abs(margins)[:, None] - 1
    score = make_detector(name).fit_score(outputs(logits, np.zeros(600, np.int64)))
    assert np.isfinite(score).all()
    steps = np.diff(score)
    assert (steps >= 0).all()
    # Those without an upper end never tie; the others reach theirs, 1, 2 or √2, where p rounds to zero.
    apart = np.ones(599, bool) if name in ("loss", "confidence_entropy") else margins[1:] < 30
    assert (steps[apart] > 0).all()


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("low_confidence", "self_confidence"),
        ("margin", "normalized_margin"),
        ("confidence_entropy", "confidence_weighted_entropy"),
    ],
)
def test_the_order_is_that_of_cleanlab(name: str, method: str) -> None:
    rank = pytest.importorskip("cleanlab.rank")
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(500, 6)), rng.integers(0, 6, 500)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    quality = rank.get_label_quality_scores(labels, p, method=method)
    assert np.array_equal(np.argsort(-make_detector(name).fit_score(outputs(logits, labels))), np.argsort(quality))


def test_impossible_classes_change_nothing() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    wider = np.concatenate([logits, np.full((20, 1), -np.inf)], 1)
    for name in FORMULAS:
        score, with_more = (make_detector(name).fit_score(outputs(z, labels)) for z in (logits, wider))
        if name == "confidence_entropy":  # relative to the logarithm of the number of classes
            score, with_more = np.expm1(score) * np.log(3), np.expm1(with_more) * np.log(4)
        np.testing.assert_allclose(with_more, score, rtol=1e-12)


def test_random_numbers_are_uniform_and_belong_to_the_position() -> None:
    gradients = outputs(np.zeros((4000, 2)), np.zeros(4000, np.int64))
    drawn = make_detector("random").fit(gradients, seed=5)
    score = drawn.score_samples(gradients)
    assert ((score >= 0) & (score < 1)).all()
    assert np.abs(np.histogram(score, 10, (0, 1))[0] - 400).max() < 100
    assert np.array_equal(drawn.score_samples(gradients), score)
