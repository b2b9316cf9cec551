"""Small fleets that change while dialogues go on, and what happens to their messages."""

from typing import Any

from fleet_runs import Tree, constant, scenario_of

from kaiju_sim.scenario.schema import Scenario

PROVISIONING_S, LOADING_S, SHADOW_S, RAMP_S = 0.7, 0.35, 3.0, 3.0
DELAYS: Tree = {
    "provisioning_delay": PROVISIONING_S,
    "load_delay": LOADING_S,
    "shadow_time": SHADOW_S,
    "ramp_time": RAMP_S,
}
DIALOGUES: Tree = {
    "run": {"horizon": 20.0, "warm_up": 1.0},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 30.0,
        "sessions": {
            "live": 30,
            "turns": {"kind": "geometric", "mean": 8},
            "think": {"kind": "exponential", "mean": 0.5},
            "user_tokens": {"kind": "uniform", "min": 1, "max": 20},
        },
        "output_tokens": {"kind": "geometric", "mean": 20},
    },
    "characters": {"count": 9, "definition_tokens": constant(40)},
    "prompt": {"limit": 150, "truncation_step": 40},
    "engine": {"max_seqs": 16, "token_budget": 48, "max_context": 240},
    "kv": {"block_tokens": 4, "global_blocks": 400, "local_windows": 40},
}


def change(at: float, action: str, **more: Any) -> dict[str, Any]:
    """A planned change."""
    return {"at": at, "action": action, **more}


def changing(replicas: int, *changes: Tree, **parts: Any) -> Scenario:
    """Dialogues on this many replicas, with these changes; `parts` go over the rest."""
    fleet = {**DELAYS, "replicas": replicas, "changes": list(changes), **parts.pop("fleet", {})}
    return scenario_of(DIALOGUES, {"fleet": fleet}, parts)
