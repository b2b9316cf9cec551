"""Which messages requests.parquet holds: all, or a deterministic sample of dialogues.

A dialogue is kept if the hash of its id is below a bound. Shares are powers of a half, so each
sample holds every smaller one; the hash knows the seed and the dialogue, nothing of processes or
cells.
"""

from typing import TYPE_CHECKING

import numpy as np

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr

if TYPE_CHECKING:
    import pyarrow as pa

SHARE = "results.sample_share"
ALL = 1 << 32
"""Bound below which every 32-bit hash lies."""


def hashes(table: "pa.Table", seed: int) -> Arr:
    """The hash of each row's dialogue."""
    sessions = table["session"].to_numpy()
    return np.asarray(rng.hash_of(seed, rng.SAMPLE, sessions, 0), np.int64)


def thinned_to(share: float, table: "pa.Table", seed: int) -> "pa.Table":
    """The rows of that share of the dialogues."""
    keep = hashes(table, seed) < int(share * ALL)
    return table if keep.all() else table.filter(keep)


def thinned(share: float, table: "pa.Table", seed: int, most_rows: int) -> tuple[float, "pa.Table"]:
    """The table, a sample of that share, with its share halved until it has few enough rows."""
    if table.num_rows <= most_rows:
        return share, table
    hashed = hashes(table, seed)
    while int(share * ALL) > 0 and int((hashed < int(share * ALL)).sum()) > most_rows:
        share /= 2
    return share, table.filter(hashed < int(share * ALL))
