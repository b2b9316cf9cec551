"""What an answer rests on: each value with how sure it is and where it comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.figures import scenarios
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.fleet.setup.groups import build_groups
from kaiju_sim.scenario.assumed import assumed_in
from kaiju_sim.scenario.loader import Loaded
from kaiju_sim.steptime.build import described

Rows = list[dict[str, Any]]
GRADES: Mapping[str, str] = {
    "M": "measured here",
    "P": "primary: the vendor's or author's own",
    "S": "reported by somebody else",
    "R": "reported by somebody else",
    "I": "inferred here",
    "U": "unsupported: a guess",
}
GPU_FACTS = ("int8_ops_per_s", "bf16_ops_per_s", "hbm_bytes", "hbm_bytes_per_s")


def rows(name: str) -> Rows:
    """All values of a shipped scenario that something is known about: measured, then assumed."""
    found = scenarios.shipped(name)
    return [*_step_times(found), *_gpu(found), *_assumed(found), *_ranges(found)]


def chosen(found: Rows, grades: Sequence[str]) -> Rows:
    """Rows of these grades; all if none."""
    return [row for row in found if not grades or row["how sure"] in grades]


def counted(found: Rows) -> Rows:
    """How many values have which grade."""
    names = list(dict.fromkeys(GRADES.values()))
    counts = {name: sum(row["how sure"] == name for row in found) for name in names}
    return [{"how sure": name, "values": count} for name, count in counts.items() if count]


def _row(name: str, value: Any, ends: str, grade: str, source: str) -> dict[str, Any]:
    return {
        "value of": name,
        "value": value,
        "range": ends,
        "how sure": GRADES.get(grade, grade),
        "source": source,
    }


def _step_times(found: Loaded) -> Rows:
    """Where the step times come from, and how far off they are."""
    (group, *_) = build_groups(found.scenario, found.base_dir)
    said, _, error = described(group.step_time).partition(", ")
    grade = "M" if said.startswith("measured") else "I"
    return [_row("step times", said, error, grade, "python -m calibrate; docs/steps.md")]


def _gpu(found: Loaded) -> Rows:
    gpu = find_gpu(found.scenario.gpu)
    return [
        _row(f"{gpu.name}: {fact}", f"{getattr(gpu, fact):.4g}", "", *_cut(gpu.sources[fact]))
        for fact in GPU_FACTS
    ]


def _cut(source: str) -> tuple[str, str]:
    """Grade and words of "P: the data sheet"."""
    grade, _, words = source.partition(":")
    return grade.strip(), words.strip()


def _assumed(found: Loaded) -> Rows:
    return [
        _row(path, f"{one.value:.6g}", f"{one.low:.6g} to {one.high:.6g}", one.grade, one.source)
        for path, one in assumed_in(found.scenario)
    ]


def _ranges(found: Loaded) -> Rows:
    """Values of the scenario whose ranges its author states."""
    stated = found.resolved.get("economics", {}).get("ranges") or {}
    return [
        _row(path, _at(found.resolved, path), f"{low} to {high}", str(grade), str(source))
        for path, (low, high, grade, source) in stated.items()
    ]


def _at(tree: Any, path: str) -> str:
    """The value at a dotted path."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return "" if tree is None else str(tree)
