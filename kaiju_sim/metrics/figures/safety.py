"""The safety gate in figures: rates with intervals, ROC, its servers, what users did."""

import math

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.figures.pool import Pool, Summary, ratio
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.sketch import quantile_ns

STAGES = ("pre", "post")
AGES = ("adult", "teen")
TIMES = ("wait_s", "stay_s", "refusal_s")
"""Rows of the sketch, and how the summary calls them."""
TIME_COUNTS = {"wait_s": "served", "stay_s": "served", "refusal_s": "blocked"}
STATISTICS = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
ROC_AT = {"0p1": 0.001, "1": 0.01, "5": 0.05, "10": 0.10}
"""False-positive rates, in percent as keys call them, at which the ROC is read off."""
RATES = ("block_rate", "false_positive_rate", "intense_false_positive_rate", "detection_rate")
COUNTS = ("unchecked", "refused", "wrongly", "left", "reworded", "dropped", "cut")
Z95 = 1.959963984540054
"""Two-sided 95 % point of the normal."""


def safety(s: Scenario, pool: Pool) -> Summary:
    """Keys `safety.*`; null where there is no gate."""
    found: Summary = {}
    for stage, name in enumerate(STAGES):
        on = s.safety.pre != "none" if stage == 0 else s.safety.post.kind != "none"
        for age, tier in enumerate(AGES):
            figures = stage_figures(pool, stage, age) if on else {}
            keys = stage_keys()
            found |= {f"safety.{name}.{tier}.{key}": figures.get(key) for key in keys}
    found |= times(s, pool)
    found["safety.pre.utilisation"] = utilisation(s, pool)
    for name in COUNTS:
        found[f"safety.{name}"] = gate_sum(pool, name) if s.safety.on else None
    return found


def stage_keys() -> tuple[str, ...]:
    """What is said of each stage and tier."""
    rates = [f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")]
    roc = [f"detection_at_{name}_percent" for name in ROC_AT]
    return ("checked", *rates, "auc", *roc)


def gate_part(pool: Pool, name: str) -> Arr:
    """An array of counts of the cohort, all cells added up."""
    return np.asarray(sum(c.gate[name][c.first :].sum(axis=0) for c in pool.cells))


def gate_sum(pool: Pool, name: str) -> int:
    """A sum of the cohort."""
    return sum(int(c.gate["sums"][name][c.first :].sum()) for c in pool.cells)


def stage_figures(pool: Pool, stage: int, age: int) -> Summary:
    """Rates with Wilson intervals, area under the ROC and points of it."""
    counts = gate_part(pool, "counts")[stage, age]
    scores = gate_part(pool, "scores")[stage, age]
    checked, stopped = counts[:, 0], counts[:, 1]
    found: Summary = {"checked": int(checked.sum())}
    parts = {
        "block_rate": (stopped.sum(), checked.sum()),
        "false_positive_rate": (stopped[:2].sum(), checked[:2].sum()),
        "intense_false_positive_rate": (stopped[1], checked[1]),
        "detection_rate": (stopped[2], checked[2]),
    }
    for name, (part, whole) in parts.items():
        low, high = wilson(int(part), int(whole))
        found |= {name: ratio(part, whole), f"{name}_low": low, f"{name}_high": high}
    false, true = roc(scores[0] + scores[1], scores[2])
    found["auc"] = area(false, true)
    for name, at in ROC_AT.items():
        known = false.size > 0
        found[f"detection_at_{name}_percent"] = float(np.interp(at, false, true)) if known else None
    return found


def wilson(part: int, whole: int) -> tuple[float | None, float | None]:
    """95 % interval of a share (E. B. Wilson, 1927): (low, high), of nothing None."""
    if whole == 0:
        return None, None
    p, z2 = part / whole, Z95**2 / whole
    middle = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (p * (1 - p) + z2 / 4)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def roc(harmless: Arr, violating: Arr) -> tuple[Arr, Arr]:
    """False-positive and detection rates from the highest threshold to the lowest (bins of scores).

    Empty where a class is.
    """
    if not harmless.sum() or not violating.sum():
        return np.zeros(0), np.zeros(0)
    rates = [np.concatenate([[0], np.cumsum(x[::-1])]) / x.sum() for x in (harmless, violating)]
    return rates[0], rates[1]


def area(false: Arr, true: Arr) -> float | None:
    """Area under the curve (trapezoids): the chance that a violating score is the higher one."""
    if not false.size:
        return None
    return float(((true[1:] + true[:-1]) / 2 * np.diff(false)).sum())


def times(s: Scenario, pool: Pool) -> Summary:
    """Waits for a server, stays at the gate, times to a refusal: quantiles and means."""
    found: Summary = {}
    for row, name in enumerate(TIMES):
        on = s.safety.pre == "before" if name == "refusal_s" else s.safety.pre != "none"
        sketch = gate_part(pool, "sketch")[row] if on else None
        for q, p in STATISTICS.items():
            ns = None if sketch is None else quantile_ns(sketch, p)
            found[f"safety.pre.{name}.{q}"] = None if ns is None else ns * 1e-9
        total = gate_sum(pool, name.removesuffix("_s")) * 1e-9
        count = gate_sum(pool, TIME_COUNTS[name])
        found[f"safety.pre.{name}.mean"] = ratio(total, count) if on else None
    return found


def utilisation(s: Scenario, pool: Pool) -> float | None:
    """Share of the servers' time in which they work."""
    if s.safety.pre == "none":
        return None
    servers = s.safety.pool.servers * s.fleet.cells
    return float(pool.change("gate_ns") / (servers * pool.window_ns))
