"""Decisions of the people who look at the flagged samples."""

from oga_core.review.decisions import ACTIONS, Decision, decide, decisions, history, undo, version

__all__ = ["ACTIONS", "Decision", "decide", "decisions", "history", "undo", "version"]
