"""Architectures, safe loading of weights, and starter models."""

from oga_core.models.architectures import architectures
from oga_core.models.classifier import Classifier
from oga_core.models.language_model import LanguageModel, language_model
from oga_core.models.loader import class_mapping, label_indices, load_model, wrap
from oga_core.models.training import TrainedModel, schedule, starter_for, train, untrained
from oga_core.models.weights import save_weights

__all__ = [
    "Classifier",
    "LanguageModel",
    "TrainedModel",
    "architectures",
    "class_mapping",
    "label_indices",
    "language_model",
    "load_model",
    "save_weights",
    "schedule",
    "starter_for",
    "train",
    "untrained",
    "wrap",
]
