"""Lending arrays: the identity in plain Python.

In compiled code `lend` gives the same array without an owner, so that nothing is reference-counted
while it is passed on (`engine.compiled` puts that in; the caller keeps the array alive). This makes
the loop twice as fast and changes nothing else.
"""

from kaiju_sim.engine.layout import Arr, Engine, World
from kaiju_sim.steptime.curves import Curves


def lend(array: Arr) -> Arr:
    """The array itself."""
    return array


def lend_engine(e: Engine) -> Engine:
    """The engine with every array lent."""
    v = e.curves
    curves = Curves(
        v.kind,
        v.mean_ns,
        v.host_ns,
        lend(v.rows_ns),
        lend(v.seqs_ns),
        lend(v.slope),
        lend(v.offset),
    )
    return Engine(
        e.limits,
        curves,
        lend(e.replicas),
        lend(e.requests),
        lend(e.segments),
        lend(e.caches),
        lend(e.nodes),
        lend(e.node_index),
        lend(e.node_pool),
        lend(e.windows),
        lend(e.window_index),
        lend(e.window_pool),
        lend(e.hub),
    )


def lend_world(w: World) -> World:
    """The world with every array lent."""
    return World(
        lend_engine(w.engine),
        lend(w.fates),
        lend(w.ring),
        lend(w.cross),
        lend(w.done),
        lend(w.done_count),
        lend(w.sketch),
        lend(w.tally),
    )
