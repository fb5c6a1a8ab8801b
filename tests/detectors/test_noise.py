"""The noise floor on simulated labels: true classes drawn by known probabilities, given ones by a known transition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from oga_core.detectors import make_detector, noise, noise_search, of_head
from oga_core.detectors.noise import Noise, NoiseModel, draw_rows
from oga_core.detectors.noise_search import fit_noise

N, CLASSES, RATE = 3000, 4, 0.12


def simulated(
    seed: int = 0, n: int = N, classes: int = CLASSES, rate: float = RATE, spread: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that are right about the true classes, the true classes, and labels: a class is mostly mistaken for the next."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    step = np.where(rng.random(n) < 0.7, 1, rng.integers(1, classes, n))
    given = np.where(rng.random(n) < rate, (true + step) % classes, true)
    return logits, true, given


def counted(true: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Samples of each true class (row) with each given label (column), those that are right left out."""
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (true, given), true != given)
    return counts


def assert_alike(one: NoiseModel, other: NoiseModel, tolerance: float) -> None:
    assert one.scale == pytest.approx(other.scale, rel=tolerance)
    assert one.plain_scale == pytest.approx(other.plain_scale, rel=tolerance)
    np.testing.assert_allclose(one.bias, other.bias, atol=tolerance)
    np.testing.assert_allclose(one.transition, other.transition, atol=tolerance)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("rate", [0.05, RATE, 0.25])
def test_the_share_of_wrong_labels_is_found_and_the_pair_that_is_mistaken_most(rate: float, seed: int) -> None:
    logits, true, given = simulated(seed, rate=rate)
    model = fit_noise(logits, given)
    assert model.wrong(logits, given).mean() == pytest.approx((true != given).mean(), abs=0.03)
    np.testing.assert_allclose(model.transition.sum(1), 1)
    off_diagonal = model.transition * (1 - np.eye(CLASSES))
    assert off_diagonal.argmax(1).tolist() == [1, 2, 3, 0]
    counts = counted(true, given)
    np.testing.assert_allclose(model.mistaken(logits, given), counts, atol=counts.max() / 2)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_a_model_that_is_too_sure_or_too_modest_is_set_right(factor: float) -> None:
    logits, true, given = simulated()
    model, honest = fit_noise(factor * logits, given), fit_noise(logits, given)
    assert model.scale * factor == pytest.approx(1, abs=0.15)
    # What is certain to the model is then as often right: of the true classes, not of the given labels.
    clean = model.clean(factor * logits)
    sure = clean.max(1) > 0.9
    assert (clean.argmax(1) == true)[sure].mean() == pytest.approx(clean.max(1)[sure].mean(), abs=0.02)
    np.testing.assert_allclose(model.wrong(factor * logits, given), honest.wrong(logits, given), atol=1e-3)


def test_the_plain_scale_is_what_calibrates_without_noise() -> None:
    logits, _, given = simulated()
    found = fit_noise(2.0 * logits, given)

    def loss(values: np.ndarray) -> float:
        q = softmax(np.exp(values[0]) * 2.0 * logits + values[1:], axis=1)
        return float((values[1:] ** 2).sum() / 2 - np.log(q[np.arange(N), given]).sum())

    assert found.plain_scale == pytest.approx(np.exp(minimize(loss, np.zeros(CLASSES + 1)).x[0]), rel=1e-3)
    assert found.plain_scale < 0.8 * found.scale  # what is wrong makes a model look too sure


def test_a_model_that_favours_a_class_is_set_right() -> None:
    logits, true, given = simulated()
    leaning = logits + np.array([1.0, 0.0, -1.0, 0.5])
    found = fit_noise(leaning, given).clean(leaning)
    shares = np.bincount(true) / N
    assert np.abs(NoiseModel(1.0, np.zeros(4), np.eye(4), 1.0).clean(leaning).mean(0) - shares).max() > 0.05
    np.testing.assert_allclose(found.mean(0), shares, atol=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_labels_are_not_found_wrong(seed: int) -> None:
    logits, _, given = simulated(seed, rate=0)
    wrong = fit_noise(logits, given).wrong(logits, given)
    assert wrong.mean() < 0.01
    assert (wrong > 0.5).mean() < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_probability_is_the_share_of_such_labels_that_are_wrong(seed: int) -> None:
    logits, true, given = simulated(seed)
    wrong = fit_noise(logits, given).wrong(logits, given)
    for low, high in ((0, 0.05), (0.05, 0.5), (0.5, 1)):
        some = (wrong >= low) & (wrong <= high)
        assert some.sum() > 50
        assert wrong[some].mean() == pytest.approx((true != given)[some].mean(), abs=0.1)


def test_wrong_is_bayes_rule_by_hand() -> None:
    transition = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])
    model = NoiseModel(2.0, np.array([0.5, 0.0, -0.3]), transition, 1.0)
    logits = np.array([[1.0, 0.2, -0.4], [0.0, 0.0, 3.0], [-1.0, 2.0, 0.0], [0.1, 0.2, 0.3]])
    for row, label in [(0, 0), (0, 2), (1, 0), (1, 2), (2, 1), (3, 1)]:
        e = [math.exp(2.0 * z + b) for z, b in zip(logits[row], (0.5, 0.0, -0.3))]
        q = [one / sum(e) for one in e]
        seen = sum(q[c] * transition[c, label] for c in range(3))
        np.testing.assert_allclose(model.clean(logits)[row], q)
        assert model.wrong(logits[[row]], np.array([label]))[0] == pytest.approx(1 - q[label] * transition[label, label] / seen)


def test_small_probabilities_keep_their_digits() -> None:
    model = NoiseModel(1.0, np.zeros(2), np.array([[0.9, 0.1], [0.1, 0.9]]), 1.0)
    wrong = model.wrong(np.array([[60.0, 0.0], [60.0, 0.0]]), np.array([0, 1]))
    assert wrong[0] == pytest.approx(math.exp(-60) / 9, rel=1e-9)
    assert 1 - wrong[1] < 1e-15


def test_mistaken_adds_up_to_the_expected_number_of_wrong_labels() -> None:
    logits, _, given = simulated()
    model = fit_noise(logits, given)
    wrong, mistaken = model.wrong(logits, given), model.mistaken(logits, given)
    assert (np.diag(mistaken) == 0).all()
    np.testing.assert_allclose(mistaken.sum(0), [wrong[given == label].sum() for label in range(CLASSES)])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, given = simulated(n=500)
    model = fit_noise(logits, given)
    wrong, mistaken = model.wrong(logits, given), model.mistaken(logits, given)
    monkeypatch.setattr(noise, "BLOCK", 7)
    np.testing.assert_allclose(model.wrong(logits, given), wrong, rtol=1e-12)
    np.testing.assert_allclose(model.mistaken(logits, given), mistaken, rtol=1e-9)


def test_a_weight_is_how_often_a_sample_is_there() -> None:
    logits, _, given = simulated(n=1000)
    weights = np.random.default_rng(0).integers(0, 4, 1000)
    repeated = fit_noise(np.repeat(logits, weights, 0), np.repeat(given, weights))
    assert_alike(fit_noise(logits, given, weights), repeated, 1e-4)
    assert_alike(fit_noise(logits, given, np.ones(1000)), fit_noise(logits, given), 1e-9)
    assert np.abs(fit_noise(logits, given, weights).transition - fit_noise(logits, given).transition).max() > 1e-3


@pytest.mark.parametrize(
    ("scale", "bias", "transition"),
    [
        (3.0, [1.0, -1.0, 0.0, 0.5], np.full((4, 4), 0.1) + 0.6 * np.eye(4)),
        (0.3, [0.0] * 4, np.full((4, 4), 1e-4) + (1 - 4e-4) * np.eye(4)),
        (1.0, [0.0] * 4, np.eye(4)),
    ],
    ids=["noisy", "nearly clean", "clean"],
)
def test_wherever_the_search_starts_it_ends_at_the_same_model(scale: float, bias: list[float], transition: np.ndarray) -> None:
    logits, _, given = simulated(1)
    fresh = fit_noise(logits, given)
    start = NoiseModel(scale, np.array(bias), transition, fresh.plain_scale)
    assert_alike(fit_noise(logits, given, start=start), fresh, 2e-3)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_extreme_logits_give_probabilities(size: float) -> None:
    _, true, given = simulated()
    logits = np.where(np.eye(CLASSES)[true] > 0, size, -size).astype(np.float32)
    model = fit_noise(logits, given)
    wrong = model.wrong(logits, given)
    assert np.isfinite(model.mistaken(logits, given)).all()
    assert ((wrong >= 0) & (wrong <= 1)).all()
    assert ((wrong > 0.5) == (true != given)).all()


def test_with_many_classes_the_errors_of_one_fall_on_all_others_alike() -> None:
    many = noise_search.PAIRS_UP_TO + 6
    logits, true, given = simulated(n=2500, classes=many, spread=6.0)
    model = fit_noise(logits, given)
    assert model.wrong(logits, given).mean() == pytest.approx((true != given).mean(), abs=0.03)
    off_diagonal = model.transition[~np.eye(many, dtype=bool)].reshape(many, many - 1)
    np.testing.assert_allclose(off_diagonal, off_diagonal[:, :1].repeat(many - 1, 1))
    assert np.ptp(np.diag(model.transition)) > 0.01
    assert_alike(fit_noise(logits, given, start=model), model, 2e-3)


def test_the_detector_scores_by_what_it_has_learned_from_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, given = simulated()
    gradients = of_head(logits, np.ones((N, 1)), given)
    detector = make_detector("noise")
    assert isinstance(detector, Noise)
    assert np.array_equal(detector.fit_score(gradients), fit_noise(logits, given).wrong(logits, given))
    monkeypatch.setattr(noise, "LEARNED_FROM", 1000)
    rows = draw_rows(N, 1000, np.random.default_rng(3))
    wanted = fit_noise(logits[rows], given[rows]).wrong(logits, given)
    assert np.array_equal(detector.fit_score(gradients, seed=3), wanted)
    assert not np.array_equal(detector.fit_score(gradients, seed=4), wanted)
    assert detector.score_samples(gradients.take(np.array([5, 9]))) == pytest.approx(detector.score_samples(gradients)[[5, 9]])


def test_a_draw_is_in_order_without_repeats_and_of_all_where_there_are_no_more() -> None:
    assert draw_rows(7, 7, np.random.default_rng(0)).tolist() == list(range(7))
    rows = draw_rows(1000, 30, np.random.default_rng(0))
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == 30
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] < rows[-1] < 1000
    hits = np.mean([np.isin(np.arange(10), draw_rows(10, 4, np.random.default_rng(s))) for s in range(300)], axis=0)
    np.testing.assert_allclose(hits, 0.4, atol=0.12)
