"""One rule an operation: from its arguments and its output's gradient to every sample's gradient of its parameters.

A rule is called with the operation's own arguments, after a `Use` that tells the output's gradient and where the samples lie
in it, and yields ``(parameter, term)``. A new operation is a new function in one of the files beside this one.
"""

from oga_core.gradients.rules.registry import RULES, Rule, Terms, Unsupported, Use, rule

# What follows registers its rules on import.
from oga_core.gradients.rules import convolution, elementwise, embedding, expansion, linear, normalization  # isort: skip

__all__ = [
    "RULES",
    "Rule",
    "Terms",
    "Unsupported",
    "Use",
    "convolution",
    "elementwise",
    "embedding",
    "expansion",
    "linear",
    "normalization",
    "rule",
]
