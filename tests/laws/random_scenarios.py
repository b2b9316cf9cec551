"""Random small fleets, tight enough that queues, evictions and preemptions happen."""

import json
import random
from pathlib import Path
from typing import Any

from fleet_runs import constant, scenario_of
from hypothesis import strategies as st

from kaiju_sim.scenario.schema import Scenario

DRAW = st.DrawFn
POLICIES = ("affinity", "sticky", "rendezvous", "prefix_aware", "least_loaded", "round_robin")
BLOCKS_PROMPT = 1400
"""Prompts of the trace with block ids go up to this; those of the others are a tenth of them."""
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


@st.composite
def counts(draw: DRAW, most: int) -> dict[str, Any]:
    """A distribution of token counts."""
    mean = draw(st.integers(1, most))
    return draw(
        st.sampled_from(
            [
                constant(mean),
                {"kind": "exponential", "mean": mean},
                {"kind": "geometric", "mean": mean},
                {"kind": "uniform", "min": 0, "max": 2 * mean},
            ]
        )
    )


@st.composite
def traffic(draw: DRAW) -> dict[str, Any]:
    """Dialogues, single messages, or a trace."""
    kind = draw(st.sampled_from(["sessions", "sessions", "poisson", "replay"]))
    if kind == "replay":
        trace = {
            "file": draw(st.sampled_from(TRACES)),
            "rate_scale": draw(st.sampled_from([0.5, 1.0, 3.0])),
            "spread": draw(st.sampled_from([0.0, 0.25])),
        }
        return {"kind": kind, "trace": trace}
    return {
        "kind": kind,
        "messages_per_s": draw(st.sampled_from([40.0, 10.0])),
        "sessions": {
            "live": draw(st.integers(0, 12)),
            "turns": draw(counts(8).filter(lambda d: d["kind"] != "uniform")),
            "think": {"kind": "exponential", "mean": draw(st.sampled_from([0.05, 1.0]))},
            "user_tokens": draw(counts(12)),
            "initial_history": draw(counts(60)),
        },
        "output_tokens": draw(counts(60)),
    }


@st.composite
def memory(draw: DRAW, context: int) -> dict[str, Any]:
    """KV memory that holds one sequence and little more, or plenty."""
    tokens = draw(st.sampled_from([1, 2, 4, 16, 32]))
    retention = draw(st.sampled_from(["turn_end", "turn_end", "all", "none"]))
    one = -(-context // tokens)
    kv = {
        "block_tokens": tokens,
        "prefix_cache": draw(st.sampled_from([True, True, True, False])),
        "cache_generated": draw(st.booleans()),
        "local_retention": retention,
        "global_blocks": one + draw(st.sampled_from([0, 1, one // 2, 2 * one, 40 * one])),
    }
    if retention != "all":
        kv["local_windows"] = draw(st.sampled_from([1, 2, 5, 200]))
    return kv


@st.composite
def steps(draw: DRAW) -> dict[str, Any]:
    """A law of step times."""
    kind = draw(st.sampled_from(["constant", "exponential", "roofline"]))
    return {"kind": kind} if kind == "roofline" else {"kind": kind, "step": 0.01}


@st.composite
def scenarios(draw: DRAW) -> Scenario:
    """A small fleet of 1 to 3 cells, for a few seconds of traffic, drained to the end."""
    shard = draw(st.sampled_from([1, 1, 2]))
    source = draw(traffic())
    cells = 1 if source["kind"] == "replay" else draw(st.integers(1, 3))
    policy = draw(st.sampled_from(["decode_first", "prefill_first"]))
    seqs = draw(st.sampled_from([16, 8, 3, 2, 1]))
    context = draw(st.integers(150, 260))
    if source.get("trace", {}).get("file") == TRACES[0]:
        context += BLOCKS_PROMPT - 100
    epoch = draw(st.sampled_from([0.001, 0.05, 0.3]))
    return scenario_of(
        {
            "seed": draw(st.integers(0, 1000)),
            "run": {
                "warm_up": draw(st.sampled_from([0.0, 2.0])),
                "horizon": draw(st.sampled_from([2.5, 6.0])),
                "epoch": epoch,
                "start": draw(st.sampled_from(["warm", "cold"])),
            },
            "traffic": source,
            "characters": {
                "count": draw(st.integers(1, 5)),
                "definition_tokens": draw(counts(15)),
                "edits_per_hour": draw(st.sampled_from([0.0, 3000.0])),
                "pinning": draw(st.sampled_from(["session", "none"])),
            },
            "prompt": {
                "date_tokens": draw(st.sampled_from([0, 3])),
                "persona_tokens": draw(st.sampled_from([0, 5])),
                "limit": 149,
                "truncation_step": draw(st.sampled_from([1, 16, 60])),
            },
            "fleet": {
                "cells": cells,
                "shard_replicas": shard,
                "replicas": cells * shard * draw(st.integers(1, 3)),
            },
            "router": {
                "policy": draw(st.sampled_from(POLICIES)),
                "queue": draw(st.sampled_from(["replica", "replica", "central"])),
                "report_interval": draw(st.sampled_from([0.001, 0.5])),
                "report_delay": draw(st.sampled_from([0.0, 0.4])),
                "min_load": draw(st.integers(0, 3)),
                "max_copies": draw(st.integers(1, 3)),
                "rendezvous_key": draw(st.sampled_from(["character", "session"])),
            },
            "engine": {
                "policy": policy,
                "max_seqs": seqs,
                "token_budget": draw(st.integers(max(16, seqs), 64)) * (context // 150),
                "max_context": context,
            },
            "kv": draw(memory(context)),
            "steptime": draw(steps()),
            "results": {"tick": draw(st.sampled_from([0.3, 1.0]))},
        }
    )
