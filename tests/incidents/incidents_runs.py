"""Incidents on small fleets: the shipped scenarios at an eighth of their size, and tiny ones."""

from pathlib import Path
from typing import Any

from elastic_runs import DELAYS, DIALOGUES
from fleet_runs import Tree, scenario_of

from kaiju_sim.scenario.assumed import assumed
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.parts.incidents import Incident, Response
from kaiju_sim.scenario.schema import Scenario

FOLDER = Path(__file__).resolve().parents[2] / "scenarios" / "incidents"
EIGHTH = (
    *("fleet.replicas=7", "traffic.messages_per_s=113", "traffic.sessions.live=6250"),
    *("characters.count=2500", "run.warm_up=2min", "run.horizon=14min", "run.drain=4min"),
)
"""An eighth of `baseline`, twelve minutes of it measured."""
STRIKES_S = 240.0

FAULTS: dict[str, Tree] = {
    "table_loss": {"meanwhile": "relearn"},
    "replica_loss": {"replicas": 2, "fence": 0.45},
    "cold_restart": {"down": 1.0},
    "viral": {"character": 5, "lasts": 5.0},
    "edit_storm": {"edits_per_minute": 600.0},
    "bad_rollout": {"slowdown": 3.0, "wave_interval": 1.0, "waves": 2},
    "midnight": {},
    "false_positives": {"shift": 3.0, "ages": "all"},
    "int8_drift": {"shard": 1, "per_minute": 10.0, "warm": "shadow"},
    "persona_drift": {"share": 0.5},
}
"""Every kind of fault, for tiny fleets."""


def quick(p50: float, p99: float) -> Response:
    """People who take so long, in the median and at worst."""
    return Response(
        mttr_p50_s=assumed(p50, 0.0, 1e4, "test", "U"),
        mttr_p99_s=assumed(p99, 0.0, 1e4, "test", "U"),
    )


def eighth(name: str, *overrides: str, sets: tuple[str, ...] = (), **changes: Any) -> Scenario:
    """A shipped scenario at an eighth of its size, struck at four minutes, soon remedied.

    `changes`: fields of its incident, or of its fault.
    """
    loaded = load_scenario(FOLDER / f"{name}.yaml", overrides=overrides, sets=[*EIGHTH, *sets])
    (incident,) = loaded.scenario.incidents
    fault = incident.fault.model_copy(
        update={k: v for k, v in changes.items() if k in type(incident.fault).model_fields}
    )
    own = {k: v for k, v in changes.items() if k in Incident.model_fields}
    struck = incident.model_copy(
        update={
            "at": STRIKES_S,
            "response": quick(90.0, 150.0),
            "delays": (),
            "fault": fault,
            **own,
        }
    )
    return loaded.scenario.model_copy(update={"incidents": (struck,)})


def alarm(**changes: Any) -> dict[str, Any]:
    """An alarm that sees soon."""
    rule = {"signal": "ttft_p99_s", "above": 0.3, "window": 1.0, "interval": 0.5}
    return {**rule, "delay": 0.2, "hold": 0.5, **changes}


def judged() -> dict[str, Any]:
    """An alarm on persona scores."""
    return alarm(signal="persona_score", above=None, below=4.0, window=3.0)


def incident(kind: str, at: float = 6.05, **more: Any) -> dict[str, Any]:
    """An incident of a tiny fleet."""
    response = quick(2.0, 4.0).model_dump()
    return {
        "name": f"{kind} at {at:g}",
        "at": at,
        "fault": {"kind": kind, **FAULTS[kind], **more.pop("fault", {})},
        "detection": judged() if kind == "persona_drift" else alarm(),
        "response": response,
        **more,
    }


def points(drop: float) -> dict[str, Any]:
    """An assumed drop of the persona score."""
    return {"value": drop, "low": 0.0, "high": 4.0, "source": "test", "grade": "U"}


def gated(tree: Tree) -> bool:
    """Whether an incident is one of the safety gate."""
    return bool(tree["fault"]["kind"] == "false_positives")


def tiny(*incidents: Tree, replicas: int = 4, **parts: Any) -> Scenario:
    """Twenty seconds of dialogues on a few replicas, with these incidents."""
    fleet = {**DELAYS, "replicas": replicas, **parts.pop("fleet", {})}
    base = {
        "slo": {"ttft": 0.3},
        "traffic": {"client": {"timeout": 2.0, "retries": 2}},
        "prompt": {"date_tokens": 8},
        "fleet": fleet,
        "safety": {"pre": "before"} if any(map(gated, incidents)) else {},
        "incidents": list(incidents),
    }
    return scenario_of(DIALOGUES, base, parts)
