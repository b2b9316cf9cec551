"""Which fleets nobody beats: a grid around a scenario, and its points."""

from collections.abc import Mapping, Sequence
from typing import Any

from kaiju_sim.report.format import show
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.sweep.front import COST, INTERACTIVITY, TTFT

Rows = list[dict[str, Any]]
WINDOW = ("run.warm_up=1min", "run.horizon=3min", "run.drain=1min", "results.request_rows=0")
"""Two minutes of the scenario's beginning."""
SHARES = (0.8, 0.9, 1.0, 1.15, 1.3)
"""Sizes of fleets, over the scenario's."""
BUDGETS = (512, 1024, 2048, 4096)
BATCHES = (64, 128, 256)
FIELDS: Mapping[str, str] = {
    "routers": "router.policy",
    "budgets": "engine.token_budget",
    "batches": "engine.max_seqs",
}
KINDS = ("on the front", "keeps, but is beaten", "on the front, breaks an objective", "breaks one")


def replicas_of(s: Scenario) -> list[int]:
    """Fleets around the scenario's, in whole shards of every cell."""
    unit = s.fleet.cells * max(1, s.fleet.shard_replicas)
    found = {max(unit, round(s.fleet.replicas * share / unit) * unit) for share in SHARES}
    return sorted(found)


def grid(replicas: Sequence[int], **values: Sequence[Any]) -> list[str]:
    """Axes of the sweep; an empty choice leaves the scenario's own value."""
    axes = {"fleet.replicas": replicas} | {FIELDS[name]: found for name, found in values.items()}
    return [f"{path}=[{', '.join(map(str, found))}]" for path, found in axes.items() if found]


def kind(row: Mapping[str, Any]) -> str:
    """What a point is among the others."""
    if row["breaks"]:
        return KINDS[2] if row["on_front"] else KINDS[3]
    return KINDS[0] if row["on_front"] else KINDS[1]


def points(found: Mapping[str, Any]) -> Rows:
    """Points that have a cost and a p99."""
    return [
        {
            "usd": row["summary"][COST] * 1000,
            "ttft": row["summary"][TTFT],
            "tokens": row["summary"].get(INTERACTIVITY),
            "kind": kind(row),
            "set": words(row),
        }
        for row in found["rows"]
        if row["summary"].get(COST) is not None and row["summary"].get(TTFT) is not None
    ]


def front(rows: Rows) -> Rows:
    """Of the points that keep their objectives, those that no other beats in cost and TTFT."""
    kept = [row for row in rows if row["kind"] in KINDS[:2]]
    best: Rows = []
    for row in sorted(kept, key=lambda r: (r["usd"], r["ttft"])):
        if not best or row["ttft"] < best[-1]["ttft"]:
            best.append(row)
    return best


def left_out(found: Mapping[str, Any]) -> int:
    """Points that cannot be drawn: infeasible, or over 1 % never got a first token."""
    return len(found["rows"]) - len(points(found))


def words(row: Mapping[str, Any]) -> str:
    """What a point sets."""
    return ", ".join(f"{path.rpartition('.')[2]} {v}" for path, v in row["values"].items())


def table(found: Mapping[str, Any]) -> Rows:
    """All points."""
    return [
        dict(row["values"])
        | {
            "USD/1,000 messages": _show(row, COST, 1000),
            "TTFT p99": show(row["summary"].get(TTFT), "duration") if row["summary"] else "",
            "tokens/s a user sees": _show(row, INTERACTIVITY, 1),
            "breaks": ", ".join(row["breaks"]),
            "on the front": "yes" if row["on_front"] else "",
            "problem": row["problem"] or "",
        }
        for row in found["rows"]
    ]


def _show(row: Mapping[str, Any], key: str, times: float) -> float | None:
    value = row["summary"].get(key)
    return None if value is None else round(value * times, 5)
