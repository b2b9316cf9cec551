"""The tables of a run: messages, time series of replicas, events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.result import EVENT_COLUMNS, REPLICA_COLUMNS, REQUEST_COLUMNS, table_schema
from kaiju_sim.scenario.schema import Scenario

if TYPE_CHECKING:
    import pyarrow as pa

STATUS = np.array(
    [
        *("completed", "failed", "in_flight", "shed", "cancelled"),
        *("blocked_pre", "blocked_post"),
    ],
    dtype=object,
)
TIERS = np.array(["paid", "free"], dtype=object)


def since(later_ns: Arr, earlier_ns: Arr, reached: Arr) -> "pa.Array":
    """Seconds between two columns of times, null where not reached."""
    import pyarrow as pa

    return pa.array((later_ns - earlier_ns) * 1e-9, mask=~reached)


def measured(scenario: Scenario, log: Arr) -> Arr:
    """Which log rows are in the cohort."""
    warm, horizon = (
        int(scenario.run.measured_from * 1e9 + 0.5),
        int(scenario.run.horizon * 1e9 + 0.5),
    )
    return np.asarray((log["arrival"] >= warm) & (log["arrival"] < horizon))


def request_table(scenario: Scenario, cells: Sequence[Any]) -> "pa.Table":
    """One row per logged message, sorted by arrival, then session."""
    import pyarrow as pa

    log = np.concatenate([c.log for c in cells])
    index = np.repeat([c.cell for c in cells], [c.log.size for c in cells])
    order = np.lexsort((log["session"], log["arrival"]))
    log, index = log[order], index[order]
    ended = log["status"] == 0
    began = log["first"] >= 0
    gaps = np.maximum(log["out"] - 1, 1)
    tpot = (log["end"] - log["first"]) / gaps * 1e-9
    columns = {
        "replication": np.zeros(log.size, np.int32),
        "cell": index.astype(np.int32),
        "arrival_s": log["arrival"] * 1e-9,
        "queue_s": since(log["admit"], log["arrival"], log["admit"] >= 0),
        "ttft_s": since(log["first"], log["arrival"], began),
        "tpot_s": pa.array(tpot, mask=~(ended & (log["out"] > 1))),
        "e2e_s": since(log["end"], log["arrival"], ended),
        "prompt_tokens": log["prompt"],
        "cached_tokens": log["cached"],
        "cached_host_tokens": log["cached_host"],
        "output_tokens": np.where(ended | (log["status"] == 6), log["out"], 0).astype(np.int32),
        "preemptions": log["preempted"],
        "tier": pa.array(TIERS[log["tier"]], type=pa.string()),
        "status": pa.array(STATUS[log["status"]], type=pa.string()),
        "measured": measured(scenario, log),
    }
    columns["replica"] = pa.array(replica_of(cells)[order], mask=log["replica"] < 0)
    for name in ("session", "turn", "swipe", "attempt", "character"):
        columns[name] = log[name]
    schema = table_schema(REQUEST_COLUMNS)
    return pa.table([pa.array(columns[n], type=schema.field(n).type) for n in schema.names], schema)


def replica_of(cells: Sequence[Any]) -> Arr:
    """The replica of each logged message, numbered through the fleet as in replicas.parquet."""
    return np.concatenate([c.log["replica"] + c.cell * c.states["replicas"].size for c in cells])


def replica_table(scenario: Scenario, cells: Sequence[Any]) -> "pa.Table":
    """One row per tick and replica, sorted by time, cell, replica."""
    import pyarrow as pa

    schema = table_schema(REPLICA_COLUMNS)
    parts = []
    most = scenario.fleet.most_replicas // scenario.fleet.cells
    for c in cells:
        for row in c.ticks:
            n = row["replica"].size
            place = {"cell": np.full(n, c.cell), "replica": row["replica"] + c.cell * most}
            parts.append({**row, **place, "replication": np.zeros(n, np.int32)})
    if not parts:
        return schema.empty_table()
    merged = {name: np.concatenate([p[name] for p in parts]) for name in schema.names}
    order = np.lexsort((merged["replica"], merged["cell"], merged["time_s"]))
    arrays = [pa.array(merged[n][order], type=schema.field(n).type) for n in schema.names]
    return pa.table(arrays, schema)


def logged(cells: Sequence[Any]) -> Arr:
    """The log rows of all cells."""
    return np.concatenate([c.log for c in cells])


def event_table(
    cells: Sequence[Any], more: Sequence[tuple[float, str, str, str]] = ()
) -> "pa.Table":
    """Control events and `more`, sorted by time; at one instant by cell, then `more`."""
    import pyarrow as pa

    schema = table_schema(EVENT_COLUMNS)
    rows = sorted([*(e for c in cells for e in c.events), *more], key=lambda e: e[0])
    return pa.table(
        [pa.array([(0, *r)[i] for r in rows], field.type) for i, field in enumerate(schema)], schema
    )
