"""Per-sample gradients: scopes, one rule an operation, norms, sketches, factors."""

from oga_core.gradients.batches import in_batches, out_of_memory
from oga_core.gradients.factors import Factors, nearest, unit_rows
from oga_core.gradients.head import HeadGradients, captured_features, find_head, head_gradients
from oga_core.gradients.losses import LOSSES, BinaryCrossEntropy, CrossEntropy, NextToken, SquaredError
from oga_core.gradients.per_sample import PerSampleGradients
from oga_core.gradients.results import GradientBatch, joined
from oga_core.gradients.scope import ALL, HEAD, LORA, NAMED, parameters_in
from oga_core.gradients.sketch import FORM, WIDTH

__all__ = [
    "ALL", "FORM", "HEAD", "LORA", "LOSSES", "NAMED", "WIDTH", "BinaryCrossEntropy", "CrossEntropy", "Factors", "GradientBatch",
    "HeadGradients", "NextToken", "PerSampleGradients", "SquaredError", "captured_features", "find_head", "head_gradients",
    "in_batches", "joined", "nearest", "out_of_memory", "parameters_in", "unit_rows",
]  # fmt: skip
