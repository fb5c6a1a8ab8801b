"""Going through a data set in batches as large as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import torch
from torch import Tensor

from oga_core.errors import InputError
from oga_core.gradients.per_sample import PerSampleGradients
from oga_core.gradients.probe import PROBED
from oga_core.gradients.results import GradientBatch

MOST = 64
"""Largest batch on the CPU, where more samples at once are not faster."""
MOST_CUDA = 512
SHARE, SHARE_CUDA = 0.25, 0.7
"""Of the free memory that a batch may take; a GPU has it for nothing else, and says when it does not suffice."""


def in_batches(
    gradients: PerSampleGradients,
    rows: Sequence[int],
    batch_of: Callable[[Sequence[int]], tuple[Any, Tensor]],
    size: int | None = None,
) -> Iterator[tuple[Sequence[int], GradientBatch]]:
    """Norms and sketches of all samples.

    Parameters
    ----------
    gradients
        What is to be computed.
    rows
        Positions of the samples.
    batch_of
        Inputs and targets of some of them, in their order.
    size
        Samples in a batch; by default as many as fit a quarter of the free memory, at most 64 (on a GPU 0.7 of it, at most
        512). It is halved whenever memory runs out.

    Yields
    ------
    The positions of a batch, and what was found.

    Raises
    ------
    InputError
        If memory does not suffice for a single sample, or as `PerSampleGradients` does.
    """
    done, ready = 0, gradients.ready
    while done < len(rows):
        # The first batch shows what a sample takes.
        step = (size or _find_fitting(gradients)) if ready else PROBED
        if len(rows) - done - step == 1 and not ready:
            step += 1
        some = rows[done : done + max(1, step)]
        try:
            inputs, targets = batch_of(some)
            found = gradients(inputs, targets)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(some) == 1 or not ready:
                raise InputError(f"memory does not suffice for the gradients of {len(some)} samples") from error
            found = None
        if found is None:  # outside of ``except``: the error holds what was computed
            size = len(some) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        ready = True
        yield some, found
        done += len(some)


def _find_fitting(gradients: PerSampleGradients) -> int:
    device = next(gradients.module.parameters()).device
    if device.type == "cuda":
        # What torch holds without using it is free, too.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        most, available = MOST_CUDA, SHARE_CUDA * (torch.cuda.mem_get_info(device)[0] + unused)
    else:
        most, available = MOST, SHARE * _free_memory()
    return max(1, min(most, int(available) // max(1, gradients.bytes_per_sample)))


def _free_memory() -> int:
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory did not suffice."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
