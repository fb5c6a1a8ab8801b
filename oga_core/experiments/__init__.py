"""The paper's experiments (arXiv 2405.03869), with the faults of its published code mended: ``oga reproduce``."""

from oga_core.experiments.reproduce import EXPERIMENTS, Experiment, reproduce

__all__ = ["EXPERIMENTS", "Experiment", "reproduce"]
