"""The arms of a comparison: what is left out before the model is trained again."""

from __future__ import annotations

import numpy as np

from oga_core.detectors import RECOMMENDED, Gradients, make_detector
from oga_core.detectors.influence import INFLUENCE
from oga_core.experiments.paper import ONLY_IN_THE_PAPER

UNTRIMMED, RANDOM, ORACLE = "untrimmed", "random", "oracle"
RANDOM_IS_LIKE = "l1"
"""The arm whose size and class shares the random arm has."""

PAPER = ("l1", "l2", "iforest", "ocsvm")
"""Detectors of the paper."""
OURS = (RECOMMENDED,)
"""Detectors beyond the paper, by a name that `oga_core.detectors.make_detector` takes."""
CONTROLS = ("low_confidence", "margin", "confidence_entropy", "el2n")
SCORED = (*PAPER, *OURS, *CONTROLS, *INFLUENCE)
"""All that give every sample a score, beside the random arm."""

TITLES = {
    UNTRIMMED: "untrimmed",
    RANDOM: "random trim",
    ORACLE: "oracle",
    RECOMMENDED: "recommended",
    "l1": "OGA L1",
    "l2": "OGA L2",
    "iforest": "OGA iForest",
    "ocsvm": "OGA one-class SVM",
    "ocsvm_test": "one-class SVM of the test set",
    "ocsvm_validation": "one-class SVM of validation data",
    "low_confidence": "given-label confidence",
    "margin": "normalized margin",
    "confidence_entropy": "confidence entropy",
    "el2n": "EL2N",
    "hessian": "exact Hessian",
    "lissa": "LiSSA",
    "datainf": "DataInf",
    "tracing": "gradient tracing",
    "tracing_checkpoints": "gradient tracing, all checkpoints",
    "self": "self-influence",
    "kind_forest": "OGA iForest, one a kind",
    "cosine": "cosine of gradients",
    "kind_centroid": "cosine with the gradients' centroid of a kind",
    "tfidf": "TF-IDF cosine",
    "tfidf_centroid": "TF-IDF centroid of a kind",
    "embedding": "cosine of hidden states",
    "random_order": "random order",
    **ONLY_IN_THE_PAPER,
}
"""Titles of the arms, in the order of tables."""
REFERENCES, OGA, OWN, CONTROL, BY_INFLUENCE = "reference", "paper's detector", "our detector", "control", "influence"
KINDS = {
    **dict.fromkeys((UNTRIMMED, RANDOM, ORACLE), REFERENCES),
    **dict.fromkeys((*PAPER, "ocsvm_test", "ocsvm_validation", "kind_forest"), OGA),
    **dict.fromkeys((*OURS, "cosine", "kind_centroid"), OWN),
    **dict.fromkeys((*CONTROLS, "tfidf", "tfidf_centroid", "embedding", "random_order"), CONTROL),
    **dict.fromkeys((*INFLUENCE, "tracing_checkpoints"), BY_INFLUENCE),
}


def score(name: str, train: Gradients, validation: Gradients, seed: int) -> np.ndarray:
    """Outlier scores of the training samples, float64, shape ``(n,)``, higher = more suspicious.

    Parameters
    ----------
    name
        One of `SCORED`, or the random control.
    train, validation
        Gradients by the same model; influence is that on the mean loss of the validation samples.
    """
    detector = INFLUENCE[name](validation) if name in INFLUENCE else make_detector(name)
    return detector.fit_score(train, seed=seed)


def random_like(flagged: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """A random trim with as many samples of each given label as another trim has.

    Parameters
    ----------
    flagged
        Positions of the samples that the other trim removes.
    labels
        Given labels, int64, shape ``(n,)``.

    Returns
    -------
    np.ndarray
        Positions, int64, sorted; the same for the same class counts and seed.
    """
    rng = np.random.default_rng([seed, len(labels)])
    order = rng.permutation(len(labels))
    chosen = [order[labels[order] == c][: (labels[flagged] == c).sum()] for c in np.unique(labels[flagged])]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
