"""The affinity table under fleet changes: who moves, what is lost, how it comes back.

Rows are characters, entries are shards plus one (0: none), `copies` says how many a row has. These
functions change a cell's table between two advances of the data plane.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr
from kaiju_sim.engine.policy.routing import SHADOW, Routing
from kaiju_sim.fleet.records import Cell

HASHES = 2.0**32


class Snapshot(NamedTuple):
    """The table as it was."""

    table: Arr
    copies: Arr


def hashed(seed: int, who: Arr, what: int) -> NDArray[np.int64]:
    """`rng.hash_of` of the stream of moves, on arrays."""
    return np.asarray(rng.hash_of(seed, rng.MOVE, who, what))  # type: ignore[arg-type]


def plan_moves(g: Routing, shards: list[int], serving: int, now: int) -> int:
    """Choose the characters that will move to new shards: how many.

    Each entry of the table moves with the new shards' part of all shards, to one of them: a draw
    keyed by the entry and the time. A character moves one entry at a time.
    """
    characters, slots = np.nonzero(g.table.T)
    who = characters.astype(np.int64) * 4096 + slots
    share = len(shards) / (serving + len(shards))
    chosen = hashed(g.seed, who, now) < share * HASHES
    chosen &= g.moves[characters, 0] == 0
    target = np.asarray(shards)[hashed(g.seed, who, now + 1) % len(shards)] + 1
    chosen &= ~(g.table.T[characters] == target[:, None]).any(axis=1)
    rows, first = np.unique(characters[chosen], return_index=True)
    g.moves[rows, 0] = slots[chosen][first] + 1
    g.moves[rows, 1] = target[chosen][first]
    return int(rows.size)


def settle_moves(g: Routing, shards: list[int]) -> None:
    """The characters that moved to these shards are entered for them alone."""
    rows = np.flatnonzero(np.isin(g.moves[:, 1], np.asarray(shards) + 1))
    slots, target = g.moves[rows, 0] - 1, g.moves[rows, 1]
    there = (g.table.T[rows] == target[:, None]).any(axis=1)  # entered meanwhile, by its load
    g.table.T[rows[~there], slots[~there]] = target[~there]
    g.moves[rows] = 0


def drop_shards(g: Routing, shards: list[int]) -> None:
    """Nobody is entered for these shards any more; who had no other is entered anew when he speaks.

    Moves of the rows concerned, and moves to these shards, are given up.
    """
    gone = np.asarray(shards) + 1
    rows = np.flatnonzero(np.isin(g.table.T, gone).any(axis=1))
    keep = (g.table.T[rows] > 0) & ~np.isin(g.table.T[rows], gone)
    order = np.argsort(~keep, axis=1, kind="stable")
    g.table.T[rows] = np.take_along_axis(np.where(keep, g.table.T[rows], 0), order, axis=1)
    g.copies[rows] = keep.sum(axis=1)
    g.moves[rows] = 0
    g.moves[np.isin(g.moves[:, 1], gone)] = 0


def snapshot(g: Routing) -> Snapshot:
    """A copy of the table."""
    return Snapshot(g.table.copy(), g.copies.copy())


def lose(g: Routing) -> None:
    """The table is gone."""
    g.table.T[:] = 0
    g.copies[:] = 0
    g.moves[:] = 0


def put_back(cell: Cell, stored: Snapshot) -> int:
    """Rows of the stored table come back, before what was learned since: how many.

    What was learned stays behind the stored entries as far as there is room: dialogues that went
    there meanwhile have their caches there. Shards that no longer serve are left out.
    """
    g = cell.routing
    gates = cell.world.engine.replicas["active"][:: g.shard_replicas]
    closed = np.flatnonzero(gates <= SHADOW)
    old = g._replace(table=stored.table.copy(), copies=stored.copies.copy(), moves=g.moves.copy())
    if closed.size:
        drop_shards(old, closed.tolist())
    rows = np.flatnonzero(old.copies > 0)
    learned = g.table.T[rows]
    g.table.T[rows] = old.table.T[rows]
    g.copies[rows] = old.copies[rows]
    for column in learned.T:
        add_entries(g, rows, column)
    g.moves[rows] = 0
    return int(rows.size)


def add_entries(g: Routing, rows: Arr, entries: Arr) -> None:
    """Enter one shard for each of these characters that has room and does not have it yet."""
    fits = (entries > 0) & (g.copies[rows] < g.max_copies)
    fits &= ~(g.table.T[rows] == entries[:, None]).any(axis=1)
    g.table.T[rows[fits], g.copies[rows[fits]]] = entries[fits]
    g.copies[rows[fits]] += 1


def cached_where(cell: Cell) -> tuple[Arr, Arr]:
    """(character, shard) of each definition and each dialogue whose KV a serving replica holds.

    A dialogue's persona and history are known by their stream, whose owner is the dialogue.
    """
    e, users = cell.world.engine, cell.users
    nodes = e.nodes[e.node_index[e.node_index >= 0]]
    nodes = nodes[nodes["start"] == 0]
    replica, stream = nodes["stream"] % 4096, nodes["stream"] // 4096
    kind, owner = stream % 4, stream >> 22
    order = np.argsort(users.sessions["id"], kind="stable")
    ids = users.sessions["id"][order]
    at = np.minimum(np.searchsorted(ids, owner), ids.size - 1)
    known = (kind == 0) | (ids[at] == owner)
    character = np.where(kind == 0, owner, users.sessions["character"][order[at]])
    known &= (kind < 3) & (e.replicas["active"][replica] > SHADOW)
    return character[known], replica[known] // cell.routing.shard_replicas


def read_off(cell: Cell) -> Snapshot:
    """A table made from what caches hold: a character's shards, most held first."""
    g = cell.routing
    character, shard = cached_where(cell)
    shards = cell.world.engine.limits.replicas // g.shard_replicas
    key, held = np.unique(character * shards + shard, return_counts=True)
    who, where = key // shards, key % shards
    order = np.lexsort((where, -held, who))
    who, where = who[order], where[order]
    rank = np.arange(who.size) - np.searchsorted(who, who)
    kept = rank < g.max_copies
    table, copies = np.zeros_like(g.table.T), np.zeros_like(g.copies)
    table[who[kept], rank[kept]] = where[kept] + 1
    np.add.at(copies, who[kept], 1)
    return Snapshot(np.ascontiguousarray(table.T), copies)
