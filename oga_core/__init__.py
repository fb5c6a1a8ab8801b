"""OGA: find the training samples that hurt a deep model (Outlier Gradient Analysis, arXiv 2405.03869)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
