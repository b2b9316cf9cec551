"""What the step-time model says of a step before it runs: how long, how large, for whom too late.

The TTFT-aware policy makes a step as large as the TPOT objective allows: the prefill tokens beside
the decodes whose predicted time stays within the pace, 95 % of the objective (a message's TPOT is a
mean, and its 99th percentile has to stay below). Time that decode steps saved against the pace is
banked, up to `BANK_STEPS` paces, so that on the bank's account a message of N + 1 tokens decodes at
most BANK_STEPS / N slower than the pace. While somebody would be late at the pace and in time at
the token budget's, a step may draw on the bank.

Predictions use what policy may see: batch, contexts, prompts, never how long an answer will be.
"""

from kaiju_sim.engine.layout import NEVER, Engine, Rec
from kaiju_sim.engine.policy.queues import deadline_of, next_waiting
from kaiju_sim.steptime.curves import decode_ns, fixed_ns, prefill_ns, step_ns

BANK_STEPS = 4
SLOWEST_NS = 1_000_000_000_000
"""A TPOT objective above this binds no step."""


def pace_ns(e: Engine) -> int:
    """How long a step with decodes should take at most (ns)."""
    return e.limits.tpot_ns // 20 * 19


def pairs_of(start: int, n: int) -> int:
    """Query-key pairs of n tokens after `start` ones: each sees all before it and itself."""
    return n * start + n * (n + 1) // 2


def near_pairs_of(start: int, n: int, window: int) -> int:
    """The same within an attention window (which counts the token itself)."""
    rising = min(n, max(0, window - start))
    return pairs_of(start, rising) + (n - rising) * window


def predicted_ns(e: Engine, r: Rec, rows: int, pairs: int, near: int) -> int:
    """Duration of a step of replica r with this prefill work and the decodes that go with it."""
    decodes = int(r.running) * e.limits.candidates
    if e.limits.policy == 1 and rows > 0:
        decodes = 0
    group = int(r.group)
    decode = decode_ns(e.curves, int(r.context), int(r.window), group) if decodes > 0 else 0.0
    fixed = fixed_ns(e.curves, rows + decodes, decodes + int(r.filling), group)
    return step_ns(fixed, decode, prefill_ns(e.curves, pairs, near, group))


def too_late(e: Engine, r: Rec, q: int, t: int, rows: int, pairs: int, near: int) -> bool:
    """Whether message q, admitted at t beside this prefill work, cannot meet its deadline.

    The step that it would join, with one token of it, is predicted to end after the deadline. A
    preempted message has had its first token and is never late.
    """
    if e.requests[q].preempted > 0:
        return False
    return t + predicted_ns(e, r, rows + 1, pairs + 1, near + 1) > deadline_of(e, q)


def most_tokens(
    e: Engine, r: Rec, start: int, n: int, rows: int, pairs: int, near: int, most_ns: int
) -> int:
    """Of n prompt tokens after `start`, how many fit a step of `most_ns` beside other prefills."""
    window = e.limits.window
    low = 0
    high = n
    tokens = n
    while low < high:
        more = pairs + pairs_of(start, tokens)
        if predicted_ns(e, r, rows + tokens, more, near + near_pairs_of(start, tokens, window)) <= (
            most_ns
        ):
            low = tokens
        else:
            high = tokens - 1
        tokens = (low + high + 1) // 2
    return low


def settle_bank(e: Engine, r: Rec) -> None:
    """Bank what the decode steps since the last time took less than the pace, or more."""
    pace = pace_ns(e)
    saved = (int(r.decode_steps) - int(r.bank_steps)) * pace
    saved -= int(r.decode_ns) - int(r.bank_ns)
    r.bank_steps = r.decode_steps
    r.bank_ns = r.decode_ns
    r.bank = min(BANK_STEPS * pace, max(0, int(r.bank) + saved))


def longest_step(e: Engine, r: Rec, t: int, room: int) -> int:
    """How long a step with prefill may take (ns); NEVER: as long as the token budget makes it.

    The pace binds where sequences decode and the chunk makes a difference to the step's time.
    """
    if r.running == 0 or e.curves.kind != 0 or e.limits.tpot_ns > SLOWEST_NS:
        return NEVER
    settle_bank(e, r)
    if r.bank > 0 and haste_helps(e, r, t, room):
        return pace_ns(e) + int(r.bank)
    return pace_ns(e)


def haste_helps(e: Engine, r: Rec, t: int, room: int) -> bool:
    """Whether somebody is late at the pace and in time in steps of the whole token budget.

    Looked at: each prefill under way behind those before it, the message to admit next, and the
    last of each line behind all, each with the uncached tokens of an average message.
    """
    start = typical_start(e, r, room)
    slow = most_tokens(e, r, start, room, 0, 0, 0, pace_ns(e))
    near = near_pairs_of(start, room, e.limits.window)
    fast_ns = predicted_ns(e, r, room, pairs_of(start, room), near)
    ahead = 0
    q = int(r.pre)
    while q >= 0:
        ahead += int(e.requests[q].todo)
        if rescued(e, deadline_of(e, q) - t, ahead, slow, room, fast_ns):
            return True
        q = int(e.requests[q].next)
    head = next_waiting(e, r)
    if head < 0:
        return False
    mean = int(r.todo) // max(1, int(r.admitted)) + 1
    if rescued(e, deadline_of(e, head) - t, ahead + mean, slow, room, fast_ns):
        return True
    hub = e.hub[0]
    waiting = int(r.load) - int(r.running) - int(r.filling)
    ahead += mean * (waiting + int(hub.length) // e.limits.replicas)
    due = min(last_due(e, r), last_due(e, hub))
    return rescued(e, due - t, ahead, slow, room, fast_ns)


def last_due(e: Engine, place: Rec) -> int:
    """The earlier deadline of the last messages of a place's two lines, or NEVER."""
    due = NEVER
    if place.wait >= 0:
        due = deadline_of(e, int(place.wait_tail))
    if place.low >= 0:
        due = min(due, deadline_of(e, int(place.low_tail)))
    return due


def typical_start(e: Engine, r: Rec, room: int) -> int:
    """Where the coming chunk starts in its prompt: as the first prefill, else near the end."""
    if r.pre >= 0:
        v = e.requests[r.pre]
        return int(v.prompt) - int(v.todo)
    q = next_waiting(e, r)
    return max(0, int(e.requests[q].prompt) - room) if q >= 0 else 0


def rescued(e: Engine, left_ns: int, tokens: int, slow: int, fast: int, fast_ns: int) -> bool:
    """Whether `tokens` of prefill are late in steps of `slow` tokens, in time in those of `fast`.

    A slow step takes as long as the pace says, a fast one `fast_ns`; `left_ns` is the time left.
    """
    if left_ns > NEVER // 2:
        return False
    if (tokens + fast - 1) // fast * fast_ns > left_ns:
        return False
    return slow == 0 or (tokens + slow - 1) // slow * pace_ns(e) > left_ns
