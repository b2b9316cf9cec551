"""What the step-time model says of a step before it runs: how long, how large, for whom too late.

The TTFT-aware policy makes a step as large as the TPOT objective allows: the prefill tokens beside
the decodes whose predicted time stays within the pace, 95 % of the objective (a message's TPOT is a
mean, and its 99th percentile has to stay below). Time that decode steps saved against the pace is
banked, up to `BANK_STEPS` paces, so that on the bank's account a message of N + 1 tokens decodes at
most BANK_STEPS / N slower than the pace. While somebody would be late at the pace and in time at
the token budget's, a step may draw on the bank.

Predictions use what policy may see: batch, contexts, prompts, never how long an answer will be.
"""

from typing import NamedTuple

from kaiju_sim.engine.layout import NEVER, Engine, Rec
from kaiju_sim.engine.policy.queues import deadline_of, next_waiting
from kaiju_sim.steptime.curves import (
    Curves,
    chunk_rounds,
    decode_ns,
    fixed_ns,
    in_rounds,
    prefill_ns,
    step_ns,
)

BANK_STEPS = 4
SLOWEST_NS = 1_000_000_000_000
"""A TPOT objective above this binds no step."""


class Batch(NamedTuple):
    """The prefill work of a step and the sequences that decode in it."""

    rows: int
    """New tokens of all chunks."""
    pairs: int
    near: int
    """Query-key pairs, in all and within the window."""
    peak: int
    near_peak: int
    """The most that one chunk costs by itself, in the same units (`curves.chunk_rounds`)."""
    decodes: int


def no_work() -> Batch:
    """An empty batch."""
    return Batch(0, 0, 0, 0, 0, 0)


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


def with_chunk(batch: Batch, start: int, n: int, window: int, round_tokens: int) -> Batch:
    """The batch with n more prompt tokens, after `start` ones of theirs."""
    pairs = pairs_of(start, n)
    near = near_pairs_of(start, n, window)
    peak = chunk_rounds(n, pairs, start + n, round_tokens)
    near_peak = chunk_rounds(n, near, min(start + n, window), round_tokens)
    return Batch(
        batch.rows + n,
        batch.pairs + pairs,
        batch.near + near,
        max(batch.peak, peak),
        max(batch.near_peak, near_peak),
        batch.decodes,
    )


def rounds_of(batch: Batch, round_tokens: int) -> tuple[int, int]:
    """Pairs, and those within the window, as rounds cost: of all chunks, or of the longest."""
    pairs = in_rounds(batch.rows, batch.pairs, round_tokens)
    near = in_rounds(batch.rows, batch.near, round_tokens)
    return max(pairs, batch.peak), max(near, batch.near_peak)


def attention_ns(curves: Curves, batch: Batch, group: int) -> float:
    """Prefill attention of a step."""
    pairs, near = rounds_of(batch, int(curves.rounds[group]))
    return prefill_ns(curves, pairs, near, group)


def predicted_ns(e: Engine, r: Rec, batch: Batch) -> int:
    """Duration of a step of replica r with this prefill work and the decodes that go with it."""
    rows = batch.rows
    decodes = int(r.running) * e.limits.candidates
    if e.limits.policy == 1 and rows > 0:
        decodes = 0
    group = int(r.group)
    decode = 0.0
    if decodes > 0:
        decode = decode_ns(e.curves, int(r.context), int(r.window), decodes, group)
    prompts = int(r.filling)
    fixed = fixed_ns(e.curves, rows + decodes, decodes + prompts, prompts, group)
    return step_ns(fixed, decode, attention_ns(e.curves, batch, group))


def and_chunk(e: Engine, r: Rec, batch: Batch, start: int, n: int) -> Batch:
    """The batch with a chunk of n tokens after `start`, at replica r."""
    return with_chunk(batch, start, n, e.limits.window, int(e.curves.rounds[r.group]))


def too_late(e: Engine, r: Rec, q: int, t: int, batch: Batch) -> bool:
    """Whether message q, admitted at t beside this prefill work, cannot meet its deadline.

    The step that it would join, with one token of it, is predicted to end after the deadline. A
    preempted message has had its first token and is never late.
    """
    if e.requests[q].preempted > 0:
        return False
    return t + predicted_ns(e, r, and_chunk(e, r, batch, 0, 1)) > deadline_of(e, q)


def most_tokens(e: Engine, r: Rec, start: int, n: int, batch: Batch, most_ns: int) -> int:
    """Of n prompt tokens after `start`, how many fit a step of `most_ns` beside other prefills."""
    low = 0
    high = n
    tokens = n
    while low < high:
        if predicted_ns(e, r, and_chunk(e, r, batch, start, tokens)) <= most_ns:
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
    slow = most_tokens(e, r, start, room, no_work(), pace_ns(e))
    fast_ns = predicted_ns(e, r, and_chunk(e, r, no_work(), start, room))
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
