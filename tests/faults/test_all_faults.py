"""Each of the 17 faults has a test that injects it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {
    1: ("tests/faults/test_scoring_goes_on.py", "test_only_the_open_shard_is_done_again"),
    2: ("tests/faults/test_killed.py", "test_a_kill_while_exporting_leaves_the_old_file_whole_or_the_new_one"),
    3: ("tests/faults/test_killed.py", "test_nothing_that_was_acknowledged_is_lost_when_a_review_is_killed"),
    4: ("tests/faults/test_full_disk.py", "test_scoring_on_a_full_disk_says_how_much_it_needs_and_goes_on_when_there_is_room"),
    5: ("tests/faults/test_full_disk.py", "test_a_decision_on_a_full_disk_is_answered_as_not_saved_and_works_when_there_is_room"),
    6: ("tests/faults/test_workspace_file.py", "test_a_folder_that_cannot_be_written_is_told_at_the_start_and_can_be_looked_at"),
    7: ("tests/faults/test_killed.py", "test_a_batch_that_memory_does_not_suffice_for_is_halved_and_a_sample_alone_is_listed"),
    8: ("tests/faults/test_workspace_file.py", "test_a_clock_that_goes_back_an_hour_changes_no_order"),
    9: ("tests/faults/test_workspace_file.py", "test_two_servers_on_one_workspace_lose_nothing_and_see_one_another"),
    10: ("tests/faults/test_scoring_goes_on.py", "test_a_damaged_part_is_made_again_and_never_used"),
    11: ("tests/faults/test_scoring_goes_on.py", "test_a_damaged_result_is_never_shown_and_can_be_made_again"),
    12: ("tests/faults/test_workspace_file.py", "test_a_damaged_file_is_only_read_and_left_as_it_is_and_the_backup_is_offered"),
    13: ("tests/faults/test_worker_is_killed.py", "test_a_killed_worker_is_told_on_the_page_and_goes_on_at_a_click"),
    14: ("tests/browser/test_review_faults.py", "test_a_server_that_is_gone_is_told_and_the_review_goes_on_when_it_is_back"),
    15: ("tests/faults/test_workspace_file.py", "test_a_decision_from_a_page_that_had_not_seen_the_last_one_is_found"),
    16: ("tests/faults/test_workspace_file.py", "test_a_kill_at_any_statement_of_a_migration_leaves_the_old_version_whole"),
    17: ("tests/faults/test_scoring_goes_on.py", "test_data_that_changed_under_a_broken_run_stop_it"),
}
"""The number of each in ROBUSTNESS.md, and where it is injected."""


def test_there_are_seventeen() -> None:
    assert list(FAULTS) == list(range(1, 18))


@pytest.mark.parametrize("number", FAULTS)
def test_the_test_of_each_fault_is_there(number: int) -> None:
    path, name = FAULTS[number]
    found = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in found.body if isinstance(node, ast.FunctionDef)}
