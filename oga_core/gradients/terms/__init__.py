"""Contributions of one use of a parameter to each sample's gradient, kept as factors until the wanted results are known."""

from oga_core.gradients.terms.combined import Derived, Sum, Turned, View, combine_terms
from oga_core.gradients.terms.convolution import Convolution
from oga_core.gradients.terms.outer import Outer
from oga_core.gradients.terms.rows import Rows
from oga_core.gradients.terms.term import Dense, Term

__all__ = ["Convolution", "Dense", "Derived", "Outer", "Rows", "Sum", "Term", "Turned", "View", "combine_terms"]
