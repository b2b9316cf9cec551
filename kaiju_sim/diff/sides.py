"""The two sides of a comparison, from run directories or from runs made for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import kaiju_sim
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.replications import replication_seeds
from kaiju_sim.report import provenance
from kaiju_sim.report.rundir import SCENARIO, read_run
from kaiju_sim.scenario.explain import flow, leaves
from kaiju_sim.scenario.reading.reader import read_file

if TYPE_CHECKING:
    from kaiju_sim.scenario.loader import Loaded

WORDS: Final = ("name", "description", "sweep")
"""Keys of a scenario that no figure depends on."""
SEED: Final = "seed"


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    inputs: Mapping[str, str]
    """The resolved scenario by dotted path, as YAML has the values."""
    origin: Mapping[str, str]
    """What figures depend on beside the scenario, as far as it is known."""
    seeds: Sequence[int]
    """Of the replications."""
    summary: Mapping[str, Any]
    values: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Each figure by replication; empty with one replication."""


@dataclass(frozen=True)
class Input:
    """An input that differs; None where a side does not have it."""

    path: str
    a: str | None
    b: str | None


def of_directory(path: Path) -> Side:
    """A run that was written; UserError if it is none."""
    run = read_run(path)
    inputs = _inputs(read_file(path / SCENARIO, str(path / SCENARIO)).plain())
    origin = {
        "simulator": _simulator(run.provenance.get("package", {})),
        "profile sha256": str(run.provenance.get("profile", {}).get("sha256")),
    }
    count = int(run.summary.get("run.replications") or 1)
    values = {key: entry["values"] for key, entry in run.intervals.items()}
    seeds = replication_seeds(int(inputs[SEED]), count)
    return Side(str(path), inputs, origin, seeds, run.summary, values)


def of_result(name: str, loaded: "Loaded", result: RunResult, replications: int) -> Side:
    """A scenario that was simulated for this."""
    origin = {
        "simulator": _simulator({"version": kaiju_sim.__version__} | provenance.git_state()),
        "profile sha256": provenance.profile_hash(loaded.scenario, loaded.base_dir),
    }
    values = {key: entry["values"] for key, entry in result.intervals.items()}
    seeds = replication_seeds(loaded.scenario.seed, replications)
    return Side(name, _inputs(loaded.resolved), origin, seeds, result.summary, values)


def differing(a: Side, b: Side) -> list[Input]:
    """Inputs that differ, in the order of the scenario; then what else figures depend on."""
    paths = dict.fromkeys((*a.inputs, *b.inputs))
    found = [Input(path, a.inputs.get(path), b.inputs.get(path)) for path in paths]
    found += [Input(name, a.origin.get(name), b.origin.get(name)) for name in a.origin]
    return [item for item in found if item.a != item.b]


def _inputs(resolved: Mapping[str, Any]) -> dict[str, str]:
    from kaiju_sim.scenario.tree import dotted

    counts = {key: value for key, value in resolved.items() if key not in WORDS}
    return {dotted(path): flow(value) for path, value in leaves(counts)}


def _simulator(package: Mapping[str, Any]) -> str:
    """Version and commit in a few words."""
    commit = str(package.get("commit", ""))[:12]
    changed = " with changes" if package.get("modified") else ""
    return f"{package.get('version')} {commit}{changed}".strip()
