"""What an incident costs: a run with it less the same run without it.

Messages are of the measured cohort. A user is affected by an incident if one of his dialogue's
messages was shed, lost, given up, left hanging, late or answered wrongly with it, and none without.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kaiju_sim.engine.layout import NEVER, Arr
from kaiju_sim.fleet.control import CellResult
from kaiju_sim.fleet.records import COMPLETED
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.incidents.faults.fault import Wrong
from kaiju_sim.metrics.figures.pool import Pool
from kaiju_sim.metrics.figures.provision import Provision
from kaiju_sim.metrics.stats.sampling import ALL
from kaiju_sim.metrics.tables import measured
from kaiju_sim.scenario.parts.incidents import Incident
from kaiju_sim.scenario.schema import Scenario


class Outcome(NamedTuple):
    """What a run came to, as far as money and users are concerned."""

    gpu_usd: float
    """The GPU bill of the measured time."""
    busy_usd: float
    """The part of it during which GPUs computed."""
    shed: int
    lost: int
    given_up: int
    late: int
    """Completed, but not within the objectives."""
    refused: int
    """Messages and answers blocked by the safety gate although they do not violate."""
    wrong: int
    """Answers that came in time and were wrong."""
    hurt: Arr
    """Dialogues with a message that did not go well, of those in the log."""
    share: float
    """Share of all dialogues that are in the log."""


def outcome(plant: Plant, cells: Sequence[CellResult]) -> Outcome:
    """What a run of this plant came to."""
    pool, provision = Pool(cells), Provision(plant, cells)
    tally = {name: pool.tally(name) for name in ("completed", "goodput", "shed", "failed")}
    usd = provision.usd_per_hour() / 3600.0 * pool.window_s
    busy = pool.change("busy_ns") * 1e-9 / (provision.mean_replicas() * pool.window_s)
    return Outcome(
        gpu_usd=usd,
        busy_usd=usd * busy,
        shed=tally["shed"],
        lost=tally["failed"],
        given_up=pool.tally("cancelled"),
        late=tally["completed"] - tally["goodput"],
        refused=sum(int(cell.gate["sums"]["wrongly"].sum()) for cell in cells),
        wrong=wrong_answers(cells),
        hurt=np.union1d(hurt_dialogues(plant.scenario, pool.log), misled(cells)),
        share=cells[0].sample / ALL,
    )


def hurt_dialogues(s: Scenario, log: Arr) -> Arr:
    """Dialogues with a measured message that did not end well, each once."""
    log = log[measured(s, log)]
    late = np.zeros(log.size, bool)
    first, end = log["first"] - log["arrival"], log["end"] - log["arrival"]
    paid = s.slo.paid_ttft or s.slo.ttft
    for limit, mine in ((s.slo.ttft, log["tier"] == 1), (paid, log["tier"] == 0)):
        if limit is not None:
            late |= mine & (first > limit * 1e9)
    if s.slo.tpot is not None:
        late |= (log["end"] - log["first"]) / np.maximum(1, log["out"] - 1) > s.slo.tpot * 1e9
    if s.slo.e2e is not None:
        late |= end > s.slo.e2e * 1e9
    return np.unique(log["session"][late | (log["status"] != COMPLETED)])


def misled(cells: Sequence[CellResult]) -> Arr:
    """Dialogues that were given a wrong answer in time, each once."""
    found = [np.zeros(0, np.int64)]
    for cell in cells:
        log = cell.log[cell.log["status"] == COMPLETED]
        for wrong in (record.wrong for record in cell.notes):
            found.append(log["session"][answered(wrong, log)])
    return np.unique(np.concatenate(found))


def answered(wrong: Wrong, log: Arr) -> Arr:
    """Which of these completed messages were answered wrongly."""
    if wrong.start_ns is None:
        return np.zeros(log.size, bool)
    stop = NEVER if wrong.stop_ns is None else wrong.stop_ns
    mine = (log["replica"] >= wrong.first) & (log["replica"] < wrong.last)
    mine &= (log["end"] > wrong.start_ns) & (log["end"] <= stop)
    return np.asarray(mine if wrong.slips is None else mine & wrong.slips.among(log))


def wrong_answers(cells: Sequence[CellResult]) -> int:
    """Answers that came in time and were wrong; from the log's share of dialogues where needed."""
    total = 0.0
    for cell in cells:
        log = cell.log[cell.log["status"] == COMPLETED]
        for wrong in (record.wrong for record in cell.notes):
            seen = wrong.slips is not None and cell.sample
            total += answered(wrong, log).sum() * ALL / cell.sample if seen else wrong.answers
    return round(total)


def subscription_usd(s: Scenario) -> float:
    """Price of a subscription: the stated one, else the assumed one."""
    stated = s.economics.subscription
    return s.economics.users.subscription_usd_per_month.value if stated is None else stated


def paid_share(s: Scenario) -> float:
    """Share of users who pay: of the simulated tiers, else the assumed one."""
    return s.traffic.paid_share or s.economics.users.subscribers_per_daily_user.value


def churn_usd(s: Scenario, incident: Incident, affected: float, end: str) -> float:
    """Subscriptions lost: `end` is value, low or high of what is assumed of users."""
    share = getattr(incident.churn.cancel_share, end)
    months = getattr(incident.churn.months, end)
    return affected * paid_share(s) * float(share) * float(months) * subscription_usd(s)


def ledger(s: Scenario, incident: Incident, hit: Outcome, spared: Outcome) -> dict[str, float]:
    """The entries of an incident: the run that it hit less the one that was spared."""
    affected = np.setdiff1d(hit.hurt, spared.hurt).size / hit.share if hit.share else 0.0
    gpu = hit.gpu_usd - spared.gpu_usd
    churn = churn_usd(s, incident, affected, "value")
    return {
        "gpu_usd": gpu,
        "busy_gpu_usd": hit.busy_usd - spared.busy_usd,
        "shed_messages": hit.shed - spared.shed,
        "lost_messages": hit.lost - spared.lost,
        "given_up_messages": hit.given_up - spared.given_up,
        "late_messages": hit.late - spared.late,
        "wrong_answers": hit.wrong - spared.wrong,
        "wrongly_refused_messages": hit.refused - spared.refused,
        "affected_users": affected,
        "churn_usd": churn,
        "churn_usd_low": churn_usd(s, incident, affected, "low"),
        "churn_usd_high": churn_usd(s, incident, affected, "high"),
        "total_usd": gpu + churn,
    }
