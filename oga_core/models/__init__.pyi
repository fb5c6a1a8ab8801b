from .architectures import architectures as architectures
from .classifier import Classifier as Classifier
from .language_model import LanguageModel as LanguageModel, language_model as language_model
from .loader import class_mapping as class_mapping, label_indices as label_indices, load_model as load_model, wrap as wrap
from .training import (
    TrainedModel as TrainedModel,
    make_untrained as make_untrained,
    schedule as schedule,
    starter_for as starter_for,
    train as train,
)
from .weights import save_weights as save_weights
