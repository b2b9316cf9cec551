"""One step of an engine as the device sees it: rows of tokens, what each sees, where KV goes.

Rows are decode rows first, one for each sequence that decodes, then the rows of prefill chunks, one
after the other. A step is padded to a number of rows that a CUDA graph was captured for; padding
writes no KV and no result. `StepInputs` are the tensors that such a graph reads, views of one
buffer: `fill` writes the host's side of it, `send` copies it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig

Ints = NDArray[np.int32]

ALIGN = 64
"""Each tensor begins at a multiple of so many integers: kernels are compiled for aligned ones."""


@dataclass(frozen=True)
class DecodeRows:
    """Sequences that decode, one row each."""

    tokens: Ints
    """`[n]`, the newest token of each; -1 - i: the one that the step before drew for its i-th
    sampled sequence, which only the device knows while that step runs."""
    limit: Ints
    """`[n]`, how many keys each sees, its own included."""
    global_table: Ints
    """`[n, entries]`, pages of the context in order."""
    local_table: Ints
    """`[n, entries]`, pages of the local pool, at the same index; only those that the window sees
    are looked at."""
    at: NDArray[np.int64] | None = None
    """`[n]`, their rows of the tables, if not the first, the second and so on: an engine need
    not gather them."""


@dataclass(frozen=True)
class Chunk:
    """A piece of one prompt."""

    tokens: Ints
    """`[n]`."""
    cached: int
    """Tokens of the sequence before it, whose KV is there."""
    global_table: Ints
    """`[entries]`."""
    local_table: Ints
    """`[entries]`."""
    samples: int = 1
    """Tokens that are drawn from its last row: none where its prompt goes on, several where several
    candidates begin."""


def no_decodes(config: ModelConfig) -> DecodeRows:
    """For a step of prefill only."""
    none, table = np.zeros(0, np.int32), np.zeros((0, table_entries(config)), np.int32)
    return DecodeRows(none, none, table, table)


@dataclass(frozen=True)
class Step:
    """What an engine asks a model to do at once."""

    decodes: DecodeRows
    chunks: Sequence[Chunk] = ()

    @property
    def rows(self) -> int:
        """Token rows."""
        return len(self.decodes.tokens) + sum(len(c.tokens) for c in self.chunks)

    @property
    def samples(self) -> int:
        """Tokens that it gives."""
        return len(self.decodes.tokens) + sum(c.samples for c in self.chunks)

    @property
    def sampled_rows(self) -> Ints:
        """The row of each token that it gives: decodes in order, then ends of prompts."""
        decodes = len(self.decodes.tokens)
        ends = decodes + np.cumsum([len(c.tokens) for c in self.chunks], dtype=np.int32) - 1
        own = np.repeat(ends, np.array([c.samples for c in self.chunks], np.int64))
        return np.concatenate([np.arange(decodes), own]).astype(np.int32)


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn, as in `kernels.sampling`; all `[samples]`."""

    temperature: NDArray[np.float32]
    """0: greedy."""
    seed: NDArray[np.int64]
    """Of the sequence."""
    step: NDArray[np.int32]
    """Number of the token in its sequence."""

    @classmethod
    def greedy(cls, count: int) -> "Draws":
        """The likeliest token of each."""
        zeros = np.zeros(count, np.int32)
        return cls(zeros.astype(np.float32), zeros.astype(np.int64), zeros)


CLASSES = (16, 64, 128, 192, 256, 384, 512)
"""Rows of the smaller shapes; above, multiples of `CLASS_STEP`."""
CLASS_STEP = 128


def padded_rows(rows: int) -> int:
    """Rows of the shape that serves so many.

    The shapes are those for which the products' tiles are made: a product takes less time for 192
    rows than for 144 (docs/kernels-log.md). So a step's time never falls as rows are added, and
    there are few graphs.
    """
    fitting = [size for size in CLASSES if size >= rows]
    return fitting[0] if fitting else -(-rows // CLASS_STEP) * CLASS_STEP


class Shape(NamedTuple):
    """What a captured step is for: at most so many."""

    rows: int
    """Token rows, padding included."""
    decodes: int
    """Sequences that decode."""
    chunks: int
    """Prefill chunks."""

    @property
    def samples(self) -> int:
        """Tokens that it may give."""
        return padded_rows(self.decodes + self.chunks)


def table_entries(config: ModelConfig) -> int:
    """Entries of a page table: pages of the longest sequence."""
    return -(-config.max_context // PAGE)


class StepInputs:
    """The integers of a step of one shape, on the device, by name:

    - of rows `[rows]`: `tokens`, `positions`, `global_slots`, `local_slots`; with chunks also
      `global_start`, `local_start` and `limit`, of which only prefill rows are looked at;
    - of decodes `[decodes]`: `decode_limit`, `decode_global_start`, `decode_local_start`, and
      `[decodes, entries]` `decode_global_table`, `decode_local_table`;
    - of chunks: `cu_q` `[chunks + 1]`, `global_table` and `local_table` `[chunks, entries]`;
    - of samples: `sampled` `[4, samples]` (row, or -1; active; number of the token; bits of the
      temperature) and `sampled_seed` `[2 * samples]` (bits of int64).

    Models without local layers have no local ones. `fill` may be called while a step of the same
    shape runs: it writes one of two sets beside, and has that brought to the device.
    """

    def __init__(self, shape: Shape, config: ModelConfig, device: torch.device | str) -> None:
        self.shape, self._window = shape, config.window
        places = _places(shape, table_entries(config), self.kinds)
        size = sum(_aligned(dims) for dims in places.values())
        self._device = torch.zeros(size, dtype=torch.int32, device=device)
        self._sets = [_Set(size, self._device.device, places) for _ in range(2)]
        self._turn = 0
        self._on_host = self._sets[0].views
        self._on_device = _views(self._device, places)
        for kind in self.kinds:  # nothing is written until a step is loaded
            self[f"{kind}_slots"].fill_(-1)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._on_device[name]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The pools that the model has."""
        return ("global",) if self._window is None else ("global", "local")

    def fill(self, step: Step, draws: Draws | None = None) -> int:
        """Put a step into one of the two sets, for `send`: an engine does it while the step before
        runs. Tokens are drawn greedily if nothing is said."""
        assert step.rows <= self.shape.rows, "the caller chose too small a shape"
        self._turn = 1 - self._turn
        mine = self._sets[self._turn]
        mine.wait()
        self._on_host = host = mine.views
        self._load_decodes(step.decodes)
        if self.shape.chunks:
            self._load_chunks(step)
        for kind in self.kinds:
            host[f"{kind}_slots"][step.rows :] = -1
        rows = step.sampled_rows
        self._load_draws(rows, draws or Draws.greedy(len(rows)))
        return self._turn

    def send(self, turn: int) -> None:
        """Put a set in place, in the order of the stream."""
        self._sets[turn].copy_to(self._device)

    def _start(self, kind: str, limit: Ints) -> Ints | int:
        """The first key that a token sees which sees those before `limit`."""
        return 0 if kind == "global" else np.maximum(limit - (self._window or 0), 0)

    def _load_decodes(self, rows: DecodeRows) -> None:
        host, count = self._on_host, len(rows.tokens)
        position = rows.limit - 1
        page, offset = position // PAGE, position % PAGE
        at = np.arange(count) if rows.at is None else rows.at
        host["tokens"][:count] = rows.tokens
        host["positions"][:count] = position
        host["decode_limit"][:count] = rows.limit
        host["decode_limit"][count:] = 0
        for kind in self.kinds:
            table = rows.global_table if kind == "global" else rows.local_table
            # The mode spares a second copy; the rows are there.
            np.take(table, at, axis=0, out=host[f"decode_{kind}_table"][:count], mode="clip")
            host[f"decode_{kind}_start"][:count] = self._start(kind, rows.limit)
            host[f"decode_{kind}_start"][count:] = 0
            host[f"{kind}_slots"][:count] = table[at, page] * PAGE + offset

    def _load_chunks(self, step: Step) -> None:
        host, at = self._on_host, len(step.decodes.tokens)
        for i, chunk in enumerate(step.chunks):
            rows = slice(at, at + len(chunk.tokens))
            position = np.arange(chunk.cached, chunk.cached + len(chunk.tokens), dtype=np.int32)
            host["tokens"][rows], host["positions"][rows] = chunk.tokens, position
            host["limit"][rows] = position + 1
            for kind in self.kinds:
                table = chunk.global_table if kind == "global" else chunk.local_table
                host[f"{kind}_table"][i] = table
                host[f"{kind}_start"][rows] = self._start(kind, position + 1)
                host[f"{kind}_slots"][rows] = table[position // PAGE] * PAGE + position % PAGE
            host["cu_q"][i], at = at, rows.stop
        host["cu_q"][len(step.chunks) :] = at

    def _load_draws(self, rows: Ints, draws: Draws) -> None:
        sampled, count = self._on_host["sampled"], len(rows)
        sampled[0].fill(-1)
        sampled[1:].fill(0)
        sampled[0, :count] = rows
        sampled[1, :count] = 1
        sampled[2, :count] = draws.step
        sampled[3].view(np.float32)[:count] = draws.temperature
        self._on_host["sampled_seed"].view(np.int64)[:count] = draws.seed


class _Set:
    """The integers of a step on the host, pinned where there is a GPU.

    They go to the device in the stream of steps, when the step is launched: its few hundred KB take
    10 to 20 us there. On a stream of their own they would take less of the GPU's time, but 0.15 ms
    more of the host's, in each step (measured: docs/fidelity.md).
    """

    def __init__(
        self, size: int, device: torch.device, places: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._is_gpu = device.type == "cuda"
        self._host = torch.zeros(size, dtype=torch.int32, pin_memory=self._is_gpu)
        self.views = {k: v.numpy() for k, v in _views(self._host, places).items()}
        self._read = torch.cuda.Event() if self._is_gpu else None

    def wait(self) -> None:
        """Until they have been read, so that they may be written again."""
        if self._read is not None:
            self._read.synchronize()

    def copy_to(self, target: torch.Tensor) -> None:
        """Copy the integers to the device, in the order of the current stream."""
        target.copy_(self._host, non_blocking=True)
        if self._read is not None:
            self._read.record()


def _places(shape: Shape, entries: int, kinds: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    of_rows = ["tokens", "positions", *(f"{kind}_slots" for kind in kinds)]
    of_decodes = ["decode_limit", *(f"decode_{kind}_start" for kind in kinds)]
    if shape.chunks:
        of_rows += ["limit", *(f"{kind}_start" for kind in kinds)]
    places: dict[str, tuple[int, ...]] = dict.fromkeys(of_rows, (shape.rows,))
    places |= dict.fromkeys(of_decodes, (shape.decodes,))
    places |= {f"decode_{kind}_table": (shape.decodes, entries) for kind in kinds}
    if shape.chunks:
        places |= {"cu_q": (shape.chunks + 1,)}
        places |= {f"{kind}_table": (shape.chunks, entries) for kind in kinds}
    return places | {"sampled": (4, shape.samples), "sampled_seed": (2 * shape.samples,)}


def _aligned(dims: tuple[int, ...]) -> int:
    return -(-int(np.prod(dims)) // ALIGN) * ALIGN


def _views(buffer: torch.Tensor, places: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    views, at = {}, 0
    for name, dims in places.items():
        views[name] = buffer[at : at + int(np.prod(dims))].view(dims)
        at += _aligned(dims)
    return views
