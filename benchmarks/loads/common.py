"""`w1`, `w2`: the two workloads that other simulators were measured on, in processes of their own.

W1 is 32,000 open-loop requests, W2 3,000 dialogues of six turns (w1.yaml and w2.yaml beside this).
Both are over in a blink, so the horizon is lengthened until one run takes long enough to time, with
as many rows of the time series as before: beside its peak memory stands that of the short run.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.alone import alone, peak_rss_bytes
from benchmarks.fleet import Timed, timed
from benchmarks.saturation import Say
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import warm_up

HERE = Path(__file__).parent
REPEATS = 3
SHARE = 0.5
"""Of the seconds asked for, for each timed run: 5 s of the usual 10."""
MARGIN = 1.1
MOST_STRETCH = 2000.0
"""At most this many times the stated horizon."""
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "w1": {"at_16_per_s": {"traffic.messages_per_s": 256}},
    "w2": {"with_affinity": {"router.policy": "affinity"}},
}
"""What is run once more in its short form, for its latencies."""


def scenario_of(name: str, sets: Mapping[str, Any] | None = None) -> Scenario:
    """A workload by name, with values of it changed."""
    changed = [f"{path}={value}" for path, value in (sets or {}).items()]
    return load_scenario(HERE / f"{name}.yaml", sets=changed).scenario


def stretched(name: str, factor: float) -> Scenario:
    """The workload over a horizon so many times longer (and ticks, so that memory stays)."""
    run, results = scenario_of(name).run, scenario_of(name).results
    by = min(MOST_STRETCH, max(1.0, factor))
    sets = {"run.horizon": f"{run.horizon * by:.0f}s", "results.tick": f"{results.tick * by:.0f}s"}
    return scenario_of(name, sets)


def lasting(name: str, seconds: float) -> Scenario:
    """The workload over a horizon that takes at least about `seconds` to simulate."""
    short = timed(scenario_of(name)).wall_s
    factor = seconds / 5 / short  # a short run is slowed by its start: look again at a longer one
    pilot = stretched(name, factor)
    rate = pilot.run.horizon / timed(pilot).wall_s
    return stretched(name, MARGIN * seconds * rate / scenario_of(name).run.horizon)


def latencies(run: Timed) -> dict[str, Any]:
    """Mean and tail times of one run's messages, and what else tells the workloads apart."""
    s = run.summary
    return {
        "tpot_s": s["tpot_s.mean"],
        "ttft_s": s["ttft_s.mean"],
        "ttft_p99_s": s["ttft_s.p99"],
        "e2e_s": s["e2e_s.mean"],
        "prefix_hit_rate": s["prefix_hit_rate"],
        "prompt_tokens_mean": s["realised.prompt_tokens_mean"],
        "output_tokens_mean": s["realised.output_tokens_mean"],
        "verdict": s["verdict"],
    }


def inside(name: str, seconds: float, repeats: int = REPEATS) -> dict[str, Any]:
    """Measure in this process: one run as stated, then timed runs of at least `seconds`."""
    warm_up()
    timed(scenario_of(name))  # touches every page of the code once
    short = timed(scenario_of(name))
    short_peak = peak_rss_bytes()
    scenario = lasting(name, seconds)
    runs = [timed(scenario) for _ in range(repeats)]
    assert all(run.summary == runs[0].summary for run in runs), "runs of one scenario differ"
    wall_s = median(run.wall_s for run in runs)
    run = runs[0]
    return {
        "requests_per_s_per_core": run.messages / wall_s,
        "steps_per_s": run.steps / wall_s,
        "requests": run.messages,
        "steps": run.steps,
        "wall_s": wall_s,
        "walls_s": [r.wall_s for r in runs],
        "simulated_s": scenario.run.horizon,
        "as_stated": {
            "requests": short.messages,
            "wall_s": short.wall_s,
            "requests_per_s_per_core": short.messages / short.wall_s,
            "peak_rss_bytes": short_peak,
        },
        "router": scenario.router.policy,
        "gpus": run.summary["fleet.gpus"],
        "profile_source": run.summary["profile.source"],
        **latencies(run),
        **{key: latencies(timed(scenario_of(name, v))) for key, v in VARIANTS[name].items()},
    }


def measure(name: str, seconds: float, say: Say) -> dict[str, Any]:
    """Measure a workload in a fresh process."""
    say(name)
    found = alone("benchmarks.loads.common:inside", name=name, seconds=SHARE * seconds)
    rate, mb = found["requests_per_s_per_core"], found["peak_rss_bytes"] / 1e6
    say(f"  {rate:,.0f} requests/s, {mb:.0f} MB")
    return found
