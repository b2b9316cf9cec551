"""`affinity_fleet`: messages simulated per second and core, at 70 % of the measured saturation.

`fleet_1000`: the same on ten times the fleet, with ten times the users and characters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.alone import alone
from benchmarks.fleet import SCENARIO, Load, Timed, scenario_at, timed
from benchmarks.saturation import METHOD, Probe, Say, saturation
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import warm_up

UTILISATION = 0.7
ANSWER_S = 5.0
"""First guess of the mean answer time near saturation."""
REPEATS = 3
GROWN = 10.0
"""Times the stated fleet: 1,000 GPUs."""
MOST_1000_S = 900.0
MARGIN = 1.5
"""Runs are this much longer than the pilot suggests: it is short, so its start slows it more."""


def probe_load(seconds: float) -> Load:
    """Where the search for the saturation starts; runs are 3 simulated minutes, or less in haste.

    The start of a run serves less than its steady state, so a hasty search finds less.
    """
    stated = load_scenario(SCENARIO).scenario.traffic.messages_per_s
    assert stated is not None
    horizon_s = min(180.0, max(30.0, 30.0 * seconds))
    return Load(stated / UTILISATION, ANSWER_S, horizon_s / 3, horizon_s)


def working_load(found: Probe, seconds: float, say: Say) -> Load:
    """70 % of the saturation, for about this much wall time: a pilot run tells how long that is."""
    rate = UTILISATION * found.load.messages_per_s
    pilot = Load(rate, found.answer_s / 2, found.load.warm_up_s, found.load.horizon_s)
    first = timed(scenario_at(pilot))
    say(f"  pilot: {first.messages / first.wall_s:,.0f} messages/s")
    stretch = max(1.0, MARGIN * seconds / first.wall_s)
    answer_s = first.summary["e2e_s.mean"]
    return Load(rate, answer_s, pilot.warm_up_s, round(pilot.horizon_s * stretch))


def repeated(load: Load, say: Say) -> list[Timed]:
    """The timed runs, all of which must give the same summary."""
    scenario = scenario_at(load)
    runs: list[Timed] = []
    for _ in range(REPEATS):
        runs.append(timed(scenario))
        say(f"  {runs[-1].messages / runs[-1].wall_s:,.0f} messages/s in {runs[-1].wall_s:.1f} s")
    assert all(run.summary == runs[0].summary for run in runs), "runs of one scenario differ"
    return runs


def measure(seconds: float, say: Say) -> dict[str, Any]:
    """Find the saturation, then time runs of at least `seconds` at 70 % of it."""
    say("affinity_fleet: saturation")
    found = saturation(probe_load(seconds), say)
    say(f"affinity_fleet: {REPEATS} runs at {UTILISATION:.0%} of it")
    load = working_load(found, seconds, say)
    return report(found, load, repeated(load, say))


def report(found: Probe, load: Load, runs: Sequence[Timed]) -> dict[str, Any]:
    """The figures; rates are of the run of median wall time."""
    return {
        **speed(load, runs),
        "saturation_messages_per_s": found.load.messages_per_s,
        "saturation_method": METHOD,
        "saturation_run_s": found.load.horizon_s,
        "answer_s": load.answer_s,
    }


def speed(load: Load, runs: Sequence[Timed]) -> dict[str, Any]:
    """What timed runs of one load show."""
    wall_s = median(run.wall_s for run in runs)
    run = runs[0]
    summary = run.summary
    return {
        "messages_per_s_per_core": run.messages / wall_s,
        "steps_per_s": run.steps / wall_s,
        "messages": run.messages,
        "steps": run.steps,
        "wall_s": wall_s,
        "walls_s": [r.wall_s for r in runs],
        "cpu_s": median(r.cpu_s for r in runs),
        "start_s": median(r.start_s for r in runs),
        "simulated_s": load.horizon_s,
        "offered_messages_per_s": load.messages_per_s * load.share,
        "realised_messages_per_s": summary["realised.messages_per_s"],
        "prompt_tokens_mean": summary["realised.prompt_tokens_mean"],
        "output_tokens_mean": summary["realised.output_tokens_mean"],
        "prefix_hit_rate": summary["prefix_hit_rate"],
        "gpu_busy_fraction": summary["gpu_busy_fraction"],
        "verdict": summary["verdict"],
        "gpus": summary["fleet.gpus"],
        "profile_source": summary["profile.source"],
    }


def scaled(load: Mapping[str, float]) -> dict[str, Any]:
    """Speed at a load, in this process."""
    warm_up()
    whole = Load(**load)
    return speed(whole, repeated(whole, lambda line: None))


def found_or_sought(seconds: float, say: Say, found: Mapping[str, Any]) -> tuple[float, float]:
    """70 % of the saturation of the stated fleet and the answer time there, found before or now."""
    if fleet := found.get("affinity_fleet"):
        return fleet["offered_messages_per_s"], fleet["answer_s"]
    probe = saturation(probe_load(seconds), say)
    return UTILISATION * probe.load.messages_per_s, probe.answer_s / 2


def measure_1000(seconds: float, say: Say, found: Mapping[str, Any]) -> dict[str, Any]:
    """Ten times the fleet at ten times 70 % of its saturation: the load of a GPU is the same."""
    say(f"fleet_1000: {REPEATS} runs at {UTILISATION:.0%} of saturation")
    rate, answer_s = found_or_sought(seconds, say, found)
    horizon_s = min(MOST_1000_S, max(10.0, 60.0 * seconds))
    load = Load(rate, answer_s, horizon_s / 5, horizon_s, GROWN)
    grown = alone("benchmarks.affinity:scaled", load=asdict(load))
    say(f"  {grown['messages_per_s_per_core']:,.0f} messages/s in {grown['wall_s']:.1f} s")
    return grown
