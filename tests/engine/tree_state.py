"""What the arrays of an engine say, block by block, every link and index checked on the way."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from blocks import Block, Point

from kaiju_sim.engine.layout import NEVER, Arr, Engine
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.make import make_engine
from kaiju_sim.engine.policy.kv.index import find, home
from kaiju_sim.steptime.curves import CONTEXT_CURVES, Curves

NODE_FIELDS = ("stream", "start", "n", "hbm", "ref", "older", "newer")
WINDOW_FIELDS = ("stream", "end", "older", "newer", "next", "shared", "host")


def as_records(parts: Any) -> Any:
    """The same tuple of arrays with fields as attributes, so that policy runs as plain Python."""
    return parts._replace(
        **{
            name: value.view(np.recarray)
            for name, value in parts._asdict().items()
            if isinstance(value, np.ndarray) and value.dtype.names
        }
    )


def no_curves() -> Curves:
    """Step time, which memory does not ask for."""
    nothing, lines = np.zeros(1), np.zeros((CONTEXT_CURVES, 1))
    return Curves(
        1, 1.0, 0.0, nothing, nothing, lines, lines.copy(), np.zeros(1, np.int64), each=False
    )


def small_engine(
    *,
    blocks: int,
    requests: int = 16,
    nodes: int = 512,
    replicas: int = 2,
    stride: int = 4,
    shift: int = 2,
    windows: int = 0,
    retain: bool = False,
    prompt_ends: bool = False,
    host: tuple[int, int] = (0, 0),
    link_replicas: int = 1,
    prefix_cache: bool = True,
    cache_generated: bool = False,
) -> Engine:
    """An engine with `blocks` blocks a replica, for plain Python."""
    limits = Limits(
        replicas=replicas,
        seed=0,
        policy=0,
        token_budget=64,
        max_seqs=64,
        shift=shift,
        window=8,
        windows=windows,
        retain=2 + prompt_ends if retain else 0,
        prefix_cache=int(prefix_cache),
        cache_generated=int(cache_generated),
        stride=stride,
        ring=64,
        warm_ns=0,
        horizon_ns=0,
        segments=1,
        segment_ns=0,
        ttft_ns=0,
        paid_ttft_ns=0,
        tpot_ns=0,
        e2e_ns=0,
        priority=0,
        queue_limit=NEVER,
        shed_late=0,
        link_replicas=link_replicas,
        load_ns=10.0,
        window_load_ns=100.0,
        store_ns=20.0,
        window_store_ns=200.0,
        candidates=1,
        chunk=1,
        extra=0,
    )
    engine = make_engine(limits, no_curves(), blocks, requests=requests, nodes=nodes, host=host)
    return as_records(engine)


def chain(rows: list[SimpleNamespace], oldest: int, newest: int) -> list[int]:
    """A recency list from its oldest record, with both directions checked."""
    listed: list[int] = []
    x = oldest
    while x >= 0:
        assert rows[x].older == (listed[-1] if listed else -1)
        assert len(listed) < len(rows), "the list runs in a circle"
        listed.append(x)
        x = rows[x].newer
    assert newest == (listed[-1] if listed else -1)
    return listed


def rows_of(records: Arr, fields: tuple[str, ...], pool: Arr) -> list[SimpleNamespace]:
    """The records that were ever used, as plain integers."""
    used = int(pool["used"][0])
    columns = [np.asarray(records)[field][:used].tolist() for field in fields]
    rows = zip(*columns, strict=True)
    return [SimpleNamespace(**dict(zip(fields, row, strict=True))) for row in rows]


def spare_records(pool: Arr, records: Arr) -> list[int]:
    """Records that were used and are not any more."""
    spare: list[int] = []
    newer = np.asarray(records)["newer"].tolist()
    x = int(pool["spare"][0])
    while x >= 0:
        spare.append(x)
        assert len(spare) <= len(newer), "the spare records run in a circle"
        x = newer[x]
    return spare


def check_pool(pool: Arr, records: Arr, live: list[int]) -> None:
    """Every record that was ever used is live or spare, and the counts are right."""
    spare = spare_records(pool, records)
    assert sorted(live + spare) == list(range(int(pool["used"][0])))
    assert pool["live"][0] == len(live) <= pool["peak"][0]
    assert pool["overrun"][0] == 0


class Slots(list[int]):
    """An index as a list, which plain Python reads faster than an array."""

    @property
    def size(self) -> int:
        """Slots, empty ones too."""
        return len(self)


def live_nodes(e: Engine, nodes: list[SimpleNamespace]) -> list[int]:
    """The nodes of all replicas, each found under its own key, no record lost."""
    index = Slots(e.node_index.tolist())
    live = [x for x in index if x >= 0]
    for x in live:
        assert find(nodes, index, nodes[x].stream, nodes[x].start) == x
    check_pool(e.node_pool, e.nodes, live)
    return live


def node_blocks(node: SimpleNamespace) -> list[Block]:
    """Blocks of a node, front first."""
    assert node.n > 0
    return [(node.stream // 4096, node.start + i) for i in range(node.n)]


def blocks_of_replica(
    e: Engine, k: int, nodes: list[SimpleNamespace], live: list[int]
) -> tuple[list[Block], list[Block], dict[Block, int]]:
    """Blocks in host memory and idle ones in HBM, oldest first, and the holders of the others."""
    here = [x for x in live if nodes[x].stream % 4096 == k]
    idle = chain(nodes, int(e.caches["oldest"][k]), int(e.caches["newest"][k]))
    assert sorted(idle) == sorted(x for x in here if nodes[x].ref == 0)
    listed = [block for x in idle for block in reversed(node_blocks(nodes[x]))]
    holders: dict[Block, int] = {}
    for x in here:
        for block in node_blocks(nodes[x]):
            assert block not in holders, "a block is in two nodes"
            holders[block] = nodes[x].ref
        assert nodes[x].ref == 0 or nodes[x].hbm == nodes[x].n
    far = int(e.caches["host"][k] - e.caches["host_free"][k])
    assert len(listed) == e.caches["idle"][k] + far
    check_edge(nodes, idle, int(e.caches["edge"][k]), far)
    return listed[:far], listed[far:], {block: ref for block, ref in holders.items() if ref}


def check_edge(nodes: list[SimpleNamespace], idle: list[int], edge: int, far: int) -> None:
    """The `far` oldest idle blocks are in host memory, and `edge` is the first node that is not."""
    first = -1
    for x in idle:
        away = min(far, nodes[x].n)
        assert nodes[x].hbm == nodes[x].n - away
        far -= away
        if first < 0 < nodes[x].hbm:
            first = x
    assert edge == first


def all_blocks(e: Engine) -> list[tuple[list[Block], list[Block], dict[Block, int]]]:
    """Blocks in host memory, idle and held blocks of every replica."""
    nodes = rows_of(e.nodes, NODE_FIELDS, e.node_pool)
    live = live_nodes(e, nodes)
    assert all(nodes[x].stream % 4096 < e.limits.replicas for x in live)
    return [blocks_of_replica(e, k, nodes, live) for k in range(e.limits.replicas)]


def chained_windows(e: Engine, rows: list[SimpleNamespace]) -> list[int]:
    """The windows of all replicas, each on the chain of its stream."""
    index = e.window_index
    live: list[int] = []
    for j in np.flatnonzero(np.asarray(index) >= 0).tolist():
        x = int(index[j])
        while x >= 0:
            assert home(rows[x].stream, 0, index.size - 1) == j
            live.append(x)
            x = rows[x].next
    check_pool(e.window_pool, e.windows, live)
    return live


def all_windows(e: Engine) -> list[list[tuple[Point, bool]]]:
    """Windows retained in HBM of every replica, oldest first, and whether they are shared."""
    return [near for _, near in windows_by_tier(e)]


def windows_by_tier(e: Engine) -> list[tuple[list[tuple[Point, bool]], list[tuple[Point, bool]]]]:
    """The same, in host memory and in HBM."""
    rows = rows_of(e.windows, WINDOW_FIELDS, e.window_pool)
    live = chained_windows(e, rows)
    return [windows_of_replica(e, k, rows, live) for k in range(e.limits.replicas)]


def windows_of_replica(
    e: Engine, k: int, rows: list[SimpleNamespace], live: list[int]
) -> tuple[list[tuple[Point, bool]], list[tuple[Point, bool]]]:
    """Retained windows of one replica in both tiers, oldest first, and whether they are shared."""
    listed = chain(rows, int(e.caches["window_oldest"][k]), int(e.caches["window_newest"][k]))
    assert sorted(listed) == sorted(x for x in live if rows[x].stream % 4096 == k)
    far = int(e.caches["host_windows"][k] - e.caches["host_windows_free"][k])
    assert len(listed) == e.caches["windows_kept"][k] + far
    assert [rows[x].host for x in listed] == [1] * far + [0] * (len(listed) - far)
    assert e.caches["window_edge"][k] == (listed[far] if far < len(listed) else -1)
    points = [((rows[x].stream // 4096, rows[x].end), bool(rows[x].shared)) for x in listed]
    return points[:far], points[far:]
