"""Reviewers: an identity, which never changes, and a name, which people choose."""

from __future__ import annotations

from typing import NamedTuple

from oga_core.errors import InputError
from oga_core.runs import Workspace, database
from oga_core.runs.database import browser_identity

LONGEST_NAME = 80
"""Characters of a reviewer's name."""
LOGIN = "login:"
"""Prefix of the identity of somebody who has logged in."""


class Reviewer(NamedTuple):
    """A reviewer. Claims, undo, conflicts and disputes go by the identity: two people may have the same name.

    Attributes
    ----------
    identity
        A browser (`browser_reviewer`), a login (`login_reviewer`) or, from Python, the name itself.
    name
        What people see. Empty where none was entered yet.
    """

    identity: str
    name: str


def as_identity(reviewer: str | Reviewer) -> str:
    """Return the identity of a reviewer, who may have no name yet."""
    return reviewer.strip() if isinstance(reviewer, str) else reviewer.identity


def as_reviewer(reviewer: str | Reviewer) -> Reviewer:
    """Return a reviewer; a name that is given in Python or on the command line is its own identity.

    Raises
    ------
    InputError
        If the name or the identity is empty.
    """
    if isinstance(reviewer, str):
        reviewer = Reviewer(as_identity(reviewer), reviewer.strip())
    if not reviewer.name.strip() or not reviewer.identity:
        raise InputError("a decision needs a reviewer: enter your name")
    return reviewer


def browser_reviewer(workspace: Workspace, cookie: str) -> Reviewer:
    """Return the reviewer behind a browser's cookie, with the name last entered in it, in any tab."""
    identity = browser_identity(cookie)
    with database.reading(workspace.database) as connection:
        row = connection.execute("SELECT name FROM reviewers WHERE identity = ?", (identity,)).fetchone()
    return Reviewer(identity, str(row["name"]) if row is not None else "")


def login_reviewer(name: str) -> Reviewer:
    """Return the reviewer who has logged in under a name, in any browser."""
    return Reviewer(LOGIN + name, name)


def name_reviewer(workspace: Workspace, identity: str, name: str) -> None:
    """Keep the name that was entered for an identity. Earlier decisions keep the name they were made under.

    Raises
    ------
    InputError
        If the name is empty or longer than `LONGEST_NAME`, or nothing can be saved.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise InputError(f"a reviewer needs a name of 1 to {LONGEST_NAME} characters")
    with database.writing(workspace.database) as connection:
        connection.execute("INSERT OR REPLACE INTO reviewers (identity, name) VALUES (?, ?)", (identity, name))
