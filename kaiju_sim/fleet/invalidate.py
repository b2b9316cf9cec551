"""An edit of a definition, with `characters.invalidate`: caches forget its old versions at once.

Control plane: plain Python over the data plane's arrays, between two steps of it. What messages
hold stays until they leave, and ages out then; so does what dialogues said after an old version.
"""

from typing import Any

import numpy as np

from kaiju_sim.engine.layout import Arr, Engine, Rec
from kaiju_sim.engine.policy.kv.index import find, home
from kaiju_sim.engine.policy.kv.prefix import drop_node, unlink
from kaiju_sim.engine.policy.kv.windows import window_drop

REPLICAS = 4096
"""Streams of a cache are told apart by replica: `prefix.local_stream`."""


def stale(streams: Arr, character: int, version: int) -> Arr:
    """Which streams of caches are heads of a character at another version (prompts.stream_of)."""
    stream = streams // REPLICAS
    head = (stream & 3) == 0
    other = ((stream >> 8) & 0x3FFF) != version % 16384
    return np.asarray(head & ((stream >> 22) == character) & other)


def forget_versions(e: Engine, character: int, version: int) -> int:
    """Drop what no message holds of a character's versions but this one: blocks dropped."""
    caches = _records(e.caches)
    dropped = 0
    for x in _candidates(e.nodes, e.node_pool, character, version):
        dropped += _forget_blocks(e, caches, x)
    for x in _candidates(e.windows, e.window_pool, character, version):
        _forget_window(e, caches, x)
    return dropped


def _records(array: Arr) -> Any:
    return array.view(np.recarray)


def _candidates(records: Arr, pool: Arr, character: int, version: int) -> list[int]:
    """Records of stale heads; unused ones may be among them."""
    used = int(pool["used"][0])
    return np.flatnonzero(stale(np.asarray(records["stream"][:used]), character, version)).tolist()


def _freed(e: Engine, stream: int) -> None:
    """The head of the queue may find memory now."""
    e.replicas["blocked"][stream % REPLICAS] = 0


def _forget_blocks(e: Engine, caches: Rec, x: int) -> int:
    nodes, pool = _records(e.nodes), _records(e.node_pool)[0]
    v = nodes[x]
    stream, n = int(v.stream), int(v.n)
    if v.ref > 0 or find(nodes, e.node_index, stream, int(v.start)) != x:
        return 0
    c = caches[stream % REPLICAS]
    c.idle -= v.hbm
    c.free += v.hbm
    c.host_free += v.n - v.hbm
    unlink(c, nodes, x)
    drop_node(nodes, e.node_index, pool, x)
    _freed(e, stream)
    return n


def _forget_window(e: Engine, caches: Rec, x: int) -> None:
    windows, pool = _records(e.windows), _records(e.window_pool)[0]
    stream = int(windows[x].stream)
    at = int(e.window_index[home(stream, 0, e.window_index.size - 1)])
    while at not in (x, -1):
        at = int(windows[at].next)
    if at < 0:
        return
    c = caches[stream % REPLICAS]
    c.windows_free += 1 - windows[x].host
    window_drop(c, windows, e.window_index, pool, x)
    _freed(e, stream)
