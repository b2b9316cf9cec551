"""Where records are found: an open-addressing index of nodes, and pools of unused records."""

from kaiju_sim.engine.layout import Arr, Rec
from kaiju_sim.rng import mix


def home(stream: int, start: int, mask: int) -> int:
    """First slot to look at for (stream, start)."""
    low = stream & 0xFFFFFFFF
    high = (stream >> 32) * 0x2545F491 & 0xFFFFFFFF
    return mix(low ^ high ^ (start * 0x1B873593 & 0xFFFFFFFF)) & mask


def find(nodes: Arr, index: Arr, stream: int, start: int) -> int:
    """The node that starts at block `start` of `stream`, or -1."""
    mask = index.size - 1
    j = home(stream, start, mask)
    while True:
        x = int(index[j])
        if x < 0 or (nodes[x].stream == stream and nodes[x].start == start):
            return x
        j = (j + 1) & mask


def index_add(nodes: Arr, index: Arr, x: int) -> None:
    """Enter node x."""
    mask = index.size - 1
    j = home(int(nodes[x].stream), int(nodes[x].start), mask)
    while index[j] >= 0:
        j = (j + 1) & mask
    index[j] = x


def index_remove(nodes: Arr, index: Arr, x: int) -> None:
    """Remove node x and close the gap, so that no tombstones are needed."""
    mask = index.size - 1
    j = home(int(nodes[x].stream), int(nodes[x].start), mask)
    while index[j] != x:
        j = (j + 1) & mask
    i = j
    while True:
        i = (i + 1) & mask
        y = int(index[i])
        if y < 0:
            break
        wanted = home(int(nodes[y].stream), int(nodes[y].start), mask)
        if ((i - wanted) & mask) >= ((i - j) & mask):
            index[j] = y
            j = i
    index[j] = -1


def pool_take(pool: Rec, records: Arr) -> int:
    """An unused record; past the capacity, record 0 and `overrun` is set (checked outside)."""
    pool.live += 1
    pool.peak = max(pool.peak, pool.live)
    x = int(pool.spare)
    if x >= 0:
        pool.spare = records[x].newer
        return x
    x = int(pool.used)
    if x >= records.size:
        pool.overrun = 1
        return 0
    pool.used += 1
    return x


def pool_give(pool: Rec, records: Arr, x: int) -> None:
    """Return a record."""
    records[x].newer = pool.spare
    pool.spare = x
    pool.live -= 1
