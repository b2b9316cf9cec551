"""The run directory: everything about one run, the unit in which results are shared.

    scenario.yaml      the resolved scenario
    summary.json       flat keys, see docs/metrics.md
    intervals.json     with replications: mean, 95 % interval and values of each figure
    requests.parquet   one row per message (or a stated sample)
    replicas.parquet   one row per tick and replica
    series.parquet     one row per tick and part of the fleet (the whole, each cell, each shard)
    events.parquet     what happened to the fleet
    provenance.json    versions, machine, wall-clock times: the only file that two runs of the
                       same scenario may differ in
    report.html        optional, one file to send

It is written as a whole or not at all (`atomic`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaiju_sim.errors import UserError
from kaiju_sim.metrics.result import (
    EVENT_COLUMNS,
    REPLICA_COLUMNS,
    REQUEST_COLUMNS,
    SERIES_COLUMNS,
    RunResult,
    table_schema,
)
from kaiju_sim.report import atomic
from kaiju_sim.report.glossary import ordered

if TYPE_CHECKING:
    import pyarrow as pa

SCENARIO, SUMMARY, INTERVALS, PROVENANCE, REPORT = (
    "scenario.yaml",
    "summary.json",
    "intervals.json",
    "provenance.json",
    "report.html",
)
TABLES = {
    "requests": REQUEST_COLUMNS,
    "replicas": REPLICA_COLUMNS,
    "series": SERIES_COLUMNS,
    "events": EVENT_COLUMNS,
}
_REQUIRED = {SCENARIO, SUMMARY, PROVENANCE, *(f"{name}.parquet" for name in TABLES)}
_KNOWN = _REQUIRED | {REPORT, INTERVALS, "trace.json", "metrics.om"}


def summary_text(summary: Mapping[str, Any]) -> str:
    """The exact content of summary.json: glossary order, shortest exact numbers, no NaN."""
    return _json(ordered(summary))


def check_target(path: Path) -> Path:
    """The absolute directory that a run may be written to; UserError if it may not.

    Meant to be called before simulating. Missing parents are made. An existing directory is
    accepted if it is empty or a run directory with nothing else in it. Left-overs of runs that
    were killed are cleared.
    """
    try:
        target = Path(path).resolve()
        if target.is_symlink():  # Python 3.13 leaves a circle of links as it is
            raise RuntimeError("links in a circle")
        _check_parent(target.parent)
        atomic.probe(target.parent)
        atomic.clear_stale(target)
        _check_replaceable(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(f"cannot write {path}: {_reason(error)}") from error
    return target


def write_run(
    result: RunResult,
    scenario_yaml: str,
    provenance: Mapping[str, Any],
    path: Path,
    *,
    report: bool = False,
) -> Path:
    """Write one run directory at `path`, replacing an earlier run there; returns its path."""
    target = check_target(path)
    with atomic.appearing(target) as directory:
        _write_files(directory, result, scenario_yaml, provenance)
        if report:
            from kaiju_sim.report.html import write_report

            write_report(directory)
    return target


@dataclass(frozen=True)
class RunDirectory:
    """A run read back: the small files at once, the tables when asked for."""

    path: Path
    summary: dict[str, Any]
    provenance: dict[str, Any]
    scenario_yaml: str
    intervals: dict[str, Any] = field(default_factory=dict)
    """Of a run with replications."""

    def table(self, name: str, columns: list[str] | None = None) -> "pa.Table":
        """`requests`, `replicas`, `series` or `events`, all columns or those named."""
        import pyarrow.parquet as pq

        return pq.read_table(self.path / f"{name}.parquet", columns=columns)


def read_run(path: Path) -> RunDirectory:
    """Read a run directory; UserError if it is not one, or not a whole one."""
    missing = sorted(name for name in _REQUIRED if not (path / name).is_file())
    if missing:
        raise UserError(f"not a run directory: {path} (no {', '.join(missing)})")
    return RunDirectory(
        path,
        _read_json(path / SUMMARY),
        _read_json(path / PROVENANCE),
        (path / SCENARIO).read_text(encoding="utf-8"),
        _read_json(path / INTERVALS) if (path / INTERVALS).is_file() else {},
    )


def _write_files(
    directory: Path, result: RunResult, scenario_yaml: str, provenance: Mapping[str, Any]
) -> None:
    (directory / SCENARIO).write_text(scenario_yaml, encoding="utf-8")
    (directory / SUMMARY).write_text(summary_text(result.summary), encoding="utf-8")
    if result.intervals:
        intervals = _json(ordered(result.intervals))
        (directory / INTERVALS).write_text(intervals, encoding="utf-8")
    (directory / PROVENANCE).write_text(_json(provenance), encoding="utf-8")
    for name, columns in TABLES.items():
        _write_table(getattr(result, name), columns, directory / f"{name}.parquet")


def _write_table(table: "pa.Table", columns: dict[str, str], path: Path) -> None:
    """Same rows, same bytes: chunks joined, fixed columns and coding, no schema metadata."""
    import pyarrow.parquet as pq

    fixed = table.select(list(columns)).cast(table_schema(columns)).combine_chunks()
    pq.write_table(
        fixed,
        path,
        row_group_size=1 << 18,
        version="2.6",
        compression="zstd",
        compression_level=3,
        store_schema=False,
    )


def _json(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, indent=2, allow_nan=False, default=_plain)
    return f"{text}\n"


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"not JSON: {type(value).__name__}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not valid JSON: {error}", path) from error
    if not isinstance(content, dict):
        raise UserError("not a JSON object", path)
    return content


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _check_parent(parent: Path) -> None:
    if parent.is_dir():
        return
    nearest = next(folder for folder in (parent, *parent.parents) if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"cannot write in {parent}: {nearest} is not a directory")
    parent.mkdir(parents=True, exist_ok=True)


def _check_replaceable(target: Path) -> None:
    """An existing target must be a directory that holds nothing but an earlier run."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"cannot write {target}: it is a file")
    if target == Path.cwd() or target in Path.cwd().parents:
        raise UserError(f"cannot write {target}: it is, or holds, the current directory")
    names = {entry.name for entry in target.iterdir()}
    foreign = sorted(names - _KNOWN)
    if foreign:
        raise UserError(f"will not replace {target}: it holds {foreign[0]!r}, not a run's file")
    if names and not {SUMMARY, PROVENANCE} <= names:
        raise UserError(f"will not replace {target}: it is not a run directory")
