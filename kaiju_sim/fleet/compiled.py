"""The compiled data plane: `run_until` of a cell, with every array borrowed at the entry."""

import functools
import sys
from collections.abc import Callable
from types import ModuleType

from kaiju_sim import rng, sketch
from kaiju_sim.engine import compiled, layout, loop, record
from kaiju_sim.engine.compiled import borrowed
from kaiju_sim.engine.layout import Engine, World
from kaiju_sim.engine.policy import batching, prefix, routing, windows
from kaiju_sim.engine.policy.routing import Routing
from kaiju_sim.fleet import cell as cell_module
from kaiju_sim.fleet import prompts
from kaiju_sim.fleet.cell import Cell, run_until
from kaiju_sim.fleet.prompts import Prompts
from kaiju_sim.steptime import curves
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.workload import laws, popularity, sessions
from kaiju_sim.workload.laws import Laws
from kaiju_sim.workload.sessions import Users


OUTLINED = frozenset(
    {
        "advance",
        "affinity",
        "begin_session",
        "compose_row",
        "drop_node",
        "evict",
        "gather",
        "leave",
        "log_message",
        "name_rest",
        "next_arrival",
        "preempt",
        "prefix_aware",
        "record_completion",
        "rendezvous",
        "sort_due",
        "split",
        "window_drop",
        "window_keep",
    }
)
"""Compiled functions that are called, not inlined: large ones, rare or with several callers."""


def modules() -> tuple[ModuleType, ...]:
    """Every module whose functions are compiled (and whose sources key the cache)."""
    return (
        rng,
        sketch,
        curves,
        laws,
        popularity,
        sessions,
        prefix,
        windows,
        batching,
        routing,
        record,
        loop,
        prompts,
        cell_module,
    )


def keyed() -> tuple[ModuleType, ...]:
    """The modules that the cache is keyed by: those compiled, their records, this one."""
    return (*modules(), layout, sys.modules[__name__])


def borrow_engine(e: Engine) -> Engine:
    """The engine with every array borrowed."""
    v = e.curves
    lent = Curves(
        v.kind,
        v.mean_ns,
        v.host_ns,
        borrowed(v.rows_ns),
        borrowed(v.seqs_ns),
        borrowed(v.slope),
        borrowed(v.offset),
    )
    return Engine(
        e.limits,
        lent,
        borrowed(e.replicas),
        borrowed(e.requests),
        borrowed(e.segments),
        borrowed(e.caches),
        borrowed(e.nodes),
        borrowed(e.node_index),
        borrowed(e.node_pool),
        borrowed(e.windows),
        borrowed(e.window_index),
        borrowed(e.window_pool),
        borrowed(e.hub),
    )


def borrow_world(w: World) -> World:
    """The world with every array borrowed."""
    return World(
        borrow_engine(w.engine),
        borrowed(w.fates),
        borrowed(w.ring),
        borrowed(w.cross),
        borrowed(w.done),
        borrowed(w.done_count),
        borrowed(w.sketch),
        borrowed(w.tally),
    )


def borrow_users(u: Users) -> Users:
    """The traffic with every array borrowed."""
    laws = Laws(borrowed(u.laws.kind), borrowed(u.laws.value), borrowed(u.laws.table))
    return Users(
        u.seed,
        u.cell,
        u.cells,
        u.epoch_ns,
        u.horizon_ns,
        u.replay,
        laws,
        borrowed(u.sessions),
        borrowed(u.wheel),
        borrowed(u.due),
        borrowed(u.clock),
        borrowed(u.rate),
        u.bin_ns,
        borrowed(u.threshold),
        borrowed(u.alias),
        borrowed(u.versions),
        borrowed(u.row_at),
    )


def borrow_prompts(p: Prompts) -> Prompts:
    """The prompts with every array borrowed."""
    return Prompts(
        p.date_tokens,
        p.persona_tokens,
        p.limit,
        p.truncation_step,
        p.max_context,
        p.pin_session,
        p.day_offset_ns,
        borrowed(p.definition),
        borrowed(p.row_prompt),
        borrowed(p.row_output),
        borrowed(p.row_session),
        borrowed(p.row_character),
        borrowed(p.run_offsets),
        borrowed(p.run_stream),
        borrowed(p.run_blocks),
        p.row_shift,
    )


def borrow_routing(g: Routing) -> Routing:
    """The router's knowledge with every array borrowed."""
    return Routing(
        g.policy,
        g.seed,
        g.bound,
        g.min_load,
        g.max_copies,
        g.shard_replicas,
        g.by_session,
        g.load_tokens,
        borrowed(g.state),
        borrowed(g.seen),
        borrowed(g.sent),
        borrowed(g.reports),
        borrowed(g.sent_then),
        borrowed(g.table),
        borrowed(g.copies),
    )


def borrow_cell(cell: Cell) -> Cell:
    """The cell with every array borrowed."""
    return Cell(
        borrow_world(cell.world),
        borrow_users(cell.users),
        borrow_prompts(cell.prompts),
        borrow_routing(cell.routing),
        borrowed(cell.spare),
        borrowed(cell.log),
        borrowed(cell.desk),
        cell.sample,
        cell.report_epochs,
        cell.delay_epochs,
    )


def run_borrowed(cell: Cell, until: int) -> int:
    """`run_until` on borrowed arrays; the caller keeps the cell alive."""
    return run_until(borrow_cell(cell), until)


@functools.cache
def compiled_run_until() -> Callable[[Cell, int], int]:
    """The compiled `run_until`, compiled or loaded at the first call."""
    own = sys.modules[__name__]
    return compiled.compile_entry(run_borrowed, (*modules(), own), keyed(), OUTLINED)


def is_warm() -> bool:
    """Whether the data plane has been compiled on this machine before."""
    return compiled.is_warm(keyed())
