"""Check of the sizes in a model's configuration, before the library builds a model from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from oga_core.errors import InputError
from oga_core.limits import CLASSES
from oga_core.model_files import CONFIG

COUNTED = re.compile(r"layer|depth|block|stage|expert|head|(^|_)num_|^n_(?!positions|ctx|vocab)")
"""Settings that say how many of something a model has: loops run so often."""
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
"""Settings of which at least one is needed: a model without a layer has an answer, too, and weights are then left out."""
MOST_REPEATS, MOST_SIZE = 100_000, 1 << 40
"""Largest number in such a setting, and in any other (the base of rotary positions is in the billions)."""


def check_sizes(name: str, settings: Mapping[str, Any], above: str = "") -> None:
    """Refuse numbers in the settings that a loop of transformers would count up to, or that count less than nothing.

    Parameters
    ----------
    name
        Of the model's folder, for the message.
    settings
        What its ``config.json`` holds, or a part of it, whose place is ``above``.

    Raises
    ------
    InputError
        If a setting, or a number in its list, is out of range.
    """
    for key, value in settings.items():
        if isinstance(value, dict):
            check_sizes(name, value, f"{above}{key}.")
        if key.endswith(("eps", "epsilon")) and isinstance(value, str):
            raise InputError(f"{name}: {CONFIG} sets {above}{key} to {value[:30]!r}; a number is needed")
        counted = COUNTED.search(key)
        most = CLASSES.value if "label" in key else MOST_REPEATS if counted else MOST_SIZE
        least = 1 if key in LAYERS else 0 if counted else -math.inf
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, (int, float)) or isinstance(number, bool):
                continue
            if not abs(number) <= most:
                raise InputError(f"{name}: {CONFIG} sets {above}{key} to {str(number)[:30]}; at most {most:,} is taken")
            if number < least:
                raise InputError(f"{name}: {CONFIG} sets {above}{key} to {number}; at least {least} is needed")
