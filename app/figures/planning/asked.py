"""What a plan is asked for: what the page's widgets stand at, as settings of the scenario."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from kaiju_sim.planner.plans.peak import at_peak
from kaiju_sim.scenario.loader import Loaded
from kaiju_sim.scenario.parts.plan import RouterPolicy
from kaiju_sim.scenario.schema import Scenario

ROUTERS: tuple[str, ...] = get_args(RouterPolicy)
"""Routers to choose from."""
RANKS = (1, 2, 4, 8)
"""GPUs of a replica to choose from."""
MOST_RUN_S = 300.0
"""Length of the run of the answer's fleet, at most."""


@dataclass(frozen=True)
class Wishes:
    """Where the widgets stand."""

    load: float
    """Messages/s."""
    ttft: float
    """Objective for the first token, s."""
    gpus: Sequence[str]
    ranks: Sequence[int]
    routers: Sequence[str]
    nodes: int
    """That may be lost, of each cell."""
    window: int
    """Over which the objectives have to hold, minutes."""


def start_of(found: Loaded) -> Wishes:
    """What the scenario itself says."""
    s = found.scenario
    return Wishes(
        load=float(s.traffic.messages_per_s or 0.0),
        ttft=s.slo.ttft or 0.0,
        gpus=s.plan.gpus or (s.gpu,),
        ranks=s.plan.tensor_parallel or (s.fleet.tensor_parallel,),
        routers=s.plan.routers or (s.router.policy,),
        nodes=s.plan.survive_nodes,
        window=round(s.plan.window / 60),
    )


def settings(start: Wishes, now: Wishes, s: Scenario) -> list[str]:
    """Settings for every widget that was moved."""
    texts = {
        "load": [f"traffic.messages_per_s={now.load:g}", *_live(start, now, s)],
        "ttft": [f"slo.ttft={now.ttft:g}s"],
        "gpus": [f"plan.gpus=[{', '.join(now.gpus)}]"],
        "ranks": [f"plan.tensor_parallel=[{', '.join(map(str, now.ranks))}]"],
        "routers": [f"plan.routers=[{', '.join(now.routers)}]"],
        "nodes": [f"plan.survive_nodes={now.nodes}"],
        "window": [f"plan.window={now.window}min"],
    }
    was, is_ = vars(start), vars(now)
    moved = (name for name in texts if _plain(was[name]) != _plain(is_[name]))
    return [text for name in moved for text in texts[name]]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _live(start: Wishes, now: Wishes, s: Scenario) -> list[str]:
    """More load is more dialogues under way, each as busy as before."""
    count = s.traffic.sessions.live
    if s.traffic.kind != "sessions" or not count or not start.load:
        return []
    return [f"traffic.sessions.live={round(count * now.load / start.load)}"]


def fleet_sets(s: Scenario, found: Mapping[str, Any]) -> list[str]:
    """Settings of a run of a plan's answer, at the scenario's peak."""
    length = min(s.plan.window, MOST_RUN_S)
    return [
        f"gpu={found['gpu_type']}",
        f"fleet.replicas={found['replicas']}",
        f"fleet.tensor_parallel={found['tensor_parallel']}",
        f"engine.token_budget={found['token_budget']}",
        f"engine.max_seqs={found['max_seqs']}",
        f"router.policy={found['router']}",
        f"run.warm_up={s.plan.warm_up:g}s",
        f"run.horizon={s.plan.warm_up + length:g}s",
        *_clock(s),
    ]


def _clock(s: Scenario) -> list[str]:
    """A day's curve begins just before its peak."""
    if s.traffic.diurnal is None:
        return []
    then = at_peak(s).traffic
    assert then.diurnal is not None
    return [
        f"traffic.diurnal.start_hour={then.diurnal.start_hour:g}",
        f"traffic.diurnal.start_day={then.diurnal.start_day}",
        f"traffic.sessions.live={then.sessions.live}",
    ]
