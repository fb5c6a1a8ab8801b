"""Scoring: every sample's gradient and loss in one pass, then the detectors; the result is a run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
