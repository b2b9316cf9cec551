"""Random small fleets, tight enough that queues, evictions and preemptions happen.

Each is a pure function of a number: `fleet(7)` is the same workload everywhere.
"""

import json
import random
from pathlib import Path
from typing import Any

from fleet_runs import constant, scenario_of
from hypothesis import strategies as st
from pydantic import ValidationError

from kaiju_sim.scenario.schema import Scenario

Draw = random.Random
Tree = dict[str, Any]
POLICIES = (
    "affinity",
    "affinity",
    "sticky",
    "rendezvous",
    "prefix_aware",
    "least_loaded",
    "round_robin",
    "power_of_two",
)
BLOCKS_PROMPT = 1400
"""Prompts of the trace with block ids go up to this; those of the others are a tenth of them."""
PLANS = ([0.5], [0.0, 1.0], [0.3, 0.8, 2.2])
"""Times of planned changes."""
TRACES = ("blocks.jsonl", "sessions.jsonl", "plain.jsonl")


def write_traces(folder: Path) -> Path:
    """Three small traces: with block ids that share prefixes, with sessions only, with neither."""
    draw = random.Random(7)
    rows: list[dict[str, Any]] = []
    at = 0.0
    for _ in range(90):
        at += draw.choice([0.0, draw.expovariate(8.0)])
        rows.append({"arrival_s": round(at, 6), "output_tokens": draw.randint(1, 30)})
    tree = [list(range(100 * i, 100 * i + 5)) for i in range(4)]
    for i, row in enumerate(rows):
        prompt = draw.randint(1, BLOCKS_PROMPT)
        row["prompt_tokens"] = prompt
        need = -(-prompt // 512)
        path = draw.choice(tree)[: draw.randint(0, need)]
        row["block_ids"] = path + [10_000 + 10 * i + j for j in range(need - len(path))]
        row["session"] = draw.randrange(12)
        row["character"] = draw.randrange(3)
    plain = ("arrival_s", "prompt_tokens", "output_tokens")
    kept = {
        "blocks.jsonl": (*plain, "block_ids"),
        "sessions.jsonl": (*plain, "session", "character"),
        "plain.jsonl": plain,
    }
    for name, keys in kept.items():
        lines = [json.dumps({key: row[key] for key in keys}) for row in rows]
        for row in rows:
            row["prompt_tokens"] = row["prompt_tokens"] // 10 + 1
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def counts(draw: Draw, most: int, *, whole: bool = False) -> Tree:
    """A distribution of token counts (`whole`: none that may be under 1)."""
    mean = draw.randint(1, most)
    kinds: list[Tree] = [
        constant(mean),
        {"kind": "exponential", "mean": mean},
        {"kind": "geometric", "mean": mean},
        {"kind": "uniform", "min": 0, "max": 2 * mean},
    ]
    return draw.choice(kinds[:3] if whole else kinds)


def traffic(draw: Draw) -> Tree:
    """Dialogues, single messages, or a trace."""
    kind = draw.choice(["sessions", "sessions", "sessions", "poisson", "replay"])
    if kind == "replay":
        trace = {
            "file": draw.choice(TRACES),
            "rate_scale": draw.choice([0.5, 1.0, 3.0]),
            "spread": draw.choice([0.0, 0.25]),
        }
        return {"kind": kind, "trace": trace}
    return {
        "kind": kind,
        "messages_per_s": draw.choice([40.0, 10.0]),
        "sessions": sessions(draw, closed=kind == "sessions"),
        "output_tokens": counts(draw, 60),
        "client": client(draw),
        "paid_share": draw.choice([0.0, 0.4]),
        "burstiness": draw.choice([1.0, 1.0, 0.5, 3.0]),
    }


def client(draw: Draw) -> Tree:
    """What users do who wait too long."""
    return {
        "timeout": draw.choice([None, None, 0.2, 1.0]),
        "retries": draw.randint(0, 3),
        "backoff": draw.choice([0.01, 0.4]),
        "jitter": draw.choice([0.0, 0.5]),
    }


def sessions(draw: Draw, *, closed: bool) -> Tree:
    """How users behave."""
    return {
        "swipe_rate": draw.choice([0.0, 0.3]) if closed else 0.0,
        "swipe_delay": {"kind": "exponential", "mean": draw.choice([0.05, 0.5])},
        "abandon_rate": draw.choice([0.0, 0.1]) if closed else 0.0,
        "live": draw.randint(0, 12),
        "turns": counts(draw, 8, whole=True),
        "think": {"kind": "exponential", "mean": draw.choice([0.05, 1.0])},
        "user_tokens": counts(draw, 12),
        "initial_history": counts(draw, 60),
    }


def memory(draw: Draw, context: int, engine: Tree) -> Tree:
    """KV memory that holds one sequence and little more, or plenty."""
    tokens = draw.choice([1, 2, 4, 16, 32])
    retention = draw.choice(["turn_end", "prompt_end", "definition", "all", "none"])
    one = -(-context // tokens)
    if engine["candidates"] > 1:
        one += engine["candidates"] * (engine["chunk_tokens"] // tokens + 2)
    kv: Tree = {
        "block_tokens": tokens,
        "prefix_cache": draw.random() < 0.8,
        "cache_generated": draw.random() < 0.5,
        "local_retention": retention,
        "global_blocks": one + draw.choice([0, 1, one // 2, 2 * one, 40 * one]),
        "host_memory": draw.choice([0, 3_000_000, 30_000_000, 300_000_000]),
        "host_bandwidth": draw.choice([1e8, 1e10, "catalog"]),
        "link_replicas": draw.choice([1, 1, 2]),
    }
    if retention != "all":
        kv["local_windows"] = draw.choice([1, 2, 5, 200])
    return kv


def steps(draw: Draw) -> Tree:
    """A law of step times."""
    kind = draw.choice(["constant", "exponential", "roofline"])
    return {"kind": kind} if kind == "roofline" else {"kind": kind, "step": 0.01}


def router(draw: Draw) -> Tree:
    """A policy and what the router knows."""
    return {
        "policy": draw.choice(POLICIES),
        "queue": draw.choice(["replica", "replica", "central"]),
        "report_interval": draw.choice([0.001, 0.5]),
        "report_delay": draw.choice([0.0, 0.4]),
        "min_load": draw.randint(0, 3),
        "max_copies": draw.randint(1, 3),
        "rendezvous_key": draw.choice(["character", "session"]),
        "recovery": draw.choice(["relearn", "stored", "rebuild"]),
        "recovery_delay": draw.choice([0.0, 0.7]),
        "snapshot_interval": 0.8,
    }


def engine(draw: Draw, context: int) -> Tree:
    """A batching policy with room for one sequence to many."""
    seqs = draw.choice([16, 8, 3, 2, 1])
    return {
        "policy": draw.choice(["decode_first", "prefill_first", "ttft_aware"]),
        "priority": draw.choice(["none", "paid_first", "deadline"]),
        "queue_limit": draw.choice([None, None, 1, 4]),
        "shed": draw.choice(["none", "none", "late"]),
        "candidates": draw.choice([1, 1, 1, 2, 4]),
        "chunk_tokens": draw.choice([4, 16]),
        "max_seqs": seqs,
        "token_budget": draw.randint(max(16, seqs), 64) * (context // 150),
        "max_context": context,
    }


def run(draw: Draw, *, auto: bool) -> Tree:
    """Times: a few seconds of traffic."""
    return {
        "warm_up": "auto" if auto else draw.choice([0.0, 2.0]),
        "horizon": draw.choice([2.5, 6.0]),
        "epoch": draw.choice([0.002, 0.05, 0.3]),
        "start": draw.choice(["warm", "cold"]),
    }


def characters(draw: Draw) -> Tree:
    """A few characters, edited often or not at all."""
    pinning = draw.choice(["session", "none"])
    return {
        "count": draw.randint(1, 5),
        "definition_tokens": counts(draw, 15),
        "edits_per_hour": draw.choice([0.0, 3000.0]),
        "pinning": pinning,
        "invalidate": pinning == "none" and draw.random() < 0.5,
    }


def prompt(draw: Draw) -> Tree:
    """Short prompts that are cut often."""
    return {
        "date_tokens": draw.choice([0, 3]),
        "persona_tokens": draw.choice([0, 5]),
        "limit": 149,
        "truncation_step": draw.choice([1, 16, 60]),
    }


def objectives(draw: Draw) -> Tree:
    """Objectives that some messages miss."""
    return {
        "ttft": draw.choice([0.1, 0.5, 3.0]),
        "paid_ttft": draw.choice([None, 0.2]),
        "tpot": draw.choice([None, 0.011, 0.03]),
    }


def change(draw: Draw, unit: int, at: float) -> Tree:
    """A planned change of the fleet."""
    action = draw.choice(["add_shards", "add_shards", "drain_shards", "scale", "lose_table"])
    change: Tree = {"at": at, "action": action}
    if action == "scale":
        change["replicas"] = unit * draw.randint(1, 3)
    elif action != "lose_table":
        change["count"] = 1
    return change | {"warm": draw.choice(["cold", "shadow"])}


def elastic(draw: Draw, replicas: int, unit: int) -> Tree:
    """A fleet of so many replicas: fixed, changed by plan, autoscaled, or of two kinds of GPU."""
    delays = ("provisioning_delay", "load_delay", "shadow_time", "ramp_time")
    fleet: Tree = {"replicas": replicas, **{name: draw.choice([0.0, 0.6]) for name in delays}}
    kind = draw.choice(["fixed", "changes", "changes", "changes", "autoscale", "groups"])
    if kind == "changes":
        fleet["changes"] = [change(draw, unit, at) for at in draw.choice(PLANS)]
    elif kind == "autoscale":
        fleet["autoscale"] = {
            "metric": draw.choice(["load", "waiting", "kv"]),
            "target": draw.choice([0.3, 2.0]),
            "min": unit,
            "max": replicas + unit,
            "interval": 0.4,
            "scale_in_delay": draw.choice([0.0, 1.0]),
            "warm": draw.choice(["cold", "shadow"]),
        }
    elif kind == "groups" and replicas > unit:
        other = {"replicas": unit, "gpu": "H100-80GB", "memory_utilisation": 0.7}
        fleet["groups"] = [{"replicas": replicas - unit}, other]
    return fleet


def assumed(value: float) -> Tree:
    """A value that nobody has measured."""
    return {"value": value, "low": 0.0, "high": 1.0, "source": "a test", "grade": "U"}


def safety(draw: Draw) -> Tree:
    """No safety gate, or one that is often full or late and blocks many."""
    pre = draw.choice(["none", "none", "before", "before", "after"])
    classes = {"violating": assumed(draw.choice([0.1, 0.5])), "intense": assumed(0.3)}
    return {
        "pre": pre,
        "pool": {
            "servers": draw.choice([1, 3]),
            "service": draw.choice(["lognormal", "exponential", "constant"]),
            "service_mean_s": assumed(draw.choice([0.001, 0.03, 0.3])),
            "queue_limit": draw.choice([None, 1, 4]),
            "overload": draw.choice(["open", "closed"]),
            "timeout": draw.choice([None, 0.02, 0.5]),
            "failure": draw.choice(["open", "closed"]),
        },
        "post": {"kind": "none" if pre == "none" else draw.choice(["none", "classifier", "head"])},
        "teen_share": assumed(0.4),
        "adult": {"classes": classes},
        "refused": {
            "leave": assumed(0.2),
            "reword": assumed(draw.choice([0.0, 0.5])),
            "pause_s": assumed(draw.choice([0.0, 0.2])),
        },
    }


def fleet(number: int) -> Scenario:
    """A small fleet of 1 to 3 cells, for a few seconds of traffic, drained to the end.

    Draws that contradict each other are drawn anew.
    """
    for attempt in range(1000):
        try:
            return drawn(Draw(number * 1000 + attempt))
        except ValidationError:
            continue
    raise AssertionError(f"no valid workload {number}")


def drawn(draw: Draw) -> Scenario:
    """The fleet of one series of draws."""
    shard = draw.choice([1, 1, 2])
    source = traffic(draw)
    cells = 1 if source["kind"] == "replay" else draw.randint(1, 3)
    context = draw.randint(150, 260)
    if source.get("trace", {}).get("file") == TRACES[0]:
        context += BLOCKS_PROMPT - 100
    replicas = cells * shard * draw.randint(1, 3)
    auto = source["kind"] != "replay" and draw.random() < 0.2
    batching = engine(draw, context)
    return scenario_of(
        {
            "seed": draw.randint(0, 1000),
            "run": run(draw, auto=auto),
            "traffic": source,
            "characters": characters(draw),
            "prompt": prompt(draw),
            "fleet": {"cells": cells, "shard_replicas": shard}
            | elastic(draw, replicas, cells * shard),
            "router": router(draw),
            "engine": batching,
            "kv": memory(draw, context, batching),
            "steptime": steps(draw),
            "slo": objectives(draw),
            "results": {"tick": 0.02 if auto else draw.choice([0.3, 1.0])},
            "safety": safety(draw),
        }
    )


def scenarios() -> st.SearchStrategy[Scenario]:
    """Random fleets for hypothesis."""
    return st.integers(0, 2**31 - 1).map(fleet)
