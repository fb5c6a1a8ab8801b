"""Per-sample gradients: scopes, factors, sketches."""

from oga_core.gradients.factors import Factors, nearest, unit_rows
from oga_core.gradients.head import HeadGradients, captured_features, find_head, head_gradients

__all__ = ["Factors", "HeadGradients", "captured_features", "find_head", "head_gradients", "nearest", "unit_rows"]
