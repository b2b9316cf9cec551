"""Lending every array of a cell to the compiled loop (see `engine.lend`)."""

from kaiju_sim.engine.lend import lend, lend_world
from kaiju_sim.engine.policy.routing import Routing
from kaiju_sim.fleet.prompts import Prompts
from kaiju_sim.fleet.records import Cell
from kaiju_sim.workload.laws import Laws
from kaiju_sim.workload.sessions import Users


def lend_users(u: Users) -> Users:
    """The traffic with every array lent."""
    laws = Laws(lend(u.laws.kind), lend(u.laws.value), lend(u.laws.table))
    return Users(
        u.seed,
        u.cell,
        u.cells,
        u.epoch_ns,
        u.horizon_ns,
        u.replay,
        laws,
        lend(u.sessions),
        lend(u.wheel),
        lend(u.due),
        lend(u.clock),
        lend(u.rate),
        u.bin_ns,
        lend(u.threshold),
        lend(u.alias),
        lend(u.versions),
        lend(u.row_at),
    )


def lend_prompts(p: Prompts) -> Prompts:
    """The prompts with every array lent."""
    return Prompts(
        p.date_tokens,
        p.persona_tokens,
        p.limit,
        p.truncation_step,
        p.max_context,
        p.pin_session,
        p.day_offset_ns,
        lend(p.definition),
        lend(p.row_prompt),
        lend(p.row_output),
        lend(p.row_session),
        lend(p.row_character),
        lend(p.run_offsets),
        lend(p.run_stream),
        lend(p.run_blocks),
        p.row_shift,
    )


def lend_routing(g: Routing) -> Routing:
    """The router's knowledge with every array lent."""
    return Routing(
        g.policy,
        g.seed,
        g.bound,
        g.min_load,
        g.max_copies,
        g.shard_replicas,
        g.by_session,
        g.load_tokens,
        lend(g.state),
        lend(g.seen),
        lend(g.sent),
        lend(g.reports),
        lend(g.sent_then),
        lend(g.table),
        lend(g.copies),
    )


def lend_cell(cell: Cell) -> Cell:
    """The cell with every array lent."""
    return Cell(
        lend_world(cell.world),
        lend_users(cell.users),
        lend_prompts(cell.prompts),
        lend_routing(cell.routing),
        lend(cell.spare),
        lend(cell.log),
        lend(cell.desk),
        cell.sample,
        cell.report_epochs,
        cell.delay_epochs,
    )
