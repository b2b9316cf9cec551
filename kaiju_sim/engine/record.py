"""What is recorded when a message's token or answer is delivered: sketches and cohort tallies."""

from kaiju_sim.engine.layout import E2E, FREE_TTFT, ITL, QUEUE, TPOT, TTFT, Arr, Rec, World
from kaiju_sim.engine.patience import end_patience
from kaiju_sim.engine.policy.queues import count_load
from kaiju_sim.sketch import bin_of

LOST = 2
"""Code in DONE of a message whose replica has died."""


def segment_of(w: World, arrival: int) -> int:
    """The segment of the measured time in which a message arrived; -1: it is not measured."""
    p = w.engine.limits
    if arrival < p.warm_ns or arrival >= p.horizon_ns:
        return -1
    if p.segment_ns == 0:
        return 0
    return (arrival - p.warm_ns) // p.segment_ns


def withheld(w: World, q: int) -> bool:
    """Whether the safety gate takes message q's answer back (2 is `layout.WITHHELD`)."""
    return bool(w.engine.limits.gated and w.passes[q].verdict == 2)


def record_gap(w: World, gap_ns: int, count: int) -> None:
    """`count` sequences received a token `gap_ns` after their last one."""
    w.sketch[0, ITL, bin_of(gap_ns)] += count
    tally = w.tally[0]
    tally.itl += gap_ns * count
    tally.itl_count += count


def meets(ttft: int, tpot: float, e2e: int, ttft_max: int, tpot_max: int, e2e_max: int) -> bool:
    """Whether a message met all its objectives (ns)."""
    return ttft <= ttft_max and tpot <= tpot_max and e2e <= e2e_max


def record_completion(w: World, q: int, end: int) -> None:
    """Message q's answer is complete at `end` (ns)."""
    p = w.engine.limits
    v = w.engine.requests[q]
    fate = w.fates[q]
    arrival = int(v.arrival)
    segment = segment_of(w, arrival)
    if v.session < 0 or segment < 0:
        return
    tally = w.tally[segment]
    if withheld(w, q):
        tally.blocked_post += 1
        tally.free_blocked += v.tier
        return
    ttft = int(fate.first) - arrival
    queue = int(v.admit) - arrival
    e2e = end - arrival
    tpot = 0.0
    w.sketch[segment, TTFT, bin_of(ttft)] += 1
    w.sketch[segment, E2E, bin_of(e2e)] += 1
    w.sketch[segment, QUEUE, bin_of(queue)] += 1
    if fate.out > 1:
        tpot = (end - int(fate.first)) / (int(fate.out) - 1)
        w.sketch[segment, TPOT, bin_of(int(tpot))] += 1
        tally.tpot += int(tpot)
        tally.with_tpot += 1
    tally.completed += 1
    tally.ttft += ttft
    tally.queue += queue
    tally.e2e += e2e
    tally.tokens += fate.out
    tally.preempted += v.preempted
    good = meets(ttft, tpot, e2e, p.ttft_ns if v.tier else p.paid_ttft_ns, p.tpot_ns, p.e2e_ns)
    tally.goodput += good
    if v.tier:
        w.sketch[segment, FREE_TTFT, bin_of(ttft)] += 1
        tally.free_completed += 1
        tally.free_ttft += ttft
        tally.free_goodput += good


def record_prompt(w: World, r: Rec, q: int) -> None:
    """Message q was admitted for the first time, its prompt computed and its first token is out.

    A shadow counts nowhere: its token is discarded, and nobody asked for its prompt.
    """
    v = w.engine.requests[q]
    if v.session < 0:
        return
    if w.engine.limits.timeout_ns > 0:
        end_patience(w, q)
    r.prompt += v.prompt
    r.hit += v.cached
    r.hit_host += v.cached_host
    segment = segment_of(w, int(v.arrival))
    if segment >= 0:
        tally = w.tally[segment]
        tally.prompt += w.fates[q].prompt
        tally.cached += v.cached
        tally.cached_host += v.cached_host
        head = int(w.engine.segments[q * w.engine.limits.stride].n) << w.engine.limits.shift
        tally.cached_head += min(int(v.cached), head)


def deliver(w: World, r: Rec, q: int, t: int) -> None:
    """Completion on replica record r at time t: totals and the list of what is done."""
    count_load(r, int(r.load), t)
    r.load -= 1
    r.done += 1 if w.engine.requests[q].session >= 0 and not withheld(w, q) else 0
    r.blocked = 0
    record_completion(w, q, t)
    hand_over(w, q, t, 0)


def hand_over(w: World, q: int, t: int, code: int) -> None:
    """Message q ended at t, with this code of DONE."""
    i = int(w.done_count[0])
    w.done[i].request = q
    w.done[i].end = t
    w.done[i].code = code
    w.done_count[0] = i + 1


def hand_over_shed(w: World, r: Rec, t: int) -> None:
    """The messages that policy has just turned away at replica record r."""
    q = int(r.shed)
    r.shed = -1
    while q >= 0:
        following = int(w.engine.requests[q].next)
        hand_over(w, q, t, 1)
        q = following


def burst(w: World, r: Rec, q: int, t: int, made: int) -> None:
    """Message q's answer is `made` tokens long at t, and what is not delivered yet is now.

    That is a token, or the best chunk of several candidates, whose tokens come at once: one gap
    since the last chunk, none between them. A shadow's token is discarded.
    """
    if w.engine.requests[q].session < 0:
        return
    fate = w.fates[q]
    size = (made - 1) % w.engine.limits.chunk + 1
    r.tokens += size
    if size > 1:
        record_gap(w, 0, size - 1)
    if fate.first < 0:
        fate.first = t
    else:
        record_gap(w, gap_of(w.fates, q, t), 1)
    fate.joined = t


def gap_of(fates: Arr, q: int, t: int) -> int:
    """Time since message q's last token."""
    return t - int(fates[q].joined)
