"""The seam's operator bench: one operator of one shape at a time is held ready."""

from collections.abc import Callable, Mapping, Sequence

import torch

from calibrate.gpu.operators.attention import by_chunk, by_context
from calibrate.gpu.operators.inputs import Bed
from calibrate.gpu.operators.replay import Call, Replay, Timer, timer_for
from calibrate.gpu.operators.rows import by_rows, by_seqs
from kernels.model.model import KaijuModel
from kernels.model.steps.cache import KVCache

Sizes = dict[str, int]
Make = Callable[[Sizes], Sequence[Call]]


def makers(bed: Bed) -> dict[str, Make]:
    """Every operator's name, and what makes its calls from a shape."""
    known: dict[str, Make] = {}
    for table, keys in ((by_rows(bed), ("rows",)), (by_seqs(bed), ("seqs",))):
        known |= _keyed(table, keys)
    known |= _keyed(by_context(bed), ("batch", "context"))
    return known | _keyed(by_chunk(bed), ("new", "cached"))


def _keyed(
    table: Mapping[str, Callable[..., Sequence[Call]]], keys: Sequence[str]
) -> dict[str, Make]:
    def of(make: Callable[..., Sequence[Call]]) -> Make:
        return lambda sizes: make(*(sizes[key] for key in keys))

    return {name: of(make) for name, make in table.items()}


class TorchOperators:
    """The seam's `OperatorBench`, on a loaded model, or one rank's share of it, and its cache.

    Takes the memory of one operator's inputs, some 600 MB at most, from what the two leave free;
    K and V in the cache are overwritten. `all_reduce(rows)` says how long one sum over the ranks
    takes; None on a single GPU.
    """

    def __init__(
        self, model: KaijuModel, cache: KVCache, seed: int = 0,
        all_reduce: Callable[[int], float] | None = None,
    ) -> None:  # fmt: skip
        self._makers = makers(Bed(model, cache, seed))
        self._timer: Timer = timer_for(model.device)
        self._reduce = all_reduce
        self._ready: Replay | None = None
        self._key: tuple[str, tuple[tuple[str, int], ...]] | None = None
        self.prepared = 0
        """How many shapes have been made ready."""

    def names(self) -> tuple[str, ...]:
        """Of the operators that the model has."""
        return (*self._makers, *(("all_reduce",) if self._reduce else ()))

    @torch.no_grad()
    def run(self, operator: str, shape: dict[str, int]) -> float:
        """Seconds of one call. The first of a shape prepares it and gives back what the shape
        before it held. ValueError for an operator that the model does not have."""
        if operator == "all_reduce" and self._reduce is not None:
            return self._reduce(shape["rows"])
        if operator not in self._makers:
            raise ValueError(f"operator: is {operator!r}, must be one of {', '.join(self.names())}")
        key = (operator, tuple(sorted(shape.items())))
        if self._ready is None or key != self._key:
            self.close()
            self._ready = self._timer.prepare(self._makers[operator](shape))
            self._key = key
            self.prepared += 1
        return self._ready.seconds()

    def close(self) -> None:
        """Give the memory of the last shape back."""
        if self._ready is not None:
            self._ready, self._key = None, None
            self._timer.release()
