"""A finished run, and the pages on it without a browser."""

from tests.app.conftest import open_page, run, scored, workspace

__all__ = ["open_page", "run", "scored", "workspace"]
