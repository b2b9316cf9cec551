"""What a simulation hands back: a flat summary and four tables.

This is the only thing that reports, the command line and the app know of a finished simulation.
The columns are fixed here, so that a run directory means the same whoever wrote it. Units are SI
and stand in the names; a value that was never reached (the end of a message that failed) is null,
never a sentinel.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

REQUEST_COLUMNS: dict[str, str] = {
    "replication": "int32",
    "cell": "int32",
    "session": "int64",
    "turn": "int32",
    "swipe": "int32",
    "attempt": "int32",
    "character": "int32",
    "tier": "string",
    "replica": "int32",
    "arrival_s": "float64",
    "queue_s": "float64",
    "ttft_s": "float64",
    "tpot_s": "float64",
    "e2e_s": "float64",
    "prompt_tokens": "int32",
    "cached_tokens": "int32",
    "cached_host_tokens": "int32",
    "output_tokens": "int32",
    "preemptions": "int32",
    "status": "string",
    "measured": "bool",
}
"""One row per message. `swipe` counts the answers to this turn that were rejected before,
`attempt` how often the message had been sent before in vain. `queue_s`, `ttft_s`, `tpot_s`,
`e2e_s` are null if not reached; `status` is completed, failed, shed, cancelled, blocked_pre,
blocked_post or in_flight; `tier` is paid or free; `measured` says whether it is in the cohort.
`replica` is numbered through the fleet, null for a message that was never sent to one."""

REPLICA_COLUMNS: dict[str, str] = {
    "replication": "int32",
    "time_s": "float64",
    "cell": "int32",
    "replica": "int32",
    "waiting": "int32",
    "prefilling": "int32",
    "running": "int32",
    "kv_global_used": "int64",
    "kv_global_cached": "int64",
    "kv_global_blocks": "int64",
    "kv_local_used": "int64",
    "kv_local_cached": "int64",
    "kv_local_windows": "int64",
    "kv_host_cached": "int64",
    "kv_host_blocks": "int64",
    "busy_s": "float64",
    "steps": "int64",
    "arrived": "int64",
    "completed": "int64",
    "prompt_tokens": "int64",
    "cached_tokens": "int64",
    "cached_host_tokens": "int64",
    "output_tokens": "int64",
}
"""One row per tick and replica that was paid for in it. `time_s` is the end of the tick. From
`waiting` to `kv_host_blocks`: the state at that instant (`running` counts decoding messages, `used`
blocks are referenced by a message, `cached` ones are kept for reuse only). From `busy_s` on: totals
of the tick that ends there."""

SERIES_COLUMNS: dict[str, str] = {
    "replication": "int32",
    "time_s": "float64",
    "level": "string",
    "cell": "int32",
    "shard": "int32",
    "replicas": "int64",
    "arrived_per_s": "float64",
    "completed_per_s": "float64",
    "prompt_tokens_per_s": "float64",
    "output_tokens_per_s": "float64",
    "waiting": "int64",
    "prefilling": "int64",
    "running": "int64",
    "kv_global_utilisation": "float64",
    "kv_local_utilisation": "float64",
    "prefix_hit_rate": "float64",
    "busy": "float64",
    "steps": "int64",
}
"""One row per tick and part of the fleet: `level` is fleet, cell or shard (`cell` and `shard` are
null above their level). A shard is `fleet.shard_replicas` consecutive replicas of a cell, numbered
through the fleet. Rates, `steps`, `prefix_hit_rate` and `busy` are of the tick that ends at
`time_s`, the others are the state then; `waiting` of fleet and cell counts a central queue too,
`kv_*` and `busy` are fractions (0-1). Null: nothing to divide by."""

EVENT_COLUMNS: dict[str, str] = {
    "replication": "int32",
    "time_s": "float64",
    "kind": "string",
    "subject": "string",
    "detail": "string",
}
"""One row per fleet event (an edit, a fault, an action), in time order."""


@dataclass(frozen=True)
class RunResult:
    """The outcome of one simulation, without anything of the wall clock or the machine."""

    summary: dict[str, Any]
    """Flat keys such as `ttft_s.p50`, SI units, JSON values (null where there is none, no NaN);
    docs/metrics.md defines each."""
    requests: "pa.Table"
    """Columns REQUEST_COLUMNS; above `results.request_rows`, a deterministic sample."""
    replicas: "pa.Table"
    """Columns REPLICA_COLUMNS, sorted by replication, time, cell, replica."""
    series: "pa.Table"
    """Columns SERIES_COLUMNS, sorted by replication, time, level (fleet, cell, shard), part."""
    events: "pa.Table"
    """Columns EVENT_COLUMNS, sorted by replication, time."""
    intervals: dict[str, Any] = field(default_factory=dict)
    """With replications: each figure's mean, 95 % interval and values; else empty."""


def table_schema(columns: dict[str, str]) -> "pa.Schema":
    """Arrow schema of one of the column lists above (imports pyarrow on first use)."""
    import pyarrow as pa

    types = {
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.string(),
        "bool": pa.bool_(),
    }
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])
