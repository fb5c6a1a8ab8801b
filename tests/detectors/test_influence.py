"""Influence against real leave-one-out retraining of a convex model, and against dense computation with gradients written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from oga_core.detectors import Detector, Gradients, influence, of_head
from oga_core.detectors.influence import INFLUENCE, DataInf, ExactHessian, GradientTracing, LiSSA, SelfInfluence
from oga_core.errors import InputError
from oga_core.gradients import Factors

N, FLIPS, CLASSES, D, DECAY = 90, 9, 3, 6, 0.02


def minimised(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """W that minimises Σ weight_i ℓ_i + ½ DECAY ‖W‖², by Newton's method to the last digits, float64, shape ``(classes, d)``."""
    h, targets, each = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(weight)

    def objective(w: torch.Tensor) -> torch.Tensor:
        losses = F.cross_entropy(h @ w.view(CLASSES, D).T, targets, reduction="none")
        return (each * losses).sum() + DECAY / 2 * w.square().sum()

    w = torch.zeros(CLASSES * D, dtype=torch.float64)
    for _ in range(8):
        gradient = torch.func.grad(objective)(w)
        w = w - torch.linalg.solve(torch.func.hessian(objective)(w), gradient)
    assert torch.func.grad(objective)(w).abs().max() < 1e-12
    return w.view(CLASSES, D).numpy()


def loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(F.cross_entropy(torch.from_numpy(x @ w.T), torch.from_numpy(y)))


@dataclass(frozen=True)
class Problem:
    """Softmax regression without a bias, minimised; the first training labels are flipped."""

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    training: Gradients
    validation: Gradients
    change: np.ndarray
    """Validation loss with all samples less that without sample j, retrained: positive = j does harm."""
    own: np.ndarray
    """Loss on sample j without it, retrained, less that with all samples."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(0)
    labels = np.arange(2 * N) % CLASSES
    h = rng.normal(size=(2 * N, D)) + 2 * np.eye(CLASSES, D)[labels]
    x, y, x_val, y_val = h[:N], labels[:N].copy(), h[N:], labels[N:]
    y[:FLIPS] = (y[:FLIPS] + rng.integers(1, CLASSES, FLIPS)) % CLASSES
    share = np.full(N, 1 / N)
    w = minimised(x, y, share)
    without = [minimised(x, y, np.where(np.arange(N) == j, 0, share)) for j in range(N)]
    change = np.array([loss(w, x_val, y_val) - loss(other, x_val, y_val) for other in without])
    own = np.array([loss(without[j], x[[j]], y[[j]]) - loss(w, x[[j]], y[[j]]) for j in range(N)])
    return Problem(x, y, w, of_head(x @ w.T, x, y), of_head(x_val @ w.T, x_val, y_val), change, own)


def written_out(gradients: Gradients) -> np.ndarray:
    """The gradients, float64, shape ``(n, classes × d)``."""
    residuals, features = (v.astype(np.float64) for v in gradients.factors.block(slice(None)))
    return (residuals[:, :, None] * features[:, None, :]).reshape(len(gradients), -1)


def hessian(problem: Problem) -> np.ndarray:
    """Of the mean cross-entropy in the weight, by autograd, float64, shape ``(classes × d, classes × d)``."""
    h, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    at = torch.from_numpy(problem.w).flatten()
    return np.asarray(torch.func.hessian(lambda w: F.cross_entropy(h @ w.view(CLASSES, D).T, y))(at).numpy())


def test_leaving_out_high_scorers_lowers_the_validation_loss(problem: Problem) -> None:
    score = ExactHessian(problem.validation, damping=DECAY).fit_score(problem.training)
    assert (score.shape, score.dtype) == ((N,), np.float64)
    assert spearmanr(score, problem.change).statistic > 0.98
    assert (problem.change[np.argsort(-score)[:10]] > 0).all()
    assert (problem.change[np.argsort(score)[:10]] < 0).all()
    # And by as much as the first order says: 1/n of the score.
    assert np.polyfit(score / N, problem.change, 1)[0] == pytest.approx(1, abs=0.15)


def test_self_influence_is_what_leaving_a_sample_out_does_to_its_own_loss(problem: Problem) -> None:
    score = SelfInfluence(damping=DECAY).fit_score(problem.training)
    assert spearmanr(score, problem.own).statistic > 0.98
    assert np.median(problem.own / (score / N)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("name", "least"), [("hessian", 0.98), ("lissa", 0.98), ("datainf", 0.75), ("tracing", 0.7)])
def test_by_default_too_the_sign_and_roughly_the_order_are_those_of_retraining(problem: Problem, name: str, least: float) -> None:
    assert spearmanr(INFLUENCE[name](problem.validation).fit_score(problem.training), problem.change).statistic > least


@pytest.mark.parametrize("name", list(INFLUENCE))
def test_a_flipped_label_does_more_harm(problem: Problem, name: str) -> None:
    detector = INFLUENCE[name](problem.validation)
    score = detector.fit_score(problem.training)
    assert detector.name == f"influence:{name}"
    assert roc_auc_score(np.arange(N) < FLIPS, score) > 0.8
    assert len(np.unique(score)) == N


def test_the_exact_hessian_is_that_of_autograd(problem: Problem) -> None:
    g, v = written_out(problem.training), written_out(problem.validation).mean(0)
    inverse = np.linalg.inv(hessian(problem) + 0.05 * np.eye(CLASSES * D))
    score = ExactHessian(problem.validation, damping=0.05).fit_score(problem.training)
    np.testing.assert_allclose(score, -g @ inverse @ v, rtol=2e-3, atol=1e-3 * np.abs(score).max())
    own = SelfInfluence(damping=0.05).fit_score(problem.training)
    np.testing.assert_allclose(own, np.einsum("na,ab,nb->n", g, inverse, g), rtol=3e-3)


def test_without_a_word_damping_is_a_tenth_of_the_mean_eigenvalue(problem: Problem) -> None:
    tenth = 0.1 * float(np.linalg.eigvalsh(hessian(problem)).mean())
    for make in (ExactHessian, LiSSA):
        named = make(problem.validation, damping=tenth).fit_score(problem.training)
        np.testing.assert_allclose(make(problem.validation).fit_score(problem.training), named, rtol=0.02, atol=1e-3)


def test_lissa_comes_to_the_exact_hessian(problem: Problem) -> None:
    exact = ExactHessian(problem.validation, damping=DECAY).fit_score(problem.training)
    whole = LiSSA(problem.validation, damping=DECAY, batch=N, repeats=1).fit_score(problem.training)
    assert np.abs(whole - exact).max() < 0.01 * np.abs(exact).max()
    errors = []
    for repeats in (1, 16):
        drawn = LiSSA(problem.validation, damping=DECAY, batch=16, repeats=repeats).fit_score(problem.training)
        errors.append(np.abs(drawn - exact).max() / np.abs(exact).max())
    assert errors[1] < 0.05
    assert errors[1] < errors[0]


def test_lissa_converges_whatever_the_length_of_the_features(problem: Problem) -> None:
    for factor in (1e-3, 1e3):
        t, v = (of_head(g.logits, factor * problem_features(g), g.labels) for g in (problem.training, problem.validation))
        assert spearmanr(LiSSA(v).fit_score(t), ExactHessian(v).fit_score(t)).statistic > 0.99


def problem_features(gradients: Gradients) -> np.ndarray:
    return gradients.factors.block(slice(None))[1].astype(np.float64)


def test_datainf_is_the_mean_of_inverses(problem: Problem) -> None:
    g, v = written_out(problem.training), written_out(problem.validation).mean(0)
    damping = 0.1 * (g**2).mean()
    inverse = np.mean([np.linalg.inv(np.outer(one, one) + damping * np.eye(len(v))) for one in g], axis=0)
    score = DataInf(problem.validation).fit_score(problem.training)
    np.testing.assert_allclose(score, -g @ inverse @ v, rtol=1e-5, atol=1e-5 * np.abs(score).max())
    other = DataInf(problem.validation, damping=0.3).fit_score(problem.training)
    inverse = np.mean([np.linalg.inv(np.outer(one, one) + 0.3 * np.eye(len(v))) for one in g], axis=0)
    np.testing.assert_allclose(other, -g @ inverse @ v, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_gradient_tracing_is_the_dot_product_of_autograd(problem: Problem) -> None:
    def gradient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        w = torch.from_numpy(problem.w).requires_grad_()
        return torch.autograd.grad(F.cross_entropy(torch.from_numpy(x) @ w.T, torch.from_numpy(y)), w)[0].flatten().numpy()

    validation = of_head(problem.x[60:] @ problem.w.T, problem.x[60:], problem.y[60:])
    towards = gradient(problem.x[60:], problem.y[60:])
    dots = [towards @ gradient(problem.x[[j]], problem.y[[j]]) for j in range(60)]
    score = GradientTracing(validation).fit_score(problem.training)[:60]
    np.testing.assert_allclose(score, np.negative(dots), rtol=2e-3, atol=1e-3 * np.abs(dots).max())


def test_float16_factors_keep_the_order(problem: Problem) -> None:
    h = hessian(problem) + DECAY * np.eye(CLASSES * D)
    x_val, y_val = problem_features(problem.validation), problem.validation.labels
    p_val = torch.softmax(torch.from_numpy(x_val @ problem.w.T), 1).numpy() - np.eye(CLASSES)[y_val]
    p = torch.softmax(torch.from_numpy(problem.x @ problem.w.T), 1).numpy() - np.eye(CLASSES)[problem.y]
    g = (p[:, :, None] * problem.x[:, None, :]).reshape(N, -1)
    double = -g @ np.linalg.solve(h, (p_val.T @ x_val / len(x_val)).ravel())
    assert spearmanr(ExactHessian(problem.validation, damping=DECAY).fit_score(problem.training), double).statistic > 0.9999


@pytest.mark.parametrize("name", list(INFLUENCE))
def test_only_lissa_depends_on_the_seed(problem: Problem, name: str) -> None:
    first, again, other = (INFLUENCE[name](problem.validation).fit_score(problem.training, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name != "lissa")


@pytest.mark.parametrize("name", list(INFLUENCE))
def test_blocks_change_nothing_and_others_can_be_scored(problem: Problem, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = INFLUENCE[name](problem.validation).fit_score(problem.training)
    monkeypatch.setattr(influence._blocks, "__defaults__", (7,))
    monkeypatch.setattr(influence, "HELD", 11 * CLASSES * D)
    detector = INFLUENCE[name](problem.validation).fit(problem.training)
    np.testing.assert_allclose(detector.score_samples(problem.training), whole, rtol=1e-6, atol=1e-9)
    rows = np.array([80, 3, 41])
    np.testing.assert_allclose(detector.score_samples(problem.training.take(rows)), whole[rows], rtol=1e-6, atol=1e-9)


def test_a_fully_certain_model_is_scored_by_gradient_tracing(problem: Problem) -> None:
    certain = replace(problem.training, logits=1e6 * problem.training.logits)
    traced = GradientTracing(problem.validation).fit_score(certain)
    np.testing.assert_allclose(ExactHessian(problem.validation).fit_score(certain), traced, rtol=1e-9)
    np.testing.assert_allclose(LiSSA(problem.validation).fit_score(certain), traced, rtol=1e-9)


def test_a_nearly_certain_model_keeps_its_digits(problem: Problem) -> None:
    # Two classes with p = e⁻⁵⁰: H = p (1 − p) [[1, −1], [−1, 1]] ⊗ mean hhᵀ, and the rest of the solution by hand.
    x, y = problem.x, np.zeros(N, np.int64)
    training = of_head(np.tile([50.0, 0.0], (N, 1)), x, y)
    validation = of_head(np.tile([0.5, 0.0], (N, 1)), x, y)
    v = np.outer([-1, 1], x.mean(0)) / (1 + np.exp(0.5))
    p = np.exp(-50)
    half = np.linalg.solve(2 * p * x.T @ x / N + 1e-25 * np.eye(D), v[1])
    wanted = -np.array([2 * p * one @ half for one in x])
    score = ExactHessian(validation, damping=1e-25).fit_score(training)
    np.testing.assert_allclose(score, wanted, rtol=0.02, atol=0.01 * np.abs(wanted).max())


@pytest.mark.parametrize("make", [ExactHessian, lambda validation: SelfInfluence()])
def test_a_hessian_that_is_too_wide_is_refused(
    problem: Problem, make: Callable[[Gradients], Detector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influence, "WIDEST", CLASSES * D)
    make(problem.validation).fit(problem.training)
    monkeypatch.setattr(influence, "WIDEST", CLASSES * D - 1)
    with pytest.raises(InputError, match=r"of 3 classes × 6 features has 18 rows, more than 17; influence:lissa"):
        make(problem.validation).fit(problem.training)


def test_what_cannot_be_scored_is_refused(problem: Problem) -> None:
    with pytest.raises(InputError, match="needs validation samples, and there are none"):
        LiSSA(problem.validation.take(np.array([], np.int64)))
    narrow = of_head(problem.training.logits, problem.x[:, :4], problem.y)
    with pytest.raises(InputError, match=r"\(3, 6\) .*\(3, 4\)|\(3, 4\).*\(3, 6\)"):
        DataInf(problem.validation).fit(narrow)
    for damping in (0.0, -1.0, float("nan"), float("inf")):
        for make in (ExactHessian, LiSSA, DataInf):
            with pytest.raises(InputError, match=f"damping {damping} is not a positive number"):
                make(problem.validation, damping=damping)
        with pytest.raises(InputError, match="is not a positive number"):
            SelfInfluence(damping=damping)


def test_beyond_the_head_there_is_no_hessian_but_the_rest_works_on_sketches(problem: Problem) -> None:
    def sketched(gradients: Gradients) -> Gradients:
        unit = gradients.factors.sketch(4096, 0)
        lengths = gradients.factors.residual_norms * gradients.factors.feature_norms
        ones = np.ones(len(gradients), np.float32)
        return replace(gradients, factors=Factors(ones[:, None].astype(np.float16), unit.astype(np.float16), ones, lengths))

    training, validation = sketched(problem.training), sketched(problem.validation)
    for make in (ExactHessian, LiSSA, lambda v: SelfInfluence()):
        with pytest.raises(InputError, match="the Hessian is known for the head only"):
            make(validation).fit(training)
    exact = GradientTracing(problem.validation).fit_score(problem.training)
    assert spearmanr(GradientTracing(validation).fit_score(training), exact).statistic > 0.95
    exact = DataInf(problem.validation, damping=0.01).fit_score(problem.training)
    assert spearmanr(DataInf(validation, damping=0.01).fit_score(training), exact).statistic > 0.95
