"""PyOD's detectors by name, and what is said where there is none, or no PyOD."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oga_core.detectors import Gradients, choose_detectors, make_detector, of_head, pyod as ours
from oga_core.errors import InputError

N, OUTLIERS = 300, 15


@pytest.fixture(scope="module")
def planted() -> Gradients:
    """Gradients around one direction; the first ones have any other, and are longer."""
    rng = np.random.default_rng(0)
    features, logits = 1 + 0.1 * rng.normal(size=(N, 6)), 0.1 * rng.normal(size=(N, 3))
    features[:OUTLIERS] = 2 * rng.normal(size=(OUTLIERS, 6))
    return of_head(logits, features, np.zeros(N, np.int64))


@pytest.fixture
def installed() -> None:
    pytest.importorskip("pyod")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("wanted", ["ECOD", "knn", "LOF", "HBOS", "IForest", "COPOD", "pca"])
def test_a_detector_of_pyod_goes_by_the_name_of_its_class(planted: Gradients, wanted: str) -> None:
    detector = make_detector(f"pyod:{wanted}")
    assert detector.name == f"pyod:{wanted}"
    assert detector.title == f"PyOD {wanted}"
    detector.require()
    score = detector.fit_score(planted, seed=0)
    assert (score.shape, score.dtype) == ((N,), np.float64)
    assert roc_auc_score(np.arange(N) < OUTLIERS, score) > 0.95


@pytest.mark.usefixtures("installed")
def test_the_scores_are_those_of_pyod_on_the_projected_gradients(planted: Gradients) -> None:
    from pyod.models.knn import KNN

    factors = planted.factors
    projected = factors.sketch(ours.WIDTH, 3) * (factors.residual_norms * factors.feature_norms)[:, None]
    theirs = KNN().fit(projected.astype(np.float64))
    mine = make_detector("pyod:KNN")
    # Of what it learned from, a sample is not its own neighbour; of what it is asked of afterwards it may be.
    np.testing.assert_allclose(mine.fit_score(planted, seed=3), theirs.decision_scores_, rtol=1e-9)
    asked = theirs.decision_function(projected.astype(np.float64))
    np.testing.assert_allclose(mine.score_samples(planted), asked, rtol=1e-9)
    assert not np.allclose(asked, theirs.decision_scores_)


@pytest.mark.usefixtures("installed")
def test_others_than_those_fitted_to_can_be_scored_in_blocks(planted: Gradients, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = planted.take(np.arange(OUTLIERS, 250))
    others = planted.take(np.r_[:OUTLIERS, 250:N])
    detector = make_detector("pyod:knn").fit(usual, seed=0)
    score = detector.score_samples(others)
    assert score[:OUTLIERS].min() > np.quantile(score[OUTLIERS:], 0.9)
    monkeypatch.setattr(ours, "BLOCK", 7)
    np.testing.assert_allclose(detector.score_samples(others), score, rtol=1e-9)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["pyod:IForest", "pyod:LOF", "by_class:pyod:HBOS", "oof:pyod:HBOS"])
def test_a_seed_gives_the_same_scores_and_another_others(planted: Gradients, name: str) -> None:
    first, again, other = (make_detector(name).fit_score(planted, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("wanted", ["nothing", "", "base", "BaseDetector", "ECOD.x", "..ecod", "base_dl", "pyg_dominant"])
def test_an_unknown_name_is_refused_with_those_there_are(wanted: str) -> None:
    with pytest.raises(InputError, match=r"PyOD has no detector '.*'; it has: abod, .*ecod, .*knn") as refused:
        choose_detectors(["l1", f"pyod:{wanted}"])
    assert "base" not in str(refused.value).partition("it has: ")[2].split(", ")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("wanted", ["MO_GAAL", "mogaal", "auto_encoder", "AutoEncoder"])
def test_names_with_and_without_underscores_are_found(wanted: str) -> None:
    make_detector(f"pyod:{wanted}").require()


@pytest.mark.usefixtures("installed")
def test_what_a_detector_cannot_be_fitted_to_is_said(planted: Gradients) -> None:
    with pytest.raises(InputError, match=r"PyOD KNN cannot be fitted to these gradients: .*n_neighbors"):
        make_detector("pyod:KNN").fit(planted.take(np.arange(3)))


@pytest.mark.usefixtures("installed")
def test_scores_that_are_not_numbers_are_refused(planted: Gradients, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyod.models.hbos import HBOS

    detector = make_detector("pyod:HBOS").fit(planted)
    monkeypatch.setattr(HBOS, "decision_function", lambda self, x: np.full(len(x), np.nan))
    monkeypatch.setattr(HBOS, "fit", lambda self, x: setattr(self, "decision_scores_", np.full(len(x), np.inf)))
    for score in (detector.score_samples, detector.fit_score):
        with pytest.raises(InputError, match="PyOD HBOS gives scores that are not finite numbers"):
            score(planted)


def test_without_pyod_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "pyod" or name.startswith("pyod.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyod", None)
    for name in ("pyod:ECOD", "by_class:pyod:ECOD", "oof:pyod:ECOD"):
        assert make_detector(name).name == name
        with pytest.raises(InputError, match=r"pyod:ECOD needs PyOD: pip install 'oga-core\[pyod\]'"):
            choose_detectors(name)


@pytest.mark.usefixtures("installed")
def test_a_detector_that_needs_more_than_pyod_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyod.models.ecod", None)
    with pytest.raises(InputError, match=r"pyod:ECOD needs more than PyOD itself: .*pyod\.models\.ecod"):
        make_detector("pyod:ECOD").require()
