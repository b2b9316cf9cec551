"""The router's choice: which replica a message goes to. Blind to output lengths.

What a router knows is in `Routing`: its view of each replica's load (the last report that has
arrived plus what it has sent since), its own affinity table, and nothing else, except that
`prefix_aware` looks into the replicas' caches as they were when the epoch began.
"""

from typing import NamedTuple

import numpy as np

from kaiju_sim import rng
from kaiju_sim.engine.layout import OPEN, Arr, Engine
from kaiju_sim.engine.policy.kv.prefix import match

AFFINITY, STICKY, RENDEZVOUS, PREFIX_AWARE, LEAST_LOADED, ROUND_ROBIN, POWER_OF_TWO = range(7)
POLICIES = (
    "affinity",
    "sticky",
    "rendezvous",
    "prefix_aware",
    "least_loaded",
    "round_robin",
    "power_of_two",
)

SHADOW = 1
"""Gate of a replica that takes only copies of messages; tickets are SHADOW or more."""

# `turn` counts choices (where scans begin, so that ties do not all go to replica 0); `total` is
# the sum of the view over active replicas, weighed. `span`: replicas up to the last that is not
# closed; `ramping`: those open to a part of the dialogues; `shadowing`: those and who gets copies
# only.
ROUTER = np.dtype(
    [
        ("turn", "i8"),
        ("total", "i8"),
        ("active", "i8"),
        ("spilled", "i8"),
        ("registered", "i8"),
        ("span", "i8"),
        ("ramping", "i8"),
        ("shadowing", "i8"),
    ],
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
    moves: Arr
    """Affinity: (entry of its row + 1, shard + 1) of a character that moves to a new shard."""
    cost: Arr
    """What a message weighs on each replica: 1, or more on slower replicas of a mixed fleet."""


def is_open(e: Engine, k: int, ticket: int) -> bool:
    """Whether replica k takes messages with this ticket: its gate is above it."""
    return bool(ticket < e.replicas[k].active)


def ticket_of(g: Routing, session: int) -> int:
    """The dialogue's ticket, from SHADOW to OPEN - 1; drawn only while some gate is half open."""
    if g.state[0].ramping == 0:
        return SHADOW
    return max(SHADOW, rng.hash_of(g.seed, rng.GATE, session, 0) >> 2)


def weight(g: Routing, k: int) -> int:
    """Load of replica k in view with one more message, weighed by what a message costs there."""
    return (int(g.seen[k]) + 1) * int(g.cost[k])


def fits(g: Routing, k: int) -> bool:
    """Bounded load: whether replica k is under the bound (or has few messages anyhow)."""
    state = g.state[0]
    mean = g.bound * int(state.total) / max(1, int(state.active))
    return bool(g.seen[k] < g.min_load or g.seen[k] * g.cost[k] < mean)


def least(e: Engine, g: Routing, ticket: int) -> int:
    """The open replica with the least load in view; ties go round."""
    n = int(g.state[0].span)
    start = int(g.state[0].turn) % n
    best = -1
    lightest = 0
    for i in range(n):
        k = start + i - n if start + i >= n else start + i
        w = weight(g, k)
        if (best < 0 or w < lightest) and is_open(e, k, ticket):
            best = k
            lightest = w
    return best


def entry(e: Engine, g: Routing, character: int, i: int, ticket: int) -> int:
    """The i-th shard of a character: the one that it moves to, once that is open to the ticket."""
    if g.state[0].ramping != 0 and g.moves[character, 0] == i + 1:
        shard = int(g.moves[character, 1]) - 1
        if is_open(e, shard * g.shard_replicas, ticket):
            return shard
    return int(g.table[i, character]) - 1


def has_shard(e: Engine, g: Routing, character: int, shard: int, ticket: int) -> bool:
    """Whether the affinity table points the character at this shard."""
    for i in range(int(g.copies[character])):  # noqa: SIM110 (a generator does not compile)
        if entry(e, g, character, i, ticket) == shard:
            return True
    return False


def new_home(g: Routing, character: int, session: int, last: int) -> int:
    """The replica that a dialogue on replica `last` moves to with its character, or -1.

    Its place in the new shard is hashed, so that shadows warm the cache that it will use.
    """
    slot = int(g.moves[character, 0]) - 1
    if slot < 0 or last < 0 or g.table[slot, character] != last // g.shard_replicas + 1:
        return -1
    first = (int(g.moves[character, 1]) - 1) * g.shard_replicas
    return first + rng.hash_of(g.seed, rng.HOME, session, 0) % g.shard_replicas


def best_copy(e: Engine, g: Routing, character: int, ticket: int) -> int:
    """The least loaded open replica of the character's shards, or -1."""
    best = -1
    for i in range(int(g.copies[character])):
        first = entry(e, g, character, i, ticket) * g.shard_replicas
        for k in range(first, first + g.shard_replicas):
            if is_open(e, k, ticket) and (best < 0 or weight(g, k) < weight(g, best)):
                best = k
    return best


def affinity(e: Engine, g: Routing, character: int, session: int, last: int, ticket: int) -> int:
    """Character affinity: the dialogue's replica, else the least loaded of the character's shards.

    A character without a shard, or whose shards are all at the bound, gets the least loaded
    replica's shard as another one; past max_copies the message spills over without being entered.
    What a ramp has not opened fully gets only those who move there, whom shadows have prepared.
    """
    stays = last >= 0 and is_open(e, last, ticket) and fits(g, last)
    if stays and has_shard(e, g, character, last // g.shard_replicas, ticket):
        return last
    if g.state[0].ramping != 0:
        home = new_home(g, character, session, last)
        if home >= 0 and is_open(e, home, ticket) and fits(g, home):
            return home
    copy = best_copy(e, g, character, ticket)
    if copy >= 0 and fits(g, copy):
        return copy
    other = least(e, g, OPEN - 1)
    shard = other // g.shard_replicas
    if has_shard(e, g, character, shard, ticket):
        return other
    if g.copies[character] < g.max_copies:
        g.table[int(g.copies[character]), character] = shard + 1
        g.copies[character] += 1
        g.state[0].registered += 1
    else:
        g.state[0].spilled += 1
    return other


def sticky(e: Engine, g: Routing, last: int, ticket: int) -> int:
    """Sticky dialogue: its own replica unless that is at the bound, else the least loaded."""
    if last >= 0 and is_open(e, last, ticket) and fits(g, last):
        return last
    return least(e, g, ticket)


def rendezvous(e: Engine, g: Routing, key: int, ticket: int) -> int:
    """Rendezvous (highest random weight) hashing of a key over the open replicas."""
    best = -1
    highest = -1
    for k in range(int(g.state[0].span)):
        h = rng.hash_of(g.seed, rng.ROUTER, key, k)
        if is_open(e, k, ticket) and h > highest:
            best = k
            highest = h
    return best


def prefix_aware(e: Engine, g: Routing, q: int, ticket: int) -> int:
    """The replica with the least work: uncached prompt tokens, plus load x load_tokens."""
    n = int(g.state[0].span)
    lo = q * e.limits.stride
    prompt = int(e.requests[q].prompt)
    start = int(g.state[0].turn) % n
    best = -1
    least_cost = 0.0
    for i in range(n):
        k = (start + i) % n
        if not is_open(e, k, ticket):
            continue
        got, _, _ = match(e.nodes, e.node_index, k, e.segments, lo, lo + e.limits.stride)
        cost = (prompt - (got << e.limits.shift) + g.load_tokens * g.seen[k]) * g.cost[k]
        if best < 0 or cost < least_cost:
            best = k
            least_cost = cost
    return best


def round_robin(e: Engine, g: Routing, ticket: int) -> int:
    """The next open replica in turn."""
    n = int(g.state[0].span)
    k = int(g.state[0].turn) % n
    while not is_open(e, k, ticket):
        g.state[0].turn += 1
        k = int(g.state[0].turn) % n
    return k


def drawn(e: Engine, g: Routing, which: int, ticket: int) -> int:
    """An open replica, drawn uniformly: draw `which` of the message in hand, by message count."""
    state = g.state[0]
    k = -1
    i = which
    while k < 0 or not is_open(e, k, ticket):
        k = rng.hash_of(g.seed, rng.TWO_CHOICES, int(state.turn), i) * int(state.span) >> 32
        i += 2
    return k


def power_of_two(e: Engine, g: Routing, ticket: int) -> int:
    """Power of two choices: two draws (which may agree), the lesser load; ties to the first."""
    first = drawn(e, g, 0, ticket)
    second = drawn(e, g, 1, ticket)
    return second if weight(g, second) < weight(g, first) else first


def choose(e: Engine, g: Routing, q: int, character: int, session: int, last: int) -> int:
    """The replica for message q of this character and session, whose last one was `last` or -1."""
    ticket = ticket_of(g, session)
    if g.policy == 0:
        k = affinity(e, g, character, session, last, ticket)
    elif g.policy == 1:
        k = sticky(e, g, last, ticket)
    elif g.policy == 2:
        k = rendezvous(e, g, session if g.by_session else character, ticket)
    elif g.policy == 3:
        k = prefix_aware(e, g, q, ticket)
    elif g.policy == 4:
        k = least(e, g, ticket)
    elif g.policy == 5:
        k = round_robin(e, g, ticket)
    else:
        k = power_of_two(e, g, ticket)
    g.state[0].turn += 1
    g.state[0].total += g.cost[k]
    g.seen[k] += 1
    g.sent[k] += 1
    return k


def shadow_of(e: Engine, g: Routing, character: int, session: int, last: int) -> int:
    """The replica that gets a copy of a message sent to `last`, since it will move there, or -1.

    Copies go on through the ramp, for those who have not moved yet.
    """
    if g.policy == 2:
        k = rendezvous(e, g, session if g.by_session else character, SHADOW - 1)
    else:
        k = new_home(g, character, session, last)
    if k < 0 or k == last or e.replicas[k].active < SHADOW or e.replicas[k].active == OPEN:
        return -1
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
        if e.replicas[k].active > SHADOW:
            total += int(g.seen[k]) * int(g.cost[k])
            active += 1
    g.state[0].total = total
    g.state[0].active = active
