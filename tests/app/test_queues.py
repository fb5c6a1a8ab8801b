"""Names of queues."""

from __future__ import annotations

import numpy as np

from app import queues
from oga_core import Run
from oga_core.review import Selection
from tests.app.routes.conftest import SELECTION


def test_equal_queues_have_one_name_and_others_another(run: Run) -> None:
    names = {
        queues.keep(run, rows, selection).name
        for rows in (np.arange(5), np.arange(6), np.arange(5)[::-1])
        for selection in (SELECTION, Selection("l2", 0.2))
    }
    assert len(names) == 6
    assert queues.keep(run, np.arange(5, dtype=np.int32), SELECTION).name in names
