"""What is recommended, against the truth of labels that were flipped."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from oga_core.detectors import BUDGETS, Gradients, Recommendation, Recommended, make_detector, of_head, recommended
from oga_core.detectors.canaries import CANDIDATES, KINDS, Found
from oga_core.detectors.noise import NoiseModel
from oga_core.detectors.out_of_fold import out_of_fold
from oga_core.detectors.recommended import RESAMPLED, AtBudget, Canaries, Interval, _choose, _suggest_trim
from oga_core.errors import InputError

N, CLASSES = 400, 3


def blobs(rate: float, seed: int, n: int = N) -> tuple[Gradients, np.ndarray]:
    """Gradients of a softmax regression on three classes, and which labels were flipped to any other."""
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.arange(n) % CLASSES)
    features = rng.normal(size=(n, 8)) + 4 * np.eye(8)[true]
    wrong = np.zeros(n, bool)
    wrong[rng.choice(n, round(rate * n), replace=False)] = True
    given = np.where(wrong, (true + rng.integers(1, CLASSES, n)) % CLASSES, true)
    model = LogisticRegression(C=100, max_iter=1000).fit(features, given)
    return of_head(model.decision_function(features), features, given), wrong


@pytest.fixture(scope="module", params=[(0.1, 0), (0.15, 1), (0.2, 2)], ids=lambda p: f"{p[0]:.0%}")
def flipped(request: pytest.FixtureRequest) -> tuple[Gradients, np.ndarray, Recommended]:
    rate, seed = request.param
    gradients, wrong = blobs(rate, seed)
    return gradients, wrong, Recommended().fit(gradients, seed=seed)


Flipped = tuple[Gradients, np.ndarray, Recommended]


def known() -> Recommendation:
    """One that is written by hand."""
    some = AtBudget(0.1, Interval(0.5, 0.25, 0.75), 0.125)
    return Recommendation(
        detectors=["oof:noise", "oof:l2"],
        out_of_fold=True,
        wrong=Interval(0.25, 0.125, 0.5),
        budget=0.1,
        at_budget=some,
        curve=[some, replace(some, budget=0.2)],
        canaries=[Canaries("noise", "uniform", 0.9, 0.01, [1.0, 0.5], [0.1, 0.2])],
        mistaken=[("2", "0", 7.5), ("0", "1", 0.5)],
    )


def test_flipped_labels_come_first_and_no_later_than_by_the_longest_gradient(flipped: Flipped) -> None:
    gradients, wrong, detector = flipped
    found = average_precision_score(wrong, detector.score_samples(gradients))
    assert found > wrong.mean() + 0.5
    for name in ("l2", "oof:l2"):
        assert found > average_precision_score(wrong, make_detector(name).fit_score(gradients)) - 0.02


def test_the_share_of_wrong_labels_is_estimated(flipped: Flipped) -> None:
    _, wrong, detector = flipped
    found = detector.recommendation.wrong
    assert found.value == pytest.approx(wrong.mean(), abs=0.05)
    assert found.low <= found.value <= found.high
    assert found.high - found.low < 0.1


def test_what_is_expected_at_a_budget_is_what_is_found_there(flipped: Flipped) -> None:
    gradients, wrong, detector = flipped
    found, order = detector.recommendation, np.argsort(-detector.score_samples(gradients), kind="stable")
    assert found.at_budget is not None
    assert found.at_budget.budget == found.budget
    assert 0.03 < found.budget < 0.3
    assert [one.budget for one in found.curve] == pytest.approx([max(1, round(b * N)) / N for b in BUDGETS])
    for one in (found.at_budget, *found.curve):
        trimmed = wrong[order[: round(one.budget * N)]]
        assert one.precision.value == pytest.approx(trimmed.mean(), abs=0.15)
        assert one.precision.low <= one.precision.value <= one.precision.high
        assert one.recall == pytest.approx(trimmed.sum() / wrong.sum(), abs=0.15)


@pytest.mark.parametrize("seed", [0, 1])
def test_of_clean_labels_hardly_any_are_to_be_trimmed(seed: int) -> None:
    gradients, _ = blobs(0, seed)
    found = Recommended().fit(gradients, seed=seed).recommendation
    assert found.budget <= 0.01
    assert (found.at_budget is None) == (found.budget == 0)
    assert found.wrong.value < 0.02


def test_the_score_is_the_probability_of_a_wrong_label_out_of_fold(flipped: Flipped) -> None:
    gradients, _, detector = flipped
    assert detector.recommendation.detectors == ["oof:noise"]
    assert detector.recommendation.out_of_fold is False
    again = Recommended().fit(gradients, seed=9)
    assert again.recommendation.detectors == ["oof:noise"]
    assert np.array_equal(again.score_samples(gradients), make_detector("oof:noise").fit_score(gradients, seed=9))


def test_two_detectors_are_averaged_by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients, _ = blobs(0.15, 0, n=150)
    monkeypatch.setattr(recommended, "_choose", lambda found: ["noise", "iforest"])
    monkeypatch.setitem(CANDIDATES, "iforest", lambda: make_detector("iforest"))
    detector = Recommended().fit(gradients, seed=3)
    both = [rankdata(make_detector(f"oof:{name}").fit_score(gradients, seed=3)) for name in ("noise", "iforest")]
    np.testing.assert_allclose(detector.score_samples(gradients), (both[0] + both[1]) / 2 / 150)
    assert detector.recommendation.detectors == ["oof:noise", "oof:iforest"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_most_frequent_mistakes_come_first_with_their_number(seed: int) -> None:
    gradients, _ = blobs(0, seed)
    labels = gradients.labels.copy()
    labels[np.flatnonzero(labels == 2)[:30]] = 0
    labels[np.flatnonzero(gradients.labels == 1)[:12]] = 2
    found = Recommended().fit(replace(gradients, labels=labels)).recommendation.mistaken
    assert [pair[:2] for pair in found[:2]] == [("2", "0"), ("1", "2")]
    assert [pair[2] for pair in found[:2]] == pytest.approx([30, 12], abs=7)
    assert all(pair[2] >= 0.5 for pair in found)


def test_the_evidence_is_every_candidate_with_every_kind_of_canary(flipped: Flipped) -> None:
    found = flipped[2].recommendation.canaries
    assert [(c.detector, c.kind) for c in found] == [(name, kind) for kind in KINDS for name in CANDIDATES]
    for one in found:
        assert 0 < one.average_precision <= 1
        assert 0 < one.standard_error < 0.2
        assert len(one.precision) == len(one.recall) == len(BUDGETS)
    # All that are planted, 30 of 400, lie within the first half.
    assert next(c for c in found if (c.detector, c.kind) == ("noise", "uniform")).recall[-1] > 0.9


def test_models_that_have_not_seen_the_samples_go_before_heads_fitted_again() -> None:
    gradients, wrong = blobs(0.15, 0, n=200)
    # To the model's own features, labels that it has learned by heart are right.
    by_heart = of_head(9.0 * np.eye(CLASSES)[gradients.labels], np.eye(CLASSES)[gradients.labels], gradients.labels)
    unseen = replace(out_of_fold(gradients, 0), fold=np.arange(200) % 4)
    detector = Recommended().fit(replace(by_heart, out_of_fold=unseen))
    assert detector.recommendation.out_of_fold is True
    assert average_precision_score(wrong, detector.scores) > 0.8
    assert detector.recommendation.wrong.value == pytest.approx(0.15, abs=0.05)


def test_a_seed_gives_the_same_recommendation_and_progress_tells_where_it_is() -> None:
    gradients, _ = blobs(0.15, 0, n=120)
    told: list[tuple[str, int, int]] = []
    first = Recommended().fit(gradients, seed=1, progress=lambda *step: told.append(step))
    again, other = (Recommended().fit(gradients, seed=s) for s in (1, 2))
    assert again.recommendation == first.recommendation
    assert np.array_equal(again.scores, first.scores)
    assert other.recommendation != first.recommendation
    last = {stage: (done, total) for stage, done, total in told}
    assert last == {"planting canaries": (6, 6), "estimating wrong labels": (20, 20)}


def test_other_samples_than_those_fitted_to_are_refused(flipped: Flipped) -> None:
    gradients, _, detector = flipped
    for others in (gradients.take(np.arange(10)), blobs(0.1, 5)[0]):
        with pytest.raises(InputError, match="recommended scores only the samples it was fitted to"):
            detector.score_samples(others)


def test_nothing_is_recommended_for_few_samples_or_one_class_or_without_a_head() -> None:
    gradients, _ = blobs(0.1, 0, n=50)
    assert Recommended().fit(gradients).recommendation.canaries
    for some in (gradients.take(np.arange(49)), replace(gradients, labels=np.zeros(50, np.int64))):
        with pytest.raises(InputError, match="nothing can be recommended for fewer than 50 samples of two classes"):
            Recommended().fit(some)
    with pytest.raises(InputError, match="no head to fit again"):
        Recommended().fit(replace(gradients, features=None, feature_norms=None))


def test_a_recommendation_is_the_same_after_a_way_through_json(flipped: Flipped) -> None:
    for found in (flipped[2].recommendation, known(), replace(known(), budget=0.0, at_budget=None, mistaken=[])):
        assert Recommendation.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_file_of_a_recommendation_keeps_its_key_unseen() -> None:
    """Runs on disk have it; the field of the class is ``out_of_fold``."""
    told = known().to_dict()
    assert told["unseen"] is True
    assert "out_of_fold" not in told
    assert Recommendation.from_dict(told | {"unseen": False}).out_of_fold is False


def test_in_words_the_classes_have_their_names() -> None:
    found = known().in_words(["ant", "bee", "cat"])
    assert found.mistaken == [("cat", "ant", 7.5), ("ant", "bee", 0.5)]
    assert replace(found, mistaken=known().mistaken) == known()


@pytest.mark.parametrize(("doubting", "trimmed"), [(0, 12), (1, 12), (3, 0)])
def test_what_more_than_a_tenth_of_the_bootstraps_doubt_is_not_suggested(
    monkeypatch: pytest.MonkeyPatch, doubting: int, trimmed: int
) -> None:
    gradients, _ = blobs(0.1, 0, n=100)

    def doubted(base: Gradients, fitted: NoiseModel, *rest: object) -> np.ndarray:
        order = np.argsort(-fitted.wrong(base.logits, base.labels), kind="stable")
        resampled = np.tile(np.isin(np.arange(100), order[:12]).astype(np.float32), (RESAMPLED, 1))
        resampled[:doubting] = 0
        return resampled

    monkeypatch.setattr(recommended, "_resample", doubted)
    detector = Recommended().fit(gradients)
    assert detector.recommendation.detectors == ["oof:noise"]
    assert round(detector.recommendation.budget * 100) == trimmed


@pytest.mark.parametrize(
    ("surely", "count"),
    [
        ([], 0),
        ([0.7, 0.6], 0),
        ([0.75, 0.75, 0.75, 0.75], 0),
        ([1, 1], 0),
        ([1, 1, 0.2, 0.1], 0),
        ([1, 1, 1], 3),
        ([0.9, 0.8, 0.76, 0.74, 0.1], 3),
        ([1, 1, 0.7, 1, 0.5, 0.5], 4),
        ([1, 1, 1, 0.2, 1, 0.9], 3),
        ([0, 1, 1, 1, 1], 5),
    ],
)
def test_as_many_are_suggested_as_are_surely_wrong_at_least_three(surely: list[float], count: int) -> None:
    assert _suggest_trim(np.array(surely, float)) == count


def found(detector: str, *average_precisions: float) -> list[Found]:
    """Half of the rounds with each kind."""
    halves = np.array_split(np.array(average_precisions), 2)
    return [Found(detector, kind, half, np.ones((3, 1)), np.ones((3, 1))) for kind, half in zip(KINDS, halves)]


@pytest.mark.parametrize(
    ("l2", "el2n", "chosen"),
    [
        ([0.5] * 6, [0.7] * 6, ["noise"]),  # no better
        ([0.71] * 6, [0.715] * 6, ["noise"]),  # by no more than it must be
        ([0.8] * 6, [0.73] * 6, ["noise", "l2"]),
        ([0.8] * 6, [0.85] * 6, ["noise", "el2n"]),  # the better of two
        ([0.9, 0.9, 0.9, 0.6, 0.6, 0.8], [0.5] * 6, ["noise"]),  # in the mean, but not surely
        ([0.9, 0.9, 0.9, 0.6, 0.6, 0.8], [0.75] * 6, ["noise", "el2n"]),  # less in the mean, but surely
        ([0.85, 0.85, 0.85, 0.75, 0.75, 0.75], [0.5] * 6, ["noise", "l2"]),  # of both kinds together
    ],
)
def test_only_a_detector_that_clearly_finds_canaries_better_is_taken_in(
    l2: list[float], el2n: list[float], chosen: list[str]
) -> None:
    assert _choose([*found("noise", *[0.7] * 6), *found("l2", *l2), *found("el2n", *el2n)]) == chosen


def test_detectors_are_compared_round_by_round() -> None:
    # Apart by the same in each round, however unlike the rounds are.
    noise = [0.2, 0.4, 0.6, 0.8, 0.3, 0.5]
    assert _choose([*found("noise", *noise), *found("l2", *(v + 0.03 for v in noise))]) == ["noise", "l2"]
