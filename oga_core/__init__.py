"""OGA: find the training samples that hurt a deep model (Outlier Gradient Analysis, arXiv 2405.03869)."""

import sys


class _Package(type(sys)):  # type: ignore[misc]
    """This package until something of it is used.

    The public names cost milliseconds, in which Ctrl+C would show a traceback. The entry point of the command uses none of them.
    """

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        return getattr(_attach(), name)

    def __dir__(self):  # type: ignore[no-untyped-def]
        return dir(_attach())

    def __setattr__(self, name, value):  # type: ignore[no-untyped-def]
        if name in ("__class__", "command"):
            super().__setattr__(name, value)
        else:  # a module that has been imported and may have the name of a function
            setattr(_attach(), name, value)


def _attach():  # type: ignore[no-untyped-def]
    """Give the package its public names, which are those in ``__init__.pyi``; returns it."""
    import lazy_loader

    package = sys.modules[__name__]
    package.__class__ = type(sys)
    names = lazy_loader.attach_stub(__name__, __file__)
    package.__getattr__, package.__dir__, package.__all__ = names
    return package


sys.modules[__name__].__class__ = _Package
