"""Whole simulations for tests of theory, laws and pitfalls: short ways to state and read them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from kaiju_sim.fleet.control import CellResult
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.warmup import detect, resolved
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import CellTask, EngineName, build_plant, run_cell

CONFIDENCE = 0.999

Tree = Mapping[str, Any]
Columns = dict[str, np.ndarray[Any, Any]]

SMALL: Tree = {
    "schema_version": 1,
    "name": "test",
    "run": {"warm_up": 0.0, "horizon": 20.0, "drain": 10_000.0, "epoch": 0.1},
    "traffic": {"kind": "poisson", "messages_per_s": 5.0},
    "steptime": {"kind": "roofline"},
    "results": {"tick": 1.0},
}
"""A small fleet on which tests build: drained to the end, every message in the tables, and step
times that no measured profile changes."""


def merged(base: Tree, change: Tree) -> dict[str, Any]:
    """`base` with `change` on top: mappings merge, unless they say another `kind`."""
    tree = dict(base)
    for key, value in change.items():
        old = tree.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        law = both and "kind" in value and key not in ("traffic", "steptime")
        tree[key] = merged(old, value) if both and not law else value
    return tree


def scenario_of(*changes: Tree) -> Scenario:
    """The small fleet with changes, the later ones on top."""
    tree: Tree = SMALL
    for change in changes:
        tree = merged(tree, change)
    return Scenario.model_validate(tree)


def from_yaml(folder: Path, text: str, *sets: str) -> Scenario:
    """The scenario that a YAML text says, with `path=value` settings on top."""
    file = folder / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return load_scenario(file, sets=sets).scenario


def constant(value: float) -> Tree:
    """A distribution with one value."""
    return {"kind": "constant", "value": value}


def columns(table: Any) -> Columns:
    """The columns of a table; numbers that are null become NaN."""
    return {name: table[name].to_numpy() for name in table.column_names}


def cells_of(
    scenario: Scenario, engine: EngineName = "compiled", base_dir: Path = Path()
) -> list[CellResult]:
    """What each cell leaves, with the final states of caches and replicas."""
    plant = build_plant(scenario, base_dir)
    cells = [run_cell(CellTask(plant, i, engine)) for i in range(scenario.fleet.cells)]
    return list(resolved(plant.scenario, cells, detect(cells, plant.scenario))[1])


def measured_from(scenario: Scenario, warm_up_s: float) -> Scenario:
    """The scenario with its warm-up stated: what a run says that it detected."""
    run = scenario.run.model_copy(update={"warm_up": warm_up_s})
    return scenario.model_copy(update={"run": run})


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 99.9 % interval, from independent replications (Student's t)."""
    x = np.asarray(values, float)
    width = student.ppf((1 + CONFIDENCE) / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size)
    return float(x.mean()), float(width)


def assert_agrees(values: Sequence[float], truth: float, most: float = 0.01) -> None:
    """The truth lies in the replications' interval, which is at most `most` of it wide (half)."""
    mean, width = interval(values)
    assert width <= most * abs(truth), f"half-width {width / truth:.2%} of {truth:.6g}"
    assert abs(mean - truth) <= width, f"{mean:.6g} +- {width:.2g}, theory says {truth:.6g}"


def same(a: RunResult, b: RunResult) -> None:
    """Both runs are equal in every figure and every table."""
    different = {k: (v, b.summary.get(k)) for k, v in a.summary.items() if v != b.summary.get(k)}
    assert not different
    assert a.summary.keys() == b.summary.keys()
    for name in ("requests", "replicas", "series", "events"):
        left, right = getattr(a, name), getattr(b, name)
        uneven = [c for c in left.column_names if not left[c].equals(right[c])]
        assert left.schema == right.schema
        assert left.num_rows == right.num_rows, name
        assert not uneven, f"{name}: {uneven}"
