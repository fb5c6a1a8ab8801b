"""The map: every sample once, like beside like, the same for the same seed, computed once a run."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors

from oga_core import maps
from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import unit_rows
from oga_core.maps import embedding, has_map
from oga_core.progress import Cancelled
from oga_core.runs import Run, Workspace

GROUPS = 4


def scored(path: Path, n: int, spread: float = 0.3, groups: int = GROUPS) -> Run:
    """A run whose gradients lie around a few directions, one after the other."""
    rng = np.random.default_rng(0)
    r, h = rng.normal(size=(groups, 3))[np.arange(n) % groups], rng.normal(size=(groups, 8))[np.arange(n) % groups]
    vectors = r + spread * rng.normal(size=r.shape), h + spread * rng.normal(size=h.shape)
    (residuals, residual_norms), (features, feature_norms) = map(unit_rows, vectors)
    run = Workspace(path).new_run("planted", {})
    arrays = {"residuals": residuals, "features": features, "residual_norms": residual_norms, "feature_norms": feature_norms}
    for name, array in arrays.items():
        run.add_file(f"{name}.npy", partial(save_array, array))
    table = pd.DataFrame({"sample_id": [str(i) for i in range(n)], "l2": rng.random(n)})
    run.add_file("table.parquet", lambda to: table.to_parquet(to))
    return run


def purity(positions: np.ndarray) -> float:
    """Share of the 10 nearest points on the map that are of the same group."""
    near = NearestNeighbors(n_neighbors=11).fit(positions).kneighbors(positions, return_distance=False)[:, 1:]
    own = np.arange(len(positions)) % GROUPS
    return float((own[near] == own[:, None]).mean())


def test_every_sample_has_a_place_beside_its_like_and_the_map_is_kept(tmp_path: Path) -> None:
    run = scored(tmp_path / "a", 240)
    told: list[tuple[str, int, int]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        positions = embedding(run, progress=lambda *step: told.append(step))
    assert (positions.dtype, positions.shape) == (np.float32, (240, 2))
    assert np.isfinite(positions).all()
    assert purity(positions) > 0.95
    assert [t[0] for t in told] == ["nearest gradients", "loading UMAP", "UMAP", "UMAP"]
    assert run.job("map").status().state == "done"

    again = Workspace(tmp_path / "a").run(run.id)
    assert has_map(again)
    assert np.array_equal(embedding(again, seed=5, progress=lambda *step: pytest.fail("computed again")), positions)

    twin = scored(tmp_path / "b", 240)
    assert not has_map(twin)
    assert np.array_equal(embedding(twin), positions)
    other = embedding(scored(tmp_path / "c", 240), seed=1)
    assert not np.array_equal(other, positions)
    assert purity(other) > 0.95


def test_many_samples_are_placed_among_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "LANDMARKS", 120)
    run = scored(tmp_path, 400)
    told: list[tuple[str, int, int]] = []
    positions = embedding(run, progress=lambda *step: told.append(step))
    assert positions.shape == (400, 2)
    assert np.isfinite(positions).all()
    assert purity(positions) > 0.95
    assert [t[1:] for t in told if t[0] == "placing the other samples"] == [(120, 280), (240, 280), (280, 280)]


@pytest.mark.parametrize("n", [5, 6, 17])
def test_a_few_samples_are_mapped_without_a_warning(n: int, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        positions = embedding(scored(tmp_path, n))
    assert positions.shape == (n, 2)
    assert np.isfinite(positions).all()


def test_twins_are_mapped(tmp_path: Path) -> None:
    positions = embedding(scored(tmp_path, 80, spread=0))  # 20 times the same gradient in each group
    assert np.isfinite(positions).all()
    assert purity(positions) > 0.95


@pytest.mark.parametrize(
    ("n", "reason"),
    [(4, "at least 5 scored samples; this run has 4"), (40, "all gradients are alike, so there is nothing to map")],
)
def test_a_map_of_nothing_is_refused_and_the_job_says_why(n: int, reason: str, tmp_path: Path) -> None:
    run = scored(tmp_path, n, spread=0, groups=1)
    with pytest.raises(InputError, match=reason):
        embedding(run)
    assert (run.job("map").status().state, has_map(run)) == ("failed", False)
    assert reason in run.job("map").status().message


def test_a_map_can_be_cancelled_and_started_again(tmp_path: Path) -> None:
    run = scored(tmp_path, 30)

    def cancel(stage: str, done: int, total: int) -> None:
        run.job("map").cancel()

    with pytest.raises(Cancelled):
        embedding(run, progress=cancel)
    assert (run.job("map").status().state, has_map(run)) == ("cancelled", False)
    assert embedding(run).shape == (30, 2)
