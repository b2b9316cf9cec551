"""Made-up results that look like a small fleet's evening, for tests of everything downstream."""

from typing import Any

import numpy as np
import pyarrow as pa

from kaiju_sim.metrics.result import (
    EVENT_COLUMNS,
    REPLICA_COLUMNS,
    REQUEST_COLUMNS,
    SERIES_COLUMNS,
    RunResult,
    table_schema,
)

SCENARIO_YAML = """\
schema_version: 1
name: evening
seed: 7
model: kaiju-13b
traffic:
  kind: sessions
  messages_per_s: 904.0
fleet:
  replicas: 8
"""


def summary(**changes: Any) -> dict[str, Any]:
    """A complete summary; keyword `a__b=1` sets key `a.b`."""
    values: dict[str, Any] = {
        "verdict": "stable",
        "profile.id": "roofline/kaiju-13b/H100-80GB/tp1",
        "profile.source": "roofline",
        "profile.rel_error_low": None,
        "profile.rel_error_high": None,
        "profile.kv_blocks": "memory",
        "run.warm_up_s": 200.0,
        "run.warm_up_detected_s": 150.0,
        "run.steady_state": "settled",
        "fleet.gpus": 8,
        "fleet.replicas": 8,
        "fleet.tensor_parallel": 1,
        "fleet.cells": 1,
        "fleet.gpu": "H100-80GB",
        "fleet.model": "kaiju-13b",
        "requests.arrived": 3_254_400,
        "requests.blocked_pre": 0,
        "requests.shed": 0,
        "requests.failed": 12,
        "requests.cancelled": 0,
        "requests.completed": 3_254_300,
        "requests.blocked_post": 0,
        "requests.in_flight": 88,
        "prefix_hit_rate": 0.9312,
        "kv_utilisation.global": 0.423,
        "kv_utilisation.local": 0.118,
        "gpu_busy_fraction": 0.8813,
        "goodput_per_s": 903.1,
        "slo.attainment": 0.99912,
        "slo.availability": 0.999969,
        "slo.stream_tokens_per_s": 33.2,
        "slo.persona": None,
        "throughput.messages_per_s": 903.97,
        "throughput.output_tokens_per_s": 462_832.0,
        "throughput.prompt_tokens_per_s": 4_910_000.0,
        "throughput.output_tokens_per_gpu_s": 57_854.0,
        "cost.usd_per_hour": 18.8,
        "cost.usd_per_message": 5.78e-6,
        "cost.usd_per_million_output_tokens": 0.0113,
        "cost.usd_per_million_input_tokens": 0.00106,
        "cost.input_share": 0.31,
        "cost.usd_per_conversation_hour": 0.000376,
        "cost.usd_per_month": 13_724.0,
        "cost.gross_margin": None,
        "stated.messages_per_s": 904.0,
        "stated.live_sessions": 50_000,
        "stated.turn_cycle_s": 55.0,
        "stated.prompt_tokens_mean": None,
        "stated.output_tokens_mean": 512.0,
        "realised.messages_per_s": 903.97,
        "realised.live_sessions": 49_871.2,
        "realised.turn_cycle_s": 55.2,
        "realised.prompt_tokens_mean": 5432.1,
        "realised.output_tokens_mean": 511.9,
        "quantile_rel_error": 0.005,
    }
    return values | _latencies() | {key.replace("__", "."): value for key, value in changes.items()}


def _latencies() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for place, family in enumerate(("ttft_s", "tpot_s", "itl_s", "e2e_s", "queue_s")):
        scale = (0.18, 0.03, 0.029, 15.2, 0.021)[place]
        for statistic, factor in (("p50", 1.0), ("p90", 1.9), ("p99", 5.3), ("mean", 1.2)):
            values[f"{family}.{statistic}"] = round(scale * factor, 6)
        values[f"{family}.count_inf"] = 100
    return values


def result(replicas: int = 8, ticks: int = 120, messages: int = 4000, **changes: Any) -> RunResult:
    """A RunResult whose tables have every column; the same arguments give the same values."""
    rng = np.random.Generator(np.random.PCG64(3))
    return RunResult(
        summary(**changes),
        _requests(rng, messages, replicas, ticks * 10.0),
        _replicas(rng, replicas, ticks),
        _series(rng, replicas // 2, ticks),
        _events(ticks * 10.0),
    )


def _requests(rng: np.random.Generator, n: int, replicas: int, span_s: float) -> pa.Table:
    arrival = np.sort(rng.uniform(0, span_s, n))
    queue = rng.exponential(0.02, n)
    ttft = queue + rng.lognormal(-1.9, 0.5, n)
    output = rng.integers(1, 1024, n)
    tpot = rng.lognormal(-3.5, 0.2, n)
    done = rng.uniform(size=n) < 0.99
    prompt = rng.integers(1000, 8192, n)
    columns = {
        "replication": np.zeros(n),
        "cell": np.zeros(n),
        "session": rng.integers(0, 900, n),
        "turn": rng.integers(0, 40, n),
        "swipe": np.zeros(n),
        "attempt": np.zeros(n),
        "tier": ["free"] * n,
        "character": rng.zipf(1.6, n).clip(max=5000),
        "replica": rng.integers(0, replicas, n),
        "arrival_s": arrival,
        "queue_s": queue,
        "ttft_s": ttft,
        "tpot_s": _nulls(tpot, done & (output > 1)),
        "e2e_s": _nulls(ttft + tpot * (output - 1), done),
        "prompt_tokens": prompt,
        "cached_tokens": (prompt * rng.beta(9, 1, n)).astype(int) // 64 * 64,
        "cached_host_tokens": np.zeros(n),
        "output_tokens": output,
        "preemptions": (rng.uniform(size=n) < 0.01).astype(int),
        "status": [("completed" if d else "in_flight") for d in done],
        "measured": arrival >= span_s / 6,
    }
    return _table(columns, REQUEST_COLUMNS)


def _replicas(rng: np.random.Generator, replicas: int, ticks: int) -> pa.Table:
    tick = np.repeat(np.arange(1, ticks + 1), replicas)
    replica = np.tile(np.arange(replicas), ticks)
    n = tick.size
    load = 0.62 + 0.25 * np.sin(tick / ticks * 3.1) + 0.04 * np.cos(replica * 2.0)
    load = (load + rng.normal(0, 0.02, n)).clip(0.05, 1)
    arrived = rng.poisson(1130 * load / 8)
    columns = {
        "replication": np.zeros(n),
        "time_s": tick * 10.0,
        "cell": np.zeros(n),
        "replica": replica,
        "waiting": rng.poisson(load**8 * 6),
        "prefilling": rng.poisson(2 * load),
        "running": (140 * load).astype(int),
        "kv_global_used": (9000 * load).astype(int),
        "kv_global_cached": ((20000 - 9000 * load) * (1 - np.exp(-tick / 12))).astype(int),
        "kv_global_blocks": np.full(n, 20000),
        "kv_local_used": (300 * load).astype(int),
        "kv_local_cached": np.full(n, 500),
        "kv_local_windows": np.full(n, 1200),
        "kv_host_cached": np.zeros(n),
        "kv_host_blocks": np.zeros(n),
        "busy_s": 10 * load,
        "steps": (330 * load).astype(int),
        "arrived": arrived,
        "completed": (arrived * 0.99).astype(int),
        "prompt_tokens": arrived * 5400,
        "cached_tokens": (arrived * 5400 * 0.93 * (1 - np.exp(-tick / 8))).astype(int),
        "cached_host_tokens": np.zeros(n),
        "output_tokens": arrived * 512,
    }
    return _table(columns, REPLICA_COLUMNS)


def _series(rng: np.random.Generator, shards: int, ticks: int) -> pa.Table:
    """The fleet, its one cell, and shards of two replicas."""
    parts = shards + 2
    tick = np.repeat(np.arange(1, ticks + 1), parts)
    place = np.tile(np.arange(parts), ticks)
    n = tick.size
    shard = place >= 2
    load = np.where(shard, 2, 2 * shards) * (0.6 + 0.02 * place + rng.normal(0, 0.02, n))
    columns = {
        "replication": np.zeros(n),
        "time_s": tick * 10.0,
        "level": [("fleet", "cell", "shard")[min(p, 2)] for p in place],
        "cell": _nulls(np.zeros(n), place >= 1),
        "shard": _nulls(place - 2.0, shard),
        "replicas": np.where(shard, 2, 2 * shards),
        "arrived_per_s": 14 * load,
        "completed_per_s": 13.8 * load,
        "prompt_tokens_per_s": 14 * 5400 * load,
        "output_tokens_per_s": 14 * 512 * load,
        "waiting": rng.poisson(load),
        "prefilling": rng.poisson(2 * load),
        "running": (140 * load).astype(int),
        "kv_global_utilisation": np.full(n, 0.4),
        "kv_local_utilisation": np.full(n, 0.2),
        "prefix_hit_rate": _nulls(0.9 - 0.01 * place, tick > 1),
        "busy": np.full(n, 0.8),
        "steps": (330 * load).astype(int),
    }
    return _table(columns, SERIES_COLUMNS)


def _events(span_s: float) -> pa.Table:
    columns = {
        "replication": [0, 0],
        "time_s": [span_s * 0.2, span_s * 0.55],
        "kind": ["edit", "edit"],
        "subject": ["character 17", "character 3"],
        "detail": ["version 2", "version 2 <b>&"],
    }
    return _table(columns, EVENT_COLUMNS)


def _nulls(values: Any, known: Any) -> pa.Array:
    return pa.array(values, mask=~known)


def _table(columns: dict[str, Any], kinds: dict[str, str]) -> pa.Table:
    schema = table_schema(kinds)
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.table(arrays, schema=schema)
