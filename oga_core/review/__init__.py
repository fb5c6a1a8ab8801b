"""Decisions of the people who look at the flagged samples, and what they look at."""

from oga_core.review.agreement import agreement, others_decide
from oga_core.review.claims import claim
from oga_core.review.clusters import clusters
from oga_core.review.decision import Decision, Word
from oga_core.review.decisions import DECISIONS, count_decisions, decide, decisions, history, redo, undo, version
from oga_core.review.lasso import inside
from oga_core.review.layer_shares import layer_shares
from oga_core.review.orders import ORDERS
from oga_core.review.pace import Pace, pace
from oga_core.review.reviewers import Reviewer, browser_identity, browser_reviewer, login_reviewer, name_reviewer
from oga_core.review.selection import Selection, arrange_rows, default_selection, select_rows
from oga_core.review.standing import STATES, UNDECIDED, Standing, standing_of
from oga_core.review.token_losses import token_losses
from oga_core.review.views import (
    forget_view,
    list_views,
    load_view,
    name_view,
    save_view,
)
from oga_core.review.why import Neighbour, Number, Probability, Why, why

__all__ = [
    "DECISIONS",
    "ORDERS",
    "STATES",
    "UNDECIDED",
    "Decision",
    "Neighbour",
    "Number",
    "Pace",
    "Probability",
    "Reviewer",
    "Selection",
    "Standing",
    "Why",
    "Word",
    "agreement",
    "arrange_rows",
    "browser_identity",
    "browser_reviewer",
    "claim",
    "clusters",
    "count_decisions",
    "decide",
    "decisions",
    "default_selection",
    "forget_view",
    "history",
    "inside",
    "layer_shares",
    "list_views",
    "load_view",
    "login_reviewer",
    "name_reviewer",
    "name_view",
    "others_decide",
    "pace",
    "redo",
    "save_view",
    "select_rows",
    "standing_of",
    "token_losses",
    "undo",
    "version",
    "why",
]
