"""The paper's numbers (Chhabra et al., arXiv 2405.03869, ICML 2025), by setting and arm, all in percent, with its ±.

Arms are called as in `oga_core.experiments.arms`; those that exist only in the paper's table have names of their own.
"""

from __future__ import annotations

Number = tuple[float, float | None]
"""A percentage, and the paper's ± where it gives one."""
Numbers = dict[str, dict[str, Number]]
"""By setting, then by arm."""

ONLY_IN_THE_PAPER = {"self_lissa": "Self-LiSSA", "self_datainf": "Self-DataInf", "trak": "TRAK", "gex": "GEX"}

SYNTHETIC_DETECTION: Numbers = {
    "moons": {
        "margin": (82, None),
        "low_confidence": (82, None),
        "confidence_entropy": (82, None),
        "hessian": (90, None),
        "tracing": (82, None),
        "lissa": (82, None),
        "datainf": (82, None),
        "self_lissa": (82, None),
        "self_datainf": (90, None),
        "iforest": (96, None),
        "l1": (98, None),
        "l2": (98, None),
    }
}
"""Share of samples for which flagged or not is right. One seed."""

SYNTHETIC_ACCURACY: Numbers = {
    "moons": {
        "untrimmed": (90, None),
        "margin": (89, None),
        "low_confidence": (89, None),
        "confidence_entropy": (89, None),
        "hessian": (90, None),
        "tracing": (91, None),
        "lissa": (91, None),
        "datainf": (91, None),
        "self_lissa": (90, None),
        "self_datainf": (87, None),
        "iforest": (96, None),
        "l1": (87, None),
        "l2": (87, None),
    }
}
"""On 100 test points, one seed."""

VISION_ACCURACY: Numbers = {
    "aggre": {
        "untrimmed": (90.87, 0.23),
        "margin": (91.33, 0.11),
        "low_confidence": (91.38, 0.19),
        "confidence_entropy": (91.11, 0.34),
        "tracing": (91.47, 0.21),
        "lissa": (91.49, 0.34),
        "datainf": (91.46, 0.17),
        "self_lissa": (92.07, 0.15),
        "self_datainf": (91.41, 0.17),
        "l1": (91.86, 0.14),
        "l2": (92.21, 0.14),
        "iforest": (91.36, 0.09),
        "trak": (91.73, None),
        "gex": (90.67, None),
    },
    "random1": {
        "untrimmed": (89.17, 0.31),
        "margin": (90.06, 0.14),
        "low_confidence": (90.09, 0.17),
        "confidence_entropy": (90.05, 0.26),
        "tracing": (89.98, 0.20),
        "lissa": (90.05, 0.31),
        "datainf": (90.05, 0.38),
        "self_lissa": (89.58, 0.11),
        "self_datainf": (89.81, 0.37),
        "l1": (90.66, 0.33),
        "l2": (90.25, 0.22),
        "iforest": (90.20, 0.07),
        "trak": (90.07, None),
        "gex": (89.13, None),
    },
    "worst": {
        "untrimmed": (82.27, 0.37),
        "margin": (83.57, 0.32),
        "low_confidence": (83.65, 0.21),
        "confidence_entropy": (83.63, 0.41),
        "tracing": (83.38, 0.58),
        "lissa": (83.38, 0.58),
        "datainf": (83.40, 0.56),
        "self_lissa": (83.01, 0.34),
        "self_datainf": (83.15, 0.22),
        "l1": (84.20, 0.19),
        "l2": (82.99, 0.54),
        "iforest": (83.72, 0.18),
        "trak": (83.52, None),
        "gex": (80.30, None),
    },
    "cifar100_noisy": {
        "untrimmed": (57.36, 0.43),
        "margin": (60.94, 0.59),
        "low_confidence": (60.51, 0.51),
        "confidence_entropy": (60.62, 0.26),
        "tracing": (60.73, 0.38),
        "lissa": (60.48, 0.29),
        "datainf": (60.70, 0.31),
        "self_lissa": (59.48, 0.43),
        "self_datainf": (60.56, 0.28),
        "l1": (60.32, 0.42),
        "l2": (61.40, 0.22),
        "iforest": (60.99, 0.27),
    },
}
"""CIFAR-10N and CIFAR-100N, ResNet-34, budget 5 %; best of 100 evaluations on the test set."""

TEXT_FIRST = {"qnli": "iforest", "sst2": "iforest", "qqp": "iforest"}
"""The arm on top of the paper's curves, which come without numbers; on MRPC it is a tie."""

LLM_AUC: Numbers = {
    "sentence_transformation": {"tracing": (99.9, None), "datainf": (100, None), "kind_forest": (100, None)},
    "math_without_reason": {"tracing": (72.4, None), "datainf": (99.9, None), "kind_forest": (100, None)},
    "math_with_reason": {"tracing": (72.2, None), "datainf": (99.9, None), "kind_forest": (100, None)},
}
LLM_RECALL: Numbers = {
    "sentence_transformation": {"tracing": (98.2, None), "datainf": (99.6, None), "kind_forest": (100, None)},
    "math_without_reason": {"tracing": (24.1, None), "datainf": (99.3, None), "kind_forest": (100, None)},
    "math_with_reason": {"tracing": (22.6, None), "datainf": (99.0, None), "kind_forest": (100, None)},
}
"""Llama-2-13b-chat; recall among as many training samples as are of the test sample's kind."""

SHIFT_ACCURACY: Numbers = {
    "time": {
        "tracing": (75.23, None),
        "datainf": (73.90, None),
        "l1": (76.83, None),
        "l2": (76.87, None),
        "iforest": (77.08, None),
        "ocsvm_test": (77.65, None),
    },
    "place": {
        "tracing": (76.28, None),
        "datainf": (78.30, None),
        "l1": (77.97, None),
        "l2": (77.60, None),
        "iforest": (78.92, None),
        "ocsvm_test": (80.63, None),
    },
    "both": {
        "tracing": (74.83, None),
        "datainf": (75.47, None),
        "l1": (77.42, None),
        "l2": (76.90, None),
        "iforest": (77.50, None),
        "ocsvm_test": (78.40, None),
    },
}
"""ACS income; the paper has no untrimmed row."""
