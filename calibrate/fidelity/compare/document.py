"""`fidelity.json`: everything that the samples of a profile say about its error."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.fidelity.compare.causes import stages, table
from calibrate.fidelity.compare.figures import CAPACITY_METRICS, Figures, figures
from calibrate.fidelity.compare.gather import Compared, Make, by_card
from calibrate.fidelity.compare.messages import paired
from calibrate.fidelity.compare.rows import rows_of
from calibrate.fidelity.compare.steps import by_kind, step_times
from calibrate.fidelity.compare.verdict import MOST_CAPACITY, judged, worst
from calibrate.fidelity.curves import curves_for, without_engine
from calibrate.fidelity.simulate import simulate
from calibrate.fidelity.store import Store
from calibrate.samples import read_job
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.profile import Profile

FORMAT, VERSION = "kaiju-fidelity", 1
PARTS = ("workloads", "rows", "paired", "steps", "causes", "bands")
Say = Callable[[str], None]


def document(
    profile: Profile, store: Store, make: Make, samples: Path, say: Say
) -> tuple[dict[str, Any], list[Compared]]:
    """Simulate and compare every workload that has samples. `make`: a workload that is not saved,
    from its recipe; `samples`: those that the profile was fitted to.

    What is said is of one card: the profile's, if it has served. Runs of other cards of the type
    are compared apart (`other_cards`)."""
    session = (read_job(samples).get("sessions") or [{}])[-1]
    main, others = by_card(store, make, session.get("card", {}).get("uuid"))
    parts: dict[str, list[Any]] = {key: [] for key in PARTS}
    compared = []
    for one in main:
        say(f"simulating {one.workload.name}")
        one = one.simulated_with(profile)
        compared.append(one)
        for key, found in _parts(profile, one).items():
            parts[key] += found
    parts["rows"] = judged(parts["rows"])
    apart = [row for one in others for row in _other(one.simulated_with(profile))]
    return {
        "format": FORMAT, "version": VERSION, "id": profile.id,
        "profile": _profile(profile), "provenance": _provenance(compared, session),
        "worst": worst(parts["rows"]), "verdict": _verdict(parts["rows"]), **parts,
        "other_cards": apart,
    }, compared  # fmt: skip


def _parts(profile: Profile, one: Compared) -> dict[str, list[Any]]:
    """What is said of one workload."""
    workload, setting = one.workload, one.runs[0].setting
    measured = [figures(run.outcome, workload) for run in one.runs]
    nominal = [figures(simulated, workload) for simulated in one.simulated]
    full = curves_for(profile, setting.limits)
    device = curves_for(without_engine(profile), setting.limits)
    times = step_times([(run.outcome, run.steps) for run in one.runs], device, full)
    steps = by_kind(workload.name, times)
    first = one.runs[0].outcome
    handed_in = np.where(first.arrival < 0, workload.arrivals_ns, first.arrival)
    jittered = figures(simulate(setting, full, workload, handed_in), workload)
    known = [nominal[0], jittered, measured[0]]
    staged = stages(setting, profile, workload, handed_in, known, steps)
    return {
        "workloads": [_about(one)], "rows": rows_of(workload.recipe, measured, nominal),
        "paired": paired(workload, one.pairs), "steps": steps,
        "causes": table(workload.name, staged), "bands": _bands(one, full, measured),
    }  # fmt: skip


def _other(one: Compared) -> list[dict[str, Any]]:
    """The errors on another card."""
    measured = [figures(run.outcome, one.workload) for run in one.runs]
    nominal = [figures(simulated, one.workload) for simulated in one.simulated]
    rows = rows_of(one.workload.recipe, measured, nominal)
    return [{**row, "card": one.card} for row in rows]


def _about(one: Compared) -> dict[str, Any]:
    """A workload and its runs in a few numbers."""
    recipe, runs = one.workload.recipe, one.runs
    late = (
        np.concatenate(
            [
                (run.outcome.arrival - one.workload.arrivals_ns)[run.outcome.arrival >= 0]
                for run in runs
            ]
        )
        * 1e-9
    )
    done = [int((run.outcome.state == 0).sum()) for run in runs]
    hits = sum(int(run.outcome.cached.sum()) for run in runs)
    asked = sum(m.prompt for m in one.workload.messages) * len(runs)
    names = ("seconds", "warm_s", "rate", "load", "seed", "one_pool", "left_out")
    return {
        "workload": recipe["name"], "messages": len(one.workload.messages), "runs": len(runs),
        "done": done, **{name: recipe.get(name) for name in names},
        "prompt_mean": asked / len(runs) / len(one.workload.messages),
        "output_mean": float(one.workload.outputs.mean()), "hit_rate": hits / asked,
        "preempted": [int(run.outcome.preempted.sum()) for run in runs],
        "late_s": {
            "p50": float(np.quantile(late, 0.5)), "p99": float(np.quantile(late, 0.99)),
            "max": float(late.max()),
        },
        "digest": one.workload.digest(),
        "global_blocks": runs[0].setting.blocks, "windows": runs[0].setting.limits.windows,
        "telemetry": [run.info["telemetry"] for run in runs],
        "dates": [run.info["date"] for run in runs],
    }  # fmt: skip


def _bands(one: Compared, full: Curves, measured: Sequence[Figures]) -> list[dict[str, Any]]:
    """Near the capacity a small error of it makes a large one of the waiting time: TTFT as a band,
    simulated with steps that are as much shorter and longer as the capacity may be wrong."""
    load = one.workload.recipe["load"]
    if load is None or load < 0.9:
        return []
    setting = one.runs[0].setting
    sides = [
        figures(simulate(setting, scaled(full, factor), one.workload), one.workload)
        for factor in (1 - MOST_CAPACITY, 1 + MOST_CAPACITY)
    ]
    rows = []
    for key in (key for key in sides[0] if key[0] == "ttft"):
        low, high = sorted(side[key] for side in sides)
        mean = sum(one[key] for one in measured) / len(measured)
        rows.append({
            "workload": one.workload.name, "load": load, "metric": key[0], "statistic": key[1],
            "measured": mean, "low": low, "high": high, "inside": low <= mean <= high,
        })  # fmt: skip
    return rows


def scaled(curves: Curves, factor: float) -> Curves:
    """Curves of steps that all take `factor` times as long."""
    names = ("mean_ns", "host_ns", "rows_ns", "seqs_ns", "slope", "offset", "engine")
    return curves._replace(**{name: getattr(curves, name) * factor for name in names})


def _profile(profile: Profile) -> dict[str, Any]:
    known = profile.provenance.model_dump(mode="json") if profile.provenance else {}
    names = ("gpu_name", "date", "commit")
    return {"id": profile.id, "source": profile.source, **{n: known.get(n) for n in names}}


def _provenance(compared: Sequence[Compared], session: Mapping[str, Any]) -> dict[str, Any]:
    """Of the runs; and whether the profile was measured on the same card in the same sitting."""
    runs = [run.info for one in compared for run in one.runs]
    calibrated, date = session.get("card", {}).get("uuid"), str(session.get("begin", ""))[:10]
    cards = sorted({run["card"]["uuid"] for run in runs})
    same = cards == [calibrated]
    return {
        "gpu_name": runs[0]["card"]["gpu_name"], "driver": runs[0]["card"]["driver"],
        "cards": cards, "profile_card": calibrated, "profile_date": date or None,
        "same_card": same, "one_sitting": same and {run["date"][:10] for run in runs} == {date},
        "sm_mhz": [run["telemetry"].get("sm_mhz") for run in runs],
        "slowed_by": sorted({str(run["telemetry"].get("slowed_by") or "") for run in runs} - {""}),
        "versions": runs[-1]["versions"], "dates": sorted({run["date"][:10] for run in runs}),
        "commits": sorted({run["commit"] for run in runs}),
    }  # fmt: skip


def _verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many of the figures that are judged keep to what they are allowed."""
    known = [row for row in rows if row["ok"] is not None]
    off = [[row[k] for k in ("workload", "metric", "statistic")] for row in known if not row["ok"]]
    capacity = [row["rel_error"] for row in rows if row["metric"] in CAPACITY_METRICS]
    return {"judged": len(known), "kept": len(known) - len(off), "missed": off,
            "capacity_errors": capacity}  # fmt: skip
