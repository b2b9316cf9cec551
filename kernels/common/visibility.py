"""Which keys a query sees, as int32 tensors: no mask of queries by keys is ever made on the way to
a kernel.

The queries of a step are packed: `cu_q` int32 `[batch + 1]` says that sequence b has the queries
cu_q[b] to cu_q[b + 1]. Keys are counted within their own sequence's context (cached prefix first).
A query at index `position` of its context sees key j if

    start <= j < limit                                        (query-centric)
    and, with key_limit: j <= position < key_limit[b, j]      (key-centric)

Query-centric is enough for causal chunks, windows, packed documents, a prefix that sees itself both
ways, and empty slots (start >= limit: the output is zero and costs nothing). A tree of candidate
tokens is not: a node must not see its siblings, which lie between it and its ancestors. In
depth-first order the descendants of node j are the positions j + 1 to key_limit[j], one range, so
one int per key is exact. Beams after a shared prefix are a tree of chains.

`causal`, `documents` and `prefix_bidirectional` run on the device of `cu_q` and do not wait for
it; `trees` and `beams` take lists, since their shape is known to the host that drew them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Visibility(NamedTuple):
    """Per query `start`, `limit` and `positions`, int32 `[queries]`; per key `key_limit`, int32
    `[batch, keys]`, or None where start and limit say it all."""

    start: torch.Tensor
    limit: torch.Tensor
    positions: torch.Tensor
    key_limit: torch.Tensor | None = None


def sequence_of(cu_q: torch.Tensor, queries: int) -> torch.Tensor:
    """The sequence of each query, int64 `[queries]`."""
    query = torch.arange(queries, device=cu_q.device, dtype=cu_q.dtype)
    return torch.searchsorted(cu_q[1:], query, right=True).clamp(max=cu_q.shape[0] - 2)


def positions_of(cu_q: torch.Tensor, cached: torch.Tensor, queries: int) -> torch.Tensor:
    """The index of each query in its context, after `cached` int `[batch]` tokens, int32."""
    sequence = sequence_of(cu_q, queries)
    query = torch.arange(queries, device=cu_q.device)
    return (query - cu_q[sequence] + cached[sequence]).int()


def causal(
    cu_q: torch.Tensor, cached: torch.Tensor, queries: int, window: int | None = None
) -> Visibility:
    """A chunk of each sequence after its cached prefix, in order: every key up to its own.

    With `window`, only the last so many of these. Raises ValueError if it is below 1.
    """
    if window is not None and window < 1:
        raise ValueError(f"window: is {window}, must be at least 1: a query sees its own key")
    positions = positions_of(cu_q, cached, queries)
    limit = positions + 1
    start = torch.zeros_like(limit) if window is None else (limit - window).clamp(min=0)
    return Visibility(start, limit, positions)


def documents(cu_q: torch.Tensor, cu_documents: torch.Tensor, queries: int) -> Visibility:
    """Sequences packed from several documents, nothing cached: causal within a document.

    `cu_documents` int32 `[documents + 1]`: where documents begin and end among the queries. Each
    sequence's end must be among them.
    """
    positions = positions_of(cu_q, torch.zeros_like(cu_q[1:]), queries)
    query = torch.arange(queries, device=cu_q.device)
    first = cu_documents[sequence_of(cu_documents, queries)]
    return Visibility((positions - (query - first)).int(), positions + 1, positions)


def prefix_bidirectional(
    cu_q: torch.Tensor, cached: torch.Tensor, prefix: torch.Tensor, queries: int
) -> Visibility:
    """The first `prefix` int `[batch]` tokens of a context see each other both ways, the rest are
    causal. What of the prefix is cached has been computed without the keys after it."""
    positions = positions_of(cu_q, cached, queries)
    limit = torch.maximum(positions + 1, prefix[sequence_of(cu_q, queries)]).int()
    return Visibility(torch.zeros_like(limit), limit, positions)


def empty_slots(seen: Visibility, is_live: torch.Tensor) -> Visibility:
    """The same where `is_live` bool `[queries]`; the other queries see nothing."""
    limit = torch.where(is_live, seen.limit, seen.start)
    return seen._replace(limit=limit)


def subtree_ends(parents: Sequence[int]) -> list[int]:
    """For each node of a forest in depth-first order, the node after its last descendant.

    `parents`: each node's parent, an earlier node, or -1 for a root. Raises ValueError where a
    node comes after a node that is neither its parent nor descended from its parent: then the
    descendants of its parent are no range.
    """
    ends = [len(parents)] * len(parents)
    open_nodes: list[int] = []
    for node, parent in enumerate(parents):
        while open_nodes and open_nodes[-1] != parent:
            ends[open_nodes.pop()] = node
        if not open_nodes and parent != -1:
            raise ValueError(
                f"parents: node {node} has parent {parent}, which is not node {node - 1} or an "
                "ancestor of it: the order is not depth-first"
            )
        open_nodes.append(node)
    return ends


def trees(
    parents: Sequence[Sequence[int]], cached: Sequence[int], device: torch.device | str = "cpu"
) -> Visibility:
    """For each sequence, a tree of candidate tokens after its cached prefix, nodes depth-first.

    A node sees the prefix, its ancestors and itself. `parents[b]` as in `subtree_ends`, which
    raises ValueError for another order; the roots follow the prefix.
    """
    ends = [subtree_ends(tree) for tree in parents]
    width = max((before + len(tree) for before, tree in zip(cached, ends, strict=True)), default=0)
    rows: list[list[int]] = []
    start: list[int] = []
    positions: list[int] = []
    for before, tree in zip(cached, ends, strict=True):
        whole = before + len(tree)
        own = [before + end for end in tree]
        rows.append([whole] * before + own + [0] * (width - whole))
        positions += range(before, whole)
        start += [0] * len(tree)

    def ints(values: Sequence[object]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    position = ints(positions)
    key_limit = ints(rows).view(len(rows), width)
    return Visibility(ints(start), position + 1, position, key_limit)


def beams(
    lengths: Sequence[Sequence[int]], cached: Sequence[int], device: torch.device | str = "cpu"
) -> Visibility:
    """For each sequence, candidate continuations of its cached prefix, one after the other.

    `lengths[b]`: tokens of each candidate. A token sees the prefix and its own candidate up to
    itself, whatever candidates lie between.
    """
    chains = [[i == 0 for n in own for i in range(n)] for own in lengths]
    parents = [
        [-1 if is_first else node - 1 for node, is_first in enumerate(chain)] for chain in chains
    ]
    return trees(parents, cached, device)


def reach(
    cu_q: torch.Tensor, start: torch.Tensor, limit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each sequence, the first key that any of its queries sees, and the one after the last;
    the two are the same where none sees any. Waits for the device."""
    live = (start < limit) & (torch.arange(start.shape[0], device=start.device) < cu_q[-1])
    sequence = sequence_of(cu_q, start.shape[0])[live]
    high = torch.zeros_like(cu_q[1:]).scatter_reduce(0, sequence, limit[live], "amax")
    low = high.scatter_reduce(0, sequence, start[live], "amin")
    return low, high


def dense_mask(seen: Visibility, cu_q: torch.Tensor, keys: int) -> torch.Tensor:
    """The same as a mask, bool `[queries, keys]`: for references and tests only."""
    key = torch.arange(keys, device=cu_q.device)
    mask = (key >= seen.start[:, None]) & (key < seen.limit[:, None])
    if seen.key_limit is None:
        return mask
    room = max(0, keys - seen.key_limit.shape[1])
    key_limit = torch.nn.functional.pad(seen.key_limit, (0, room))[:, :keys]
    own = key_limit[sequence_of(cu_q, seen.start.shape[0])]
    position = seen.positions[:, None]
    return mask & (key <= position) & (position < own)
