"""cleanlab's label quality as a control, and what is said where cleanlab is not installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oga_core.detectors import choose_detectors, make_detector, of_head
from oga_core.errors import InputError


def outputs(n: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a fair model that is less sure of some classes, given labels, and features; the first 20 labels are flipped."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + (1.5 + true)[:, None] * np.eye(classes)[true]
    given = true.copy()
    given[:20] = (true[:20] + 1) % classes
    return logits, given, rng.normal(size=(n, 3)) + 2 * np.eye(classes, 3)[true]


def test_the_score_is_one_less_the_label_quality() -> None:
    rank = pytest.importorskip("cleanlab.rank")
    logits, given, features = outputs()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    quality = rank.get_label_quality_scores(given, p, adjust_pred_probs=True)
    score = make_detector("cleanlab").fit_score(of_head(logits, features, given))
    assert score.dtype == np.float64
    np.testing.assert_allclose(score, 1 - quality, rtol=1e-12)
    assert roc_auc_score(np.arange(300) < 20, score) > 0.9


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_logits_may_be_of_less_precision(dtype: type) -> None:
    pytest.importorskip("cleanlab")
    logits, given, features = outputs()
    rounded = make_detector("cleanlab").fit_score(of_head(logits.astype(dtype), features, given))
    np.testing.assert_allclose(rounded, make_detector("cleanlab").fit_score(of_head(logits, features, given)), atol=2e-3)


def test_outputs_without_samples_and_extreme_logits_do_no_harm() -> None:
    pytest.importorskip("cleanlab")
    logits, given, features = outputs()
    score = make_detector("cleanlab").fit_score(of_head(logits, features, given))
    wider = np.concatenate([logits[:, :2], np.full((300, 1), -60.0), logits[:, 2:]], 1)
    with_more = make_detector("cleanlab").fit_score(of_head(wider, features, given + (given >= 2)))
    assert np.array_equal(np.argsort(with_more), np.argsort(score))
    assert np.isfinite(make_detector("cleanlab").fit_score(of_head(500 * logits, features, given))).all()


def test_of_one_class_the_least_confident_come_first() -> None:
    pytest.importorskip("cleanlab")
    logits, given, features = outputs()
    one = of_head(logits, features, np.ones_like(given))
    assert np.array_equal(
        np.argsort(make_detector("cleanlab").fit_score(one)), np.argsort(make_detector("low_confidence").fit_score(one))
    )


def test_out_of_fold_and_by_class_come_with_it() -> None:
    pytest.importorskip("cleanlab")
    logits, given, features = outputs()
    for name in ("oof:cleanlab", "by_class:cleanlab"):
        assert roc_auc_score(np.arange(300) < 20, make_detector(name).fit_score(of_head(logits, features, given))) > 0.7


def test_without_cleanlab_it_is_said_what_to_install_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "cleanlab" or name.startswith("cleanlab.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    for name in ("cleanlab", "by_class:cleanlab", "oof:cleanlab"):
        assert make_detector(name).name == name
        with pytest.raises(InputError, match=r"cleanlab is not installed: pip install 'oga-core\[cleanlab\]'"):
            choose_detectors(name)
