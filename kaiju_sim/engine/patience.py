"""Who waits for a first token until when: a wheel of epochs over the outstanding messages.

A message hangs in the bucket of the epoch at whose start its user gives it up, from its arrival to
its first token: constant work a message, and nothing where clients have no time-out.
"""

from kaiju_sim.engine.layout import World

# `FATE.later` of a message that hangs in no bucket is -2 (-1: the latest of its bucket).


def bucket_of(w: World, q: int) -> int:
    """The bucket of the first epoch that starts at or after the end of q's patience."""
    p = w.engine.limits
    ends = int(w.engine.requests[q].arrival) + p.timeout_ns
    return ((ends + p.epoch_ns - 1) // p.epoch_ns) & (w.patience.size - 1)


def start_patience(w: World, q: int) -> None:
    """Message q is sent: it becomes the latest of its bucket."""
    j = bucket_of(w, q)
    fate = w.fates[q]
    before = int(w.patience[j])
    fate.later = -1
    fate.sooner = before
    if before >= 0:
        w.fates[before].later = q
    w.patience[j] = q


def end_patience(w: World, q: int) -> None:
    """Message q's first token is out, or it has ended: nobody gives it up any more."""
    fate = w.fates[q]
    if fate.later == -2:
        return
    if fate.later >= 0:
        w.fates[fate.later].sooner = fate.sooner
    else:
        w.patience[bucket_of(w, q)] = fate.sooner
    if fate.sooner >= 0:
        w.fates[fate.sooner].later = fate.later
    fate.later = -2


def first_of(w: World, now: int) -> int:
    """The message sent first of those that hang in the bucket of the epoch that starts now."""
    j = (now // w.engine.limits.epoch_ns) & (w.patience.size - 1)
    q = int(w.patience[j])
    while q >= 0 and w.fates[q].sooner >= 0:
        q = int(w.fates[q].sooner)
    return q
