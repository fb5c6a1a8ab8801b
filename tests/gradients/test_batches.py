"""Going through a data set: every sample once, in batches that fit."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients, batches, in_batches, join_batches
from tests.gradients.one_sample import assert_alike, norms_alone

N, CLASSES = 150, 3
Batches = Callable[[Sequence[int]], tuple[Tensor, Tensor]]


class Hungry(nn.Module):
    """A model whose memory is enough for so many samples."""

    def __init__(self, enough: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
        self.enough, self.error = enough, error or torch.OutOfMemoryError("out of memory")
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.enough:
            raise self.error
        out: Tensor = self.layers(x)
        return out


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With more, each takes a part of the batch, and less memory is enough."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(N, 4, dtype=torch.float64), torch.arange(N) % CLASSES


def reader(data: tuple[Tensor, Tensor]) -> Batches:
    return lambda rows: (data[0][list(rows)], data[1][list(rows)])


def gone_through(module: nn.Module, data: tuple[Tensor, Tensor], rows: Sequence[int] | None = None, **options: Any) -> list[int]:
    """The sizes of the batches, once it is seen that every sample came once, in order, with its own norm."""
    rows = range(N) if rows is None else rows
    engine = PerSampleGradients(module, width=0)
    seen, found, sizes = [], [], []
    for some, batch in in_batches(engine, rows, reader(data), **options):
        assert batch.l2 is not None
        assert len(some) == len(batch.l2)
        seen += list(some)
        found.append(batch)
        sizes.append(len(some))
    assert seen == list(rows)
    true = norms_alone(module, *reader(data)(rows))
    assert_alike(join_batches(found), true, engine, 1e-9)
    return sizes


def test_every_sample_comes_once_and_in_order_in_batches_of_64_after_a_small_one(data: tuple[Tensor, Tensor]) -> None:
    assert gone_through(Hungry(N), data) == [5, 64, 64, 17]


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_a_size_can_be_given(data: tuple[Tensor, Tensor], size: int) -> None:
    sizes = gone_through(Hungry(N), data, size=size)
    assert set(sizes[1:-1]) <= {size}
    assert sizes[-1] <= max(size, 5)


@pytest.mark.parametrize("n", [2, 3, 5, 6, 7, 11])
def test_few_samples_come_once_too(data: tuple[Tensor, Tensor], n: int) -> None:
    assert sum(gone_through(Hungry(N), data, range(n))) == n


def test_rows_may_be_any_and_in_any_order(data: tuple[Tensor, Tensor]) -> None:
    gone_through(Hungry(N), data, [9, 3, 77, 3, 149, 0, 50, 51], size=3)


def test_no_rows_give_no_batch(data: tuple[Tensor, Tensor]) -> None:
    assert list(in_batches(PerSampleGradients(Hungry(N)), [], reader(data))) == []


def test_as_many_samples_as_fit_a_quarter_of_the_free_memory_make_a_batch(
    data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Hungry(N)
    engine = PerSampleGradients(module, width=0)
    engine.prepare(*reader(data)(range(5)))
    assert engine.bytes_per_sample >= 8 * (6 + CLASSES)
    monkeypatch.setattr(batches, "_free_memory", lambda: 4 * 20 * engine.bytes_per_sample)
    assert [len(rows) for rows, _ in in_batches(engine, range(50), reader(data))] == [20, 20, 10]
    monkeypatch.setattr(batches, "_free_memory", lambda: 0)
    assert [len(rows) for rows, _ in in_batches(engine, range(3), reader(data))] == [1, 1, 1]


def test_what_layers_outside_of_the_scope_keep_for_the_backward_pass_counts(data: tuple[Tensor, Tensor]) -> None:
    """Of adapters little is seen: what lies behind them takes the memory."""
    wide = [layer for _ in range(6) for layer in (nn.Linear(400, 400), nn.Tanh())]
    module = nn.Sequential(nn.Linear(4, 400), *wide, nn.Linear(400, CLASSES)).double()
    engine = PerSampleGradients(module, "0.*", width=0)
    engine.prepare(*reader(data)(range(5)))
    kept = 8 * 400 * 6
    assert kept < engine.bytes_per_sample < 10 * kept  # and no layer's own values
    last = PerSampleGradients(module, "13.*", width=0)
    last.prepare(*reader(data)(range(5)))
    assert last.bytes_per_sample < kept


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_batch_is_halved_until_it_fits(data: tuple[Tensor, Tensor], error: BaseException) -> None:
    sizes = gone_through(Hungry(20, error), data)
    assert sizes[0] == 5
    assert set(sizes[1:-1]) == {16}


def test_what_a_batch_that_did_not_fit_had_computed_is_let_go_before_the_next(data: tuple[Tensor, Tensor]) -> None:

    held: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Watched(Hungry):
        def forward(self, x: Tensor) -> Tensor:
            alive.append(sum(ref() is not None for ref in held))
            h = self.layers[1](self.layers[0](x))
            held.append(weakref.ref(h))
            if len(x) > self.enough:
                raise torch.OutOfMemoryError("out of memory")  # not one that is kept: it would hold what led to it
            out: Tensor = self.layers[2](h)
            return out

    module = Watched(20)
    engine = PerSampleGradients(module, width=0)
    engine.prepare(*reader(data)(range(5)))
    gc.collect()
    gc.disable()
    try:
        held.clear()
        alive.clear()
        assert len(list(in_batches(engine, range(64), reader(data)))) == 4
        assert alive == [0] * 6
    finally:
        gc.enable()


def test_memory_that_does_not_suffice_for_one_sample_is_told(data: tuple[Tensor, Tensor]) -> None:
    module = Hungry(N)
    engine = PerSampleGradients(module, width=0)
    engine.prepare(*reader(data)(range(5)))
    module.enough, module.sizes = 0, []
    with pytest.raises(InputError, match="memory does not suffice for the gradients of 1 samples"):
        list(in_batches(engine, range(9), reader(data), size=8))
    assert module.sizes == [8, 4, 2, 1]


def test_memory_that_does_not_suffice_for_the_probe_is_told(data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match="memory does not suffice for the gradients of 5 samples"):
        list(in_batches(PerSampleGradients(Hungry(1)), range(9), reader(data)))


def test_any_other_error_is_the_callers(data: tuple[Tensor, Tensor]) -> None:
    for error in (RuntimeError("shapes cannot be multiplied"), ValueError("no"), KeyError("x")):
        module = Hungry(0, error)
        with pytest.raises(type(error), match=re.escape(str(error))):
            list(in_batches(PerSampleGradients(module), range(9), reader(data)))
