"""Reads ServeGen's fits (github.com/alibaba/ServeGen, Apache-2.0; arXiv:2505.09999).

No requests are published, only fits per client: for each window of ten minutes its rate and the law
of its gaps (Gamma or Weibull), and for each window of six hours histograms of input and output
tokens. Two Parquet files: NAME.trace.parquet (client, timestamp, rate, cv, pattern, param1, param2)
and NAME.dataset.parquet (client, window, field, value, prob). The lengths of some clients, the
busiest among them, are not published: they borrow those of the client nearest in mean rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.files.columns import Kind, Table, parquet_columns
from kaiju_sim.workload.traces.files.source import Source, digest, open_source
from kaiju_sim.workload.traces.model import Ints, Limits, RowError

Floats = NDArray[np.float64]

TRACE, DATASET = ".trace.parquet", ".dataset.parquet"
WINDOW_S = 600
"""Length of a window of rates, seconds."""
LENGTH_WINDOW_S = 21_600
"""Length of a window of lengths, seconds."""
SILENT, GAMMA, WEIBULL = range(3)
INPUT, OUTPUT = "input_tokens", "output_tokens"

_LAWS = {"": SILENT, "Gamma": GAMMA, "Weibull": WEIBULL}
_SHAPES = {SILENT: (-np.inf, np.inf), GAMMA: (1e-4, 1e6), WEIBULL: (0.05, 1e3)}
"""Shapes that can be drawn: a Weibull of a smaller one has gaps beyond any number."""
_MOST_WINDOWS = 60 * 144
_MOST_CLIENTS = 100_000
_MOST_CELLS = 20_000_000
_MOST_RATE = 1e6
_MOST_TOKENS = 1e8


class Histogram(NamedTuple):
    """Lengths and the running sum of their probabilities, up to 1."""

    values: Ints
    cumulative: Floats


class Lengths(dict[tuple[int, int, str], Histogram]):
    """(client number, window of six hours, field) -> lengths."""

    def __init__(self, found: Mapping[tuple[int, int, str], Histogram]) -> None:
        super().__init__(found)
        self._windows: dict[tuple[int, str], list[int]] = {}
        for client, window, field in sorted(found):
            self._windows.setdefault((client, field), []).append(window)

    @property
    def clients(self) -> list[int]:
        """Clients that have any."""
        return sorted({client for client, _ in self._windows})

    def nearest(self, client: int, window: int, field: str) -> Histogram:
        """Lengths of a client in a window, or in the nearest one that it has."""
        windows = self._windows[client, field]
        return self[client, min(windows, key=lambda other: (abs(other - window), other)), field]


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """The fits of one service; arrays have a row per client and a column per window."""

    name: str
    sha256: str
    clients: Ints
    """Numbers of the clients, in order."""
    rate: Floats
    """Requests per second."""
    law: NDArray[np.int8]
    """`SILENT`, `GAMMA` or `WEIBULL`."""
    shape: Floats
    """Shape of the law of the gaps; its scale follows from the rate."""
    cv: Floats
    """Standard deviation over mean of the gaps, as published."""
    lengths: Lengths
    """Tokens in and out."""

    @property
    def windows(self) -> int:
        """Windows of ten minutes."""
        return int(self.rate.shape[1])

    def donors(self) -> list[int]:
        """For each row, the client whose lengths it has: its own, or the nearest by mean rate."""
        known = np.array(self.lengths.clients)
        mean = self.rate.mean(axis=1)
        away = np.abs(mean[np.searchsorted(self.clients, known)][None, :] - mean[:, None])
        away[np.isin(self.clients, known)[:, None] & (self.clients[:, None] == known)] = -1
        return [int(client) for client in known[np.argmin(away, axis=1)]]


def is_servegen(path: str, format: str) -> bool:
    """Whether the path is to be read as ServeGen fits: by the stated format, or by its name."""
    by_name = path.endswith((TRACE, DATASET)) or (Path(path).is_dir() and bool(_pairs(Path(path))))
    return format == "servegen" or (format == "auto" and by_name)


def read_fits(path: str, limits: Limits | None = None) -> Fits:
    """Read a pair of files, named by either of them, by NAME, or by a folder with one pair."""
    limits = limits or Limits()
    stem = _stem(path)
    with open_source(stem + TRACE, limits) as source:
        try:
            table = parquet_columns(source, _TRACE_COLUMNS)
            clients, grids = _rates(table)
        except RowError as error:
            raise UserError(str(error), file=source.path, line=source.row) from None
        sha256 = digest(source)
    with open_source(stem + DATASET, limits) as source:
        try:
            lengths = _lengths(source, clients)
        except RowError as error:
            raise UserError(str(error), file=source.path, line=source.row) from None
    rate, law, shape, cv = grids
    return Fits(Path(stem).name, sha256, clients, rate, law.astype(np.int8), shape, cv, lengths)


_TRACE_COLUMNS = {
    "client": Kind.WHOLE,
    "timestamp": Kind.WHOLE,
    "rate": Kind.NUMBER,
    "cv": Kind.NUMBER,
    "pattern": Kind.WORD,
    "param1": Kind.NUMBER,
    "param2": Kind.NUMBER,
}
_DATASET_COLUMNS = {
    "client": Kind.WHOLE,
    "window": Kind.WHOLE,
    "field": Kind.WORD,
    "value": Kind.NUMBER,
    "prob": Kind.NUMBER,
}


def _pairs(folder: Path) -> list[str]:
    return sorted(str(file)[: -len(TRACE)] for file in folder.glob(f"*{TRACE}"))


def _stem(path: str) -> str:
    """The path of a pair without its endings."""
    for ending in (TRACE, DATASET):
        if path.endswith(ending):
            return path[: -len(ending)]
    if not Path(path).is_dir():
        return path
    pairs = _pairs(Path(path))
    if len(pairs) == 1:
        return pairs[0]
    names = ", ".join(Path(pair).name for pair in pairs) or "none"
    raise UserError(f"name one NAME{TRACE} of this folder; it has: {names}", file=path)


def _rates(table: Table) -> tuple[Ints, tuple[Floats, ...]]:
    """Client numbers, and grids (clients, windows) of rate, law, shape and cv."""
    client, second = table["client"], table["timestamp"]
    table.refuse((client < 0) | (client >= 2**31), "client", "a number from 0")
    wrong = (second < 0) | (second % WINDOW_S != 0) | (second >= _MOST_WINDOWS * WINDOW_S)
    table.refuse(wrong, "timestamp", f"a multiple of {WINDOW_S} s within {_MOST_WINDOWS} of them")
    rate, shape, cv = table["rate"], table["param1"], table["cv"]
    table.refuse(~((rate >= 0) & (rate <= _MOST_RATE)), "rate", "0 to 1,000,000 requests/s")
    table.refuse(~((cv >= 0) & (cv <= 1e9)), "cv", "a number of 0 or more")
    law = table.coded("pattern", _LAWS)
    table.refuse((law == SILENT) & (rate > 0), "pattern", "Gamma or Weibull where there is a rate")
    for code, (low, high) in _SHAPES.items():
        bad = (law == code) & (rate > 0) & ~((shape >= low) & (shape <= high))
        table.refuse(bad, "param1", f"a shape from {low:g} to {high:g}")
    clients, row = np.unique(client, return_inverse=True)
    _check_grid(len(clients), int(second.max()) // WINDOW_S + 1)
    place = row * (int(second.max()) // WINDOW_S + 1) + second // WINDOW_S
    _refuse_twins(table, place, "timestamp")
    grids = []
    for values in (rate, law, shape, cv):
        grid = np.zeros(len(clients) * (int(second.max()) // WINDOW_S + 1))
        grid[place] = np.where(rate > 0, values, 0)
        grids.append(grid.reshape(len(clients), -1))
    return clients, tuple(grids)


def _check_grid(clients: int, windows: int) -> None:
    if clients > _MOST_CLIENTS or clients * windows > _MOST_CELLS:
        raise RowError(f"{clients:,} clients in {windows:,} windows are too many")


def _refuse_twins(table: Table, key: Ints, column: str) -> None:
    """`RowError` for a second row of the same client and time."""
    order = np.argsort(key, kind="stable")
    twin = np.zeros(len(key), bool)
    twin[order[1:]] = key[order][1:] == key[order][:-1]
    table.refuse(twin, column, "one row for each client and time")


def _lengths(source: Source, clients: Ints) -> Lengths:
    """The histograms of all clients, windows and fields."""
    table = parquet_columns(source, _DATASET_COLUMNS)
    client, second, value, prob = (table[name] for name in ("client", "window", "value", "prob"))
    table.refuse(~np.isin(client, clients), "client", "a client of the trace file")
    wrong = (second < 0) | (second % LENGTH_WINDOW_S != 0) | (second >= 2**40)
    table.refuse(wrong, "window", f"a multiple of {LENGTH_WINDOW_S} s")
    field = table.coded("field", {INPUT: 0, OUTPUT: 1}, other=2)
    table.refuse((field < 2) & ~((value >= 0) & (value <= _MOST_TOKENS)), "value", "tokens")
    table.refuse(~((prob >= 0) & (prob <= 1.000001)), "prob", "a probability")
    wanted = np.flatnonzero(field < 2)
    window = second // LENGTH_WINDOW_S
    order = wanted[np.lexsort((value[wanted], field[wanted], window[wanted], client[wanted]))]
    keys = np.stack([client[order], window[order], field[order]], axis=1)
    starts = np.flatnonzero(np.any(np.diff(keys, axis=0, prepend=-1), axis=1))
    found: dict[tuple[int, int, str], Histogram] = {}
    for start, end in zip(starts, np.append(starts, len(order))[1:], strict=True):
        who, when, what = (int(number) for number in keys[start])
        part = order[start:end]
        total = np.cumsum(prob[part])
        if not 0.99 <= total[-1] <= 1.01:
            source.row = int(part[0]) + 1
            raise RowError(f"the probabilities of this histogram add up to {total[-1]:.4g}, not 1")
        tokens = np.maximum(1, np.rint(value[part])).astype(np.int64)
        found[who, when, (INPUT, OUTPUT)[what]] = Histogram(tokens, total / total[-1])
    _check_both(found, source)
    return Lengths(found)


def _check_both(found: Mapping[tuple[int, int, str], Histogram], source: Source) -> None:
    """`RowError` unless there are lengths, for each client in both directions."""
    into, out = ({who for who, _, what in found if what == one} for one in (INPUT, OUTPUT))
    if not into:
        source.row = None
        raise RowError(f"no lengths: field must have {INPUT} and {OUTPUT}")
    if into != out:
        source.row = None
        who = min(into ^ out)
        raise RowError(f"client {who} has not both {INPUT} and {OUTPUT}")
