"""What is recorded when a message's token or answer is delivered: sketches and cohort tallies."""

from kaiju_sim.engine.layout import E2E, FREE_TTFT, ITL, QUEUE, TPOT, TTFT, Arr, Rec, World
from kaiju_sim.engine.policy.queues import count_load
from kaiju_sim.sketch import bin_of


def in_cohort(w: World, arrival: int) -> bool:
    """Whether a message that arrived then is measured."""
    return w.engine.limits.warm_ns <= arrival < w.engine.limits.horizon_ns


def record_gap(w: World, gap_ns: int, count: int) -> None:
    """`count` sequences received a token `gap_ns` after their last one."""
    w.sketch[ITL, bin_of(gap_ns)] += count
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
    if not in_cohort(w, arrival):
        return
    tally = w.tally[0]
    ttft = int(fate.first) - arrival
    queue = int(v.admit) - arrival
    e2e = end - arrival
    tpot = 0.0
    w.sketch[TTFT, bin_of(ttft)] += 1
    w.sketch[E2E, bin_of(e2e)] += 1
    w.sketch[QUEUE, bin_of(queue)] += 1
    if fate.out > 1:
        tpot = (end - int(fate.first)) / (int(fate.out) - 1)
        w.sketch[TPOT, bin_of(int(tpot))] += 1
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
        w.sketch[FREE_TTFT, bin_of(ttft)] += 1
        tally.free_completed += 1
        tally.free_ttft += ttft
        tally.free_goodput += good


def record_prompt(w: World, q: int) -> None:
    """Message q was admitted for the first time and its prompt computed."""
    v = w.engine.requests[q]
    if in_cohort(w, int(v.arrival)):
        tally = w.tally[0]
        tally.prompt += w.fates[q].prompt
        tally.cached += v.cached
        head = int(w.engine.segments[q * w.engine.limits.stride].n) << w.engine.limits.shift
        tally.cached_head += min(int(v.cached), head)


def deliver(w: World, r: Rec, q: int, t: int) -> None:
    """Completion on replica record r at time t: totals and the list of what is done."""
    count_load(r, int(r.load), t)
    r.load -= 1
    r.done += 1
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
    since the last chunk, none between them.
    """
    fate = w.fates[q]
    size = (made - 1) % w.engine.limits.chunk + 1
    r.tokens += size
    record_gap(w, 0, size - 1)
    if fate.first < 0:
        fate.first = t
    else:
        record_gap(w, gap_of(w.fates, q, t), 1)
    fate.joined = t


def gap_of(fates: Arr, q: int, t: int) -> int:
    """Time since message q's last token."""
    return t - int(fates[q].joined)
