"""The lowest versions of other packages that are safe to use: those in our own requirements, checked where a program starts.

They stand once, in pyproject.toml, with the known holes that they close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version

from oga_core.errors import InputError

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*>=\s*(\d+(?:\.\d+)*)(?!.*extra)")


def check_floors(requirements: Iterable[str] | None = None) -> None:
    """Refuse to continue beside a package that is older than its floor.

    Parameters
    ----------
    requirements
        ``name>=version``, as in the metadata of a package; those of an extra are passed over. By default our own.

    Raises
    ------
    InputError
        If a package is too old, or not installed.
    """
    for requirement in requires("oga-core") or () if requirements is None else requirements:
        found = _REQUIREMENT.match(requirement)
        if found is None:
            continue
        name, floor = found.groups()
        try:
            there = version(name)
        except PackageNotFoundError:
            raise InputError(f"{name} is not installed; pip install '{name}>={floor}'") from None
        if _release(there) < _release(floor):
            raise InputError(f"{name} {there} is too old: {floor} or newer is needed; pip install --upgrade '{name}>={floor}'")


def _release(written: str) -> list[int]:
    """The numbers of a version, without trailing zeros: 2.14.1+cpu is [2, 14, 1], 2.0 is [2]."""
    found = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", written)
    numbers = [int(digits) for digits in found.group(1).split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers
