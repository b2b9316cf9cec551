"""The compiled data plane: `run_until` of a cell."""

import functools
import sys
from collections.abc import Callable
from types import ModuleType

from kaiju_sim import rng, sketch
from kaiju_sim.engine import crash, intake, layout, limits, loop, patience, record, sequences
from kaiju_sim.engine.jit import compiled
from kaiju_sim.engine.policy import batching, pacing, queues, routing, withdraw
from kaiju_sim.engine.policy.kv import host, index, memory, prefix, warmth, windows
from kaiju_sim.fleet import cell, records, safety_gate
from kaiju_sim.fleet.cell import run_until
from kaiju_sim.fleet.gate import pool, scores
from kaiju_sim.fleet.gate import records as gate_records
from kaiju_sim.fleet.messages import log, outcomes, prompts, sending
from kaiju_sim.fleet.records import Cell
from kaiju_sim.steptime import curves
from kaiju_sim.workload import habits, laws, popularity, sessions

OUTLINED = frozenset(
    {
        "admit",
        "advance",
        "affinity",
        "answer_score",
        "arrive",
        "begin_session",
        "blocked",
        "by_deadline",
        "compose_row",
        "choose",
        "copy_out",
        "crash",
        "demote",
        "drop",
        "drop_node",
        "end_prefill",
        "evict",
        "gamma",
        "gather",
        "haste_helps",
        "judge",
        "leave_gate",
        "leave",
        "fetch",
        "log_message",
        "most_tokens",
        "name_rest",
        "next_arrival",
        "normal",
        "pass_gate",
        "preempt",
        "predicted_ns",
        "prefix_aware",
        "record_completion",
        "release",
        "rendezvous",
        "shed_waiting",
        "sort_due",
        "split",
        "window_demote",
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
        habits,
        sessions,
        index,
        prefix,
        windows,
        queues,
        pacing,
        host,
        memory,
        batching,
        withdraw,
        patience,
        routing,
        warmth,
        record,
        sequences,
        intake,
        crash,
        loop,
        prompts,
        log,
        pool,
        scores,
        outcomes,
        sending,
        safety_gate,
        cell,
    )


def keyed() -> tuple[ModuleType, ...]:
    """The modules that the cache is keyed by: those compiled, their records, this one."""
    return (*modules(), layout, limits, records, gate_records, sys.modules[__name__])


@functools.cache
def compiled_run_until() -> Callable[[Cell, int], int]:
    """The compiled `run_until`, compiled or loaded at the first call."""
    return compiled.compile_entry(run_until, modules(), keyed(), OUTLINED)


def is_warm() -> bool:
    """Whether the data plane has been compiled on this machine before."""
    return compiled.is_warm(keyed())
