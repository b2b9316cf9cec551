"""The router's choice: which replica a message goes to. Blind to output lengths.

What a router knows is in `Routing`: its view of each replica's load (the last report that has
arrived plus what it has sent since), its own affinity table, and nothing else, except that
`prefix_aware` looks into the replicas' caches as they were when the epoch began.
"""

from typing import NamedTuple

import numpy as np

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr, Engine
from kaiju_sim.engine.policy.prefix import match

AFFINITY, STICKY, RENDEZVOUS, PREFIX_AWARE, LEAST_LOADED, ROUND_ROBIN = range(6)
POLICIES = ("affinity", "sticky", "rendezvous", "prefix_aware", "least_loaded", "round_robin")

# `turn` counts choices (where scans begin, so that ties do not all go to replica 0); `total` is
# the sum of the view over active replicas.
ROUTER = np.dtype(
    [("turn", "i8"), ("total", "i8"), ("active", "i8"), ("spilled", "i8"), ("registered", "i8")],
    align=True,
)


class Routing(NamedTuple):
    """What the router of a cell knows."""

    policy: int
    seed: int
    bound: float
    min_load: int
    max_copies: int
    shard_replicas: int
    by_session: int
    load_tokens: float
    state: Arr
    seen: Arr
    """Load of each replica as the router sees it."""
    sent: Arr
    """Messages ever sent to each replica."""
    reports: Arr
    """Ring of reports that are under way or in force: loads, one row per report."""
    sent_then: Arr
    """`sent` when each report was taken."""
    table: Arr
    """Affinity: shards of each character, one more than the number (0: none)."""
    copies: Arr
    """Affinity: how many shards each character has."""


def limit_of(g: Routing) -> float:
    """Bounded load: a replica at or above this is passed over."""
    state = g.state[0]
    return max(float(g.min_load), g.bound * int(state.total) / max(1, int(state.active)))


def least(e: Engine, g: Routing) -> int:
    """The active replica with the least load in view; ties go round."""
    n = g.seen.size
    start = int(g.state[0].turn) % n
    best = -1
    for i in range(n):
        k = start + i - n if start + i >= n else start + i
        if e.replicas[k].active and (best < 0 or g.seen[k] < g.seen[best]):
            best = k
    return best


def has_shard(g: Routing, character: int, shard: int) -> bool:
    """Whether the affinity table points the character at this shard."""
    for i in range(int(g.copies[character])):  # noqa: SIM110 (a generator does not compile)
        if g.table[character, i] == shard + 1:
            return True
    return False


def best_copy(e: Engine, g: Routing, character: int) -> int:
    """The least loaded active replica of the character's shards, or -1."""
    best = -1
    for i in range(int(g.copies[character])):
        first = (int(g.table[character, i]) - 1) * g.shard_replicas
        for k in range(first, first + g.shard_replicas):
            if e.replicas[k].active and (best < 0 or g.seen[k] < g.seen[best]):
                best = k
    return best


def affinity(e: Engine, g: Routing, character: int, last: int) -> int:
    """Character affinity: the dialogue's replica, else the least loaded of the character's shards.

    A character without a shard, or whose shards are all at the bound, gets the least loaded
    replica's shard as another one; past max_copies the message spills over without being entered.
    """
    bound = limit_of(g)
    fits = last >= 0 and e.replicas[last].active and g.seen[last] < bound
    if fits and has_shard(g, character, last // g.shard_replicas):
        return last
    copy = best_copy(e, g, character)
    if copy >= 0 and g.seen[copy] < bound:
        return copy
    other = least(e, g)
    shard = other // g.shard_replicas
    if has_shard(g, character, shard):
        return other
    if g.copies[character] < g.max_copies:
        g.table[character, int(g.copies[character])] = shard + 1
        g.copies[character] += 1
        g.state[0].registered += 1
    else:
        g.state[0].spilled += 1
    return other


def sticky(e: Engine, g: Routing, last: int) -> int:
    """Sticky dialogue: its own replica unless that is at the bound, else the least loaded."""
    if last >= 0 and e.replicas[last].active and g.seen[last] < limit_of(g):
        return last
    return least(e, g)


def rendezvous(e: Engine, g: Routing, key: int) -> int:
    """Rendezvous (highest random weight) hashing of a key over the active replicas."""
    best = -1
    weight = -1
    for k in range(g.seen.size):
        h = rng.hash_of(g.seed, rng.ROUTER, key, k)
        if e.replicas[k].active and h > weight:
            best = k
            weight = h
    return best


def prefix_aware(e: Engine, g: Routing, q: int) -> int:
    """The replica with the least work: uncached prompt tokens, plus load x load_tokens."""
    n = g.seen.size
    lo = q * e.limits.stride
    prompt = int(e.requests[q].prompt)
    start = int(g.state[0].turn) % n
    best = -1
    least_cost = 0.0
    for i in range(n):
        k = (start + i) % n
        if not e.replicas[k].active:
            continue
        got, _, _ = match(e.nodes, e.node_index, k, e.segments, lo, lo + e.limits.stride)
        cost = prompt - (got << e.limits.shift) + g.load_tokens * g.seen[k]
        if best < 0 or cost < least_cost:
            best = k
            least_cost = cost
    return best


def round_robin(e: Engine, g: Routing) -> int:
    """The next active replica in turn."""
    n = g.seen.size
    k = int(g.state[0].turn) % n
    while not e.replicas[k].active:
        g.state[0].turn += 1
        k = int(g.state[0].turn) % n
    return k


def choose(e: Engine, g: Routing, q: int, character: int, session: int, last: int) -> int:
    """The replica for message q of this character and session, whose last one was `last` or -1."""
    if g.policy == 0:
        k = affinity(e, g, character, last)
    elif g.policy == 1:
        k = sticky(e, g, last)
    elif g.policy == 2:
        k = rendezvous(e, g, session if g.by_session else character)
    elif g.policy == 3:
        k = prefix_aware(e, g, q)
    elif g.policy == 4:
        k = least(e, g)
    else:
        k = round_robin(e, g)
    g.state[0].turn += 1
    g.state[0].total += 1
    g.seen[k] += 1
    g.sent[k] += 1
    return k


def take_report(e: Engine, g: Routing, row: int) -> None:
    """A load report is taken now: it stands in ring row `row` until it arrives."""
    for k in range(g.seen.size):
        g.reports[row, k] = e.replicas[k].load
        g.sent_then[row, k] = g.sent[k]


def see_report(e: Engine, g: Routing, row: int) -> None:
    """The report in ring row `row` is in force: the view is it plus what was sent since."""
    total = 0
    active = 0
    for k in range(g.seen.size):
        g.seen[k] = g.reports[row, k] + g.sent[k] - g.sent_then[row, k]
        if e.replicas[k].active:
            total += int(g.seen[k])
            active += 1
    g.state[0].total = total
    g.state[0].active = active
