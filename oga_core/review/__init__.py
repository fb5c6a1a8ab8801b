"""Decisions of the people who look at the flagged samples, and what they look at."""

from oga_core.review.card import Neighbour, Score, neighbours, scores
from oga_core.review.decisions import ACTIONS, Decision, decide, decisions, history, undo, version
from oga_core.review.selection import STATES, UNDECIDED, Selection, default_selection, inside, selected, states
from oga_core.review.views import load_view, remember_reviewer, reviewer_of, save_view

__all__ = [
    "ACTIONS",
    "STATES",
    "UNDECIDED",
    "Decision",
    "Neighbour",
    "Score",
    "Selection",
    "decide",
    "decisions",
    "default_selection",
    "history",
    "inside",
    "load_view",
    "neighbours",
    "remember_reviewer",
    "reviewer_of",
    "save_view",
    "scores",
    "selected",
    "states",
    "undo",
    "version",
]
