"""The fast loop: what happens to one replica, in constant work per step and sequence.

Policy decides (policy/), this module carries on: sequences that end or fill their local window are
found in a ring of buckets by step; blocks are counted by the residue of the step at which a
sequence crosses into a new one; contexts are running sums. Steps in which policy decides nothing
are run in a tight loop. `engine.reference` is the specification: the same policy, every sequence
looked at in every step.

Order at one instant: step completions, then control changes, then arrivals, then step starts. So a
completed step leaves `pending`, the time at which the replica starts its next step once all
arrivals of that instant are in.
"""

import math

from kaiju_sim import rng
from kaiju_sim.engine.layout import NEVER, Rec, World
from kaiju_sim.engine.policy.batching import (
    computed,
    form_batch,
    may_admit,
    prefill_room,
    wake_time,
)
from kaiju_sim.engine.policy.kv.host import flush
from kaiju_sim.engine.policy.kv.memory import blocks_of, end_prefill, leave
from kaiju_sim.engine.policy.kv.prefix import take
from kaiju_sim.engine.policy.pacing import attention_ns
from kaiju_sim.engine.policy.queues import (
    somebody_waits,
)
from kaiju_sim.engine.record import (
    burst,
    deliver,
    gap_of,
    hand_over_shed,
    record_gap,
    record_prompt,
)
from kaiju_sim.engine.sequences import (
    join,
    made_of,
    part,
    preempt,
    schedule,
    window_full_at,
)
from kaiju_sim.steptime.curves import Curves, after_ns, decode_ns, fixed_ns, step_ns


def drawn_ns(curves: Curves, seed: int, k: int, step: int) -> int:
    """An exponential step time: keyed by replica and step."""
    u = rng.uniform(seed, rng.STEP, k, step)
    return max(1, int(min(-curves.mean_ns * math.log(u), 1e18) + 0.5))


def duration_ns(w: World, k: int, step: int, fixed: float, decode: float, prefill: float) -> int:
    """Duration of a step: the sum of the curves, or a draw."""
    if w.engine.curves.kind == 2:
        return drawn_ns(w.engine.curves, w.engine.limits.seed, k, step)
    return step_ns(fixed, decode, prefill)


def start_step(w: World, k: int, t: int) -> None:
    """Form the batch at time t and run it; an empty batch leaves the replica idle.

    Idle, it wakes when the first of the loads that its prefills wait for is done.
    """
    e = w.engine
    r = e.replicas[k]
    batch = form_batch(e, k, t)
    r.decoding = batch.decodes
    if r.shed >= 0:
        hand_over_shed(w, r, t)
    g = int(r.group)
    if batch.rows + batch.decodes == 0:
        r.end = NEVER
        r.pending = wake_time(e, k)
        return
    prompts = int(r.filling)
    rows, seqs = batch.rows + batch.decodes, batch.decodes + prompts
    r.fixed = fixed_ns(e.curves, rows, seqs, prompts, g)
    decode = 0.0
    if batch.decodes > 0:
        decode = decode_ns(e.curves, int(r.context), int(r.window), batch.decodes, g)
    prefill = attention_ns(e.curves, batch, g)
    dt = duration_ns(w, k, int(r.steps), r.fixed, decode, prefill)
    if batch.decodes > 0:
        r.decode_ns += dt
        r.decode_steps += 1
    r.begin = t
    r.end = t + dt
    r.rest = after_ns(e.curves, batch.decodes, prompts, g)
    r.busy += dt + r.rest
    r.prefill_rows_ns += dt * batch.rows // (batch.rows + batch.decodes)
    r.steps += 1


def record_gaps(w: World, k: int, t: int) -> None:
    """Every running sequence received a token at t (candidates' tokens wait for their chunk)."""
    r = w.engine.replicas[k]
    if w.engine.limits.candidates > 1:
        r.last_decode = t
        return
    r.tokens += r.running
    if w.engine.limits.policy != 1:
        record_gap(w, t - int(r.ended), int(r.running))
        return
    old = int(r.running)
    q = int(r.fresh)
    while q >= 0:
        record_gap(w, gap_of(w.fates, q, t), 1)
        old -= 1
        q = int(w.fates[q].fresh)
    r.fresh = -1
    if old > 0:
        record_gap(w, t - int(r.last_decode), old)
    r.last_decode = t


def end_decode(w: World, k: int, t: int) -> None:
    """The decode part of a step ends: one more token each, then those that are due leave."""
    p = w.engine.limits
    r = w.engine.replicas[k]
    record_gaps(w, k, t)
    r.step += 1
    r.generated += p.candidates * r.running
    r.context += p.candidates * r.running
    r.window += p.candidates * r.growing
    j = k * p.ring + (int(r.step) & (p.ring - 1))
    q = int(w.ring[j])
    w.ring[j] = -1
    while q >= 0:
        following = int(w.engine.requests[q].next)
        fate = w.fates[q]
        if p.candidates > 1:
            made = made_of(w, k, q)
            if made == fate.out or made % p.chunk == 0:
                burst(w, r, q, t, made)
        if fate.due == r.step:
            part(w, k, q)
            deliver(w, r, q, t)
        else:
            if fate.grows and r.step == window_full_at(w, q):
                fate.grows = 0
                r.growing -= 1
            schedule(w, k, q)
        q = following
    grow(w, k, t)


def grow(w: World, k: int, t: int) -> None:
    """Sequences that cross into a new block take it; while there is none, preempt."""
    e = w.engine
    c = e.caches[k]
    mask = (1 << e.limits.shift) - 1
    at = (k << e.limits.shift) + (int(e.replicas[k].step) & mask)
    while w.cross[at] > c.free + c.idle:
        preempt(w, k, t)
    if w.cross[at] > 0:
        take(c, e.nodes, e.node_index, e.node_pool[0], int(w.cross[at]))


def end_prefills(w: World, k: int, t: int) -> None:
    """The prefill part of a step ends: prompts that are complete give their first token."""
    e = w.engine
    previous = -1
    q = int(e.replicas[k].pre)
    while q >= 0:
        following = int(e.requests[q].next)
        if computed(e, k, q, previous):
            first_token(w, k, q, t)
        else:
            previous = q
        q = following


def first_token(w: World, k: int, q: int, t: int) -> None:
    """A prompt is computed: its first token (after a preemption: its next one) is out."""
    r = w.engine.replicas[k]
    v = w.engine.requests[q]
    fate = w.fates[q]
    p = w.engine.limits
    end_prefill(w.engine, k, q)
    r.generated += p.candidates
    if v.preempted == 0:
        record_prompt(w, r, q)
    fate.left -= 1
    made = int(fate.out) - int(fate.left)
    if fate.left == 0 or made % p.chunk == 0:
        burst(w, r, q, t, made)
    if fate.left > 0:
        join(w, k, q, t)
        return
    context = int(v.prompt) + 1
    leave(w.engine, k, q, context, blocks_of(context, p.shift) + p.extra)
    deliver(w, r, q, t)


def end_step(w: World, k: int) -> None:
    """The step in flight on replica k completes; the next one is pending when the engine has done
    what follows, by the curves at the same instant if it is nothing."""
    r = w.engine.replicas[k]
    t = int(r.end)
    if r.decoding > 0:
        end_decode(w, k, t)
    end_prefills(w, k, t)
    r.end = NEVER
    r.ended = t
    r.pending = t + r.rest


def pure_decode(w: World, k: int, until: int) -> None:
    """Run the steps that end before `until` in which nobody joins or ends and blocks suffice."""
    e = w.engine
    p = e.limits
    r = e.replicas[k]
    c = e.caches[k]
    base = k * p.ring
    block = (1 << p.shift) - 1
    running = int(r.running)
    rows = running * p.candidates
    growing = int(r.growing) * p.candidates
    told = running if p.candidates == 1 else 0
    step, context, window = int(r.step), int(r.context), int(r.window)
    begin, end, steps = int(r.begin), int(r.end), int(r.steps)
    ended, rest = int(r.ended), int(r.rest)
    first = step
    alone = p.link_replicas == 1
    g = int(r.group)
    fixed = fixed_ns(e.curves, rows, rows, 0, g)
    after = after_ns(e.curves, rows, 0, g)  # that of the step in flight may have been another
    busy = 0
    while end + rest < until and w.ring[base + ((step + 1) & (p.ring - 1))] < 0:
        need = int(w.cross[(k << p.shift) + ((step + 1) & block)])
        if need > 0:
            if need > c.free + c.idle or (need > c.free and not alone):
                break  # nobody has a block, or replicas compete for the link
            take(c, e.nodes, e.node_index, e.node_pool[0], need)
            flush(e, k, end)
        record_gap(w, end - ended, told)
        step += 1
        context += rows
        window += growing
        decode = decode_ns(e.curves, context, window, rows, g)
        dt = duration_ns(w, k, steps, fixed, decode, 0.0)
        steps += 1
        busy += dt
        ended = end
        begin = end + rest
        end = begin + dt
        rest = after
    r.step, r.context, r.window = step, context, window
    r.begin, r.end, r.steps, r.ended = begin, end, steps, ended
    r.rest = rest
    r.busy += busy + after * (step - first)
    r.decode_ns += busy
    r.decode_steps += step - first
    r.tokens += told * (step - first)
    r.generated += rows * (step - first)
    r.last_decode = ended


def steady(policy: int, r: Rec) -> bool:
    """Whether the step in flight only decodes, every sequence of it since the last step."""
    return bool(
        r.decoding > 0 and r.pre < 0 and r.fresh < 0 and (policy != 1 or r.last_decode == r.ended)
    )


def advance(w: World, k: int, until: int, once: bool) -> None:
    """All that happens on replica k before `until`, and step completions at `until` itself.

    With `once`, the next event only (which the caller knows to be in time), or steps that concern
    nobody but this replica.
    """
    e = w.engine
    r = e.replicas[k]
    while True:
        if r.pending >= 0:
            if r.pending >= until:
                return
            t = int(r.pending)
            r.pending = -1
            start_step(w, k, t)
            if once:
                return
            if r.pending >= 0:
                continue
        if r.end > until:
            return
        if steady(e.limits.policy, r):
            rows = int(r.running) * e.limits.candidates
            room = prefill_room(e.limits.policy, e.limits.token_budget, rows)
            if not may_admit(e, r, room):
                t = int(r.end)
                pure_decode(w, k, until)
                if r.end > until or (once and r.end != t):
                    return
        end_step(w, k)
        if once:
            return


def next_event(r: Rec) -> int:
    """Time of the replica's next completion or start."""
    return int(r.pending) if r.pending >= 0 else int(r.end)


def beyond(r: Rec, until: int) -> bool:
    """Whether the replica's next event has to wait: past `until`, or a start at `until` itself."""
    return next_event(r) > until or int(r.pending) >= until


def contested(w: World) -> bool:
    """Whether messages wait in the central queue, so that replicas compete for them."""
    return somebody_waits(w.engine.hub[0])


def first_event(w: World, first: int, last: int) -> int:
    """The replica whose next event is first: completions before starts, ties by number."""
    replicas = w.engine.replicas
    best = first
    best_at = next_event(replicas[first]) * 2 + (replicas[first].pending >= 0)
    for k in range(first + 1, last):
        at = next_event(replicas[k]) * 2 + (replicas[k].pending >= 0)
        if at < best_at:
            best = k
            best_at = at
    return best
