"""The map: every sample once, like beside like, the same for the same seed, each picture computed once a run."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import Factors, unit_rows
from oga_core.maps import embedding, landmarks, picture, pictures, principal
from oga_core.maps.landmarks import Landmarks, choose_landmarks, place_samples
from oga_core.maps.principal import principal_components
from oga_core.progress import Cancelled
from oga_core.runs import Run, Workspace
from tests.summaries import make_summary

GROUPS = 4
ALL = ["gradients-pca", "gradients-umap", "features-pca", "features-umap"]


def planted(n: int, spread: float = 0.3, groups: int = GROUPS, classes: int = 3, width: int = 8) -> Factors:
    """Gradients around a few directions, one after the other."""
    rng = np.random.default_rng(0)
    r, h = rng.normal(size=(groups, classes))[np.arange(n) % groups], rng.normal(size=(groups, width))[np.arange(n) % groups]
    vectors = r + spread * rng.normal(size=r.shape), h + spread * rng.normal(size=h.shape)
    (residuals, residual_norms), (features, feature_norms) = map(unit_rows, vectors)
    return Factors(residuals, features, residual_norms, feature_norms)


def scored(path: Path, n: int, spread: float = 0.3, groups: int = GROUPS) -> Run:
    """A run whose gradients are planted."""
    made = planted(n, spread, groups)
    run = Workspace(path).new_run("planted")
    for name in ("residuals", "features", "residual_norms", "feature_norms"):
        run.add_file(f"{name}.npy", partial(save_array, getattr(made, name)))
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"sample_id": [str(i) for i in range(n)], "label": rng.choice(["a", "b"], n), "l2": rng.random(n)})
    run.add_file("table.parquet", lambda to: table.to_parquet(to))
    run.set_summary(make_summary(detectors=("l2",)))
    return run


def unit_gradients(factors: Factors) -> np.ndarray:
    """Every gradient in full, float64, shape ``(n, classes · d)``, of length 1 up to the rounding of what is stored."""
    return np.einsum("nc,nd->ncd", factors.residuals.astype(float), factors.features.astype(float)).reshape(len(factors), -1)


def purity(positions: np.ndarray) -> float:
    """Share of the 10 nearest points on the map that are of the same group."""
    near = NearestNeighbors(n_neighbors=11).fit(positions).kneighbors(positions, return_distance=False)[:, 1:]
    own = np.arange(len(positions)) % GROUPS
    return float((own[near] == own[:, None]).mean())


# ---- pictures of a run -----------------------------------------------------------------------------------------------------
def test_every_sample_has_a_place_beside_its_like_and_the_map_is_kept(tmp_path: Path) -> None:
    run = scored(tmp_path / "a", 240)
    told: list[tuple[str, int, int]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        positions = embedding(run, progress=lambda *step: told.append(step))
    assert (positions.dtype, positions.shape) == (np.float32, (240, 2))
    assert np.isfinite(positions).all()
    assert purity(positions) > 0.95
    assert list(dict.fromkeys(t[0] for t in told)) == ["principal components", "nearest neighbours", "loading UMAP", "layout"]
    percent = [t[1] for t in told]
    assert percent == sorted(percent)
    assert {t[2] for t in told} == {percent[-1]} == {100}
    assert run.job("map").status().state == "done"

    again = Workspace(tmp_path / "a").run(run.id)
    assert pictures(again) == ["gradients-pca", "gradients-umap"]
    assert np.array_equal(embedding(again, progress=lambda *step: pytest.fail("computed again")), positions)
    assert np.array_equal(embedding(scored(tmp_path / "b", 240)), positions)


def test_each_seed_has_a_map_of_its_own(tmp_path: Path) -> None:
    run = scored(tmp_path, 60)
    first, second = embedding(run), embedding(run, seed=1)
    assert not np.array_equal(first, second)
    assert np.array_equal(embedding(run), first)
    assert np.array_equal(embedding(run, seed=1), second)


def test_the_first_picture_is_of_principal_components_and_needs_no_job(tmp_path: Path) -> None:
    run = scored(tmp_path, 240)
    assert pictures(run) == []
    positions = embedding(run, method="pca")
    assert np.array_equal(positions, principal_components(run.factors))
    assert pictures(run) == ["gradients-pca"]
    assert run.job("map").status().state == "absent"


def test_features_have_a_map_of_their_own(tmp_path: Path) -> None:
    run = scored(tmp_path, 240)
    by_pca = embedding(run, "features", "pca")
    expected = PCA(2).fit_transform(run.factors.features.astype(float))
    assert np.allclose(np.abs(by_pca), np.abs(expected), atol=1e-3)
    assert purity(embedding(run, "features")) > 0.95
    assert pictures(run) == ["features-pca", "features-umap"]
    assert run.job("features_map").status().state == "done"
    assert run.job("map").status().state == "absent"
    embedding(run)
    assert pictures(run) == ALL == [picture(space, method) for space in ("gradients", "features") for method in ("pca", "umap")]


def test_beyond_the_head_gradients_are_mapped_by_their_sketches_and_features_as_ever(tmp_path: Path) -> None:
    run, plain = scored(tmp_path / "a", 120), scored(tmp_path / "b", 120)
    sketches, norms = unit_rows(np.random.default_rng(3).normal(size=(120, 16)))
    run.add_file("sketches.npy", partial(save_array, sketches))
    run.add_file("sketch_norms.npy", partial(save_array, norms))
    expected = PCA(2).fit_transform(sketches.astype(float))
    assert np.allclose(np.abs(embedding(run, method="pca")), np.abs(expected), atol=1e-3)
    assert np.array_equal(embedding(run, "features", "pca"), embedding(plain, "features", "pca"))


@pytest.mark.parametrize(("space", "method"), [("gradients", "tsne"), ("pixels", "umap")])
def test_what_is_no_map_is_refused_and_those_there_are_named(space: str, method: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no map '{space}-{method}'; there are: {', '.join(ALL)}"):
        embedding(scored(tmp_path, 10), space, method)


def test_many_samples_are_placed_among_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarks, "LANDMARKS", 120)
    monkeypatch.setattr(landmarks, "BLOCK", 150)
    run = scored(tmp_path, 400)
    told: list[tuple[str, int, int]] = []
    positions = embedding(run, progress=lambda *step: told.append(step))
    assert positions.shape == (400, 2)
    assert np.isfinite(positions).all()
    assert purity(positions) > 0.95
    assert len([t for t in told if t[0] == "placing the other samples"]) == 3
    assert [t[1] for t in told] == sorted(t[1] for t in told)
    assert told[-1][1:] == (100, 100)


@pytest.mark.parametrize("n", [5, 6, 17])
@pytest.mark.parametrize("space", ["gradients", "features"])
def test_a_few_samples_are_mapped_without_a_warning(n: int, space: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        positions = embedding(scored(tmp_path, n), space)
    assert positions.shape == (n, 2)
    assert np.isfinite(positions).all()


def test_twins_are_mapped(tmp_path: Path) -> None:
    positions = embedding(scored(tmp_path, 80, spread=0))  # 20 times the same gradient in each group
    assert np.isfinite(positions).all()
    assert purity(positions) > 0.95


@pytest.mark.parametrize("method", ["pca", "umap"])
@pytest.mark.parametrize(
    ("n", "reason"),
    [(4, "at least 5 scored samples; this run has 4"), (40, "all gradients are alike, so there is nothing to map")],
)
def test_a_map_of_nothing_is_refused_and_the_job_says_why(n: int, reason: str, method: str, tmp_path: Path) -> None:
    run = scored(tmp_path, n, spread=0, groups=1)
    with pytest.raises(InputError, match=reason):
        embedding(run, method=method)
    assert pictures(run) == []
    if method == "umap":
        assert run.job("map").status().state == "failed"
        assert reason in run.job("map").status().message


@pytest.mark.parametrize("stage", ["principal components", "layout"])
def test_a_map_can_be_cancelled_at_any_stage_and_started_again(stage: str, tmp_path: Path) -> None:
    run = scored(tmp_path, 30)

    def cancel(at: str, done: int, total: int) -> None:
        if at == stage:
            run.job("map").cancel()

    with pytest.raises(Cancelled):
        embedding(run, progress=cancel)
    assert run.job("map").status().state == "cancelled"
    assert "gradients-umap" not in pictures(run)
    assert embedding(run).shape == (30, 2)


# ---- principal components --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("classes", "width"), [(3, 8), (1, 20), (12, 5), (2, 2)])
def test_principal_components_are_those_of_the_whole_gradients(classes: int, width: int) -> None:
    factors = planted(150, classes=classes, width=width)
    expected = PCA(2, svd_solver="full").fit_transform(unit_gradients(factors))
    found = principal_components(factors)
    signs = np.sign((found * expected).sum(0))
    assert np.allclose(found, expected * signs, atol=2e-3 * np.abs(expected).max())


def test_principal_components_of_a_sample_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = planted(2000)
    whole = principal_components(factors)
    monkeypatch.setattr(principal, "SAMPLE", 500)
    drawn, other = principal_components(factors), principal_components(factors, seed=1)
    assert np.array_equal(drawn, principal_components(factors))
    assert not np.array_equal(drawn, other)
    for found in (drawn, other):  # axes may turn where two are alike, but what they show is as much
        assert found.var(0).sum() == pytest.approx(whole.var(0).sum(), rel=0.03)


def test_what_lies_on_a_line_has_one_component() -> None:
    h = np.array([[1, 0], [0.8, 0.6]])[np.arange(40) % 2]
    factors = Factors.from_vectors(h.astype(np.float16), np.ones(40, np.float32))
    found = principal_components(factors)
    assert np.ptp(found[:, 0]) == pytest.approx(np.hypot(0.2, 0.6), rel=1e-3)
    assert np.abs(found[:, 1]).max() < 1e-3


# ---- landmarks -------------------------------------------------------------------------------------------------------------
@given(
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=8),
    most=st.integers(10, 80),
    each=st.integers(0, 5),
    seed=st.integers(0, 3),
)
def test_landmarks_are_the_most_suspicious_and_every_class_in_proportion(
    sizes: list[int], most: int, each: int, seed: int
) -> None:
    labels = pd.Series(np.random.default_rng(seed).permutation(np.repeat([f"class {i}" for i in range(len(sizes))], sizes)))
    scores = np.random.default_rng(seed + 10).random(len(labels))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(landmarks, "LANDMARKS", most)
        patched.setattr(landmarks, "EACH_CLASS", each)
        rows = choose_landmarks(labels, scores, seed=seed)
        assert np.array_equal(rows, choose_landmarks(labels, scores, seed=seed))
    if len(labels) <= most:
        assert np.array_equal(rows, np.arange(len(labels)))
        return
    assert len(rows) == len(set(rows.tolist())) == most
    assert (np.diff(rows) > 0).all()
    suspicious = set(np.argsort(-scores, kind="stable")[: most // 2].tolist())
    assert suspicious <= set(rows.tolist())
    rest = labels.drop(index=list(suspicious)).value_counts()
    drawn = labels[[r for r in rows if r not in suspicious]].value_counts().reindex(rest.index, fill_value=0)
    if each * len(rest) <= drawn.sum():
        assert (drawn >= np.minimum(rest, each)).all()
    above = drawn > each  # classes that have more than their floor have the same share, but for rounding
    if above.sum() > 1:
        share = drawn[above].sum() / rest[above].sum()
        assert (drawn[above] - rest[above] * share).abs().max() <= 1.5 + above.sum() * 0.5


def test_a_placed_sample_lies_at_the_weighted_mean_of_its_five_nearest_landmarks() -> None:
    factors, rng = planted(300), np.random.default_rng(5)
    rows = np.sort(rng.choice(300, 60, replace=False))
    positions = rng.normal(size=(60, 2)).astype(np.float32)
    found = place_samples(factors, rows, positions)
    vectors = unit_gradients(factors)
    for row in range(300):
        if row in rows:
            expected = positions[np.searchsorted(rows, row)]
        else:
            cosines = np.array([vectors[row] @ vectors[landmark] for landmark in rows])
            near = np.argsort(-cosines)[:5]
            weights = np.maximum(cosines[near], 1e-6) ** 4
            expected = (weights[:, None] * positions[near]).sum(0) / weights.sum()
        assert found[row] == pytest.approx(expected, abs=1e-4)


def test_among_very_many_landmarks_nearly_all_of_the_nearest_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = planted(3000, spread=0.6, classes=10, width=32, groups=40)
    search, queries = Landmarks(factors.take(np.arange(2000)), seed=0), factors.take(np.arange(2000, 3000))
    exact, best = search.nearest(queries, 5)
    monkeypatch.setattr(landmarks, "PIVOTS", 60)
    monkeypatch.setattr(landmarks, "CANDIDATES", 400)
    found, cosines = Landmarks(factors.take(np.arange(2000)), seed=0).nearest(queries, 5)
    vectors = unit_gradients(factors)
    assert np.allclose(np.einsum("nd,nkd->nk", vectors[2000:], vectors[found]), cosines, atol=1e-3)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(exact, found)]) > 0.9
    assert (best - cosines).mean() < 0.01
