"""The samples on disk: what is measured is there a moment later, and stays there.

A job's folder holds, while it runs, `parts/part-00001.json` and so on: each a few **visits** (a
shape's repetitions in a row), written whole and renamed, never changed. So whatever ends the
process loses a few seconds at most. When the job ends, the parts become tables,
`steps.parquet` (a row a step, the repetitions of all its visits), `operators.parquet` and
`engine.parquet`, and are removed; a later job begins by making the tables its first part again.

`job.json` says what was measured, on what, and how far it got; it is written at the start and at
each end.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from calibrate.design.item import OperatorItem, StepItem
from calibrate.design.serving import ServingItem
from calibrate.shapes import shape_columns
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file

Row = dict[str, Any]
_INTS, _DOUBLES = pa.list_(pa.int32()), pa.list_(pa.float64())
STEPS = pa.schema(
    {
        "id": pa.string(),
        "set": pa.string(),
        "kind": pa.string(),
        "decodes": _INTS,
        "chunk_new": _INTS,
        "chunk_cached": _INTS,
        "chunk_last": pa.list_(pa.bool_()),
        "shared_group": pa.int32(),
        "shared_tokens": pa.int32(),
        "wall_s": _DOUBLES,
        "gpu_s": _DOUBLES,
        "visit": _INTS,
        "sm_mhz": pa.float64(),
        "watts": pa.float64(),
        "slowed_by": pa.string(),
        "at_s": pa.float64(),
    }
)
"""`visit`: to which visit each repetition belongs (0, 1 ...); `sm_mhz`: median of the visits;
`watts`: mean; `slowed_by`: reasons for a lowered clock, in words; `at_s`: the first visit's time
since the job began."""
OPERATORS = pa.schema({"operator": pa.string(), "shape": pa.string(), "seconds": _DOUBLES})
"""`shape`: JSON text of the operator's sizes."""
COUNTS = ("decodes", "filling", "chunks", "rows", "after_ns")
ENGINE = pa.schema(
    {
        "id": pa.string(),
        "requests": pa.int32(),
        "period_s": _DOUBLES,
        "step_s": _DOUBLES,
        **dict.fromkeys(COUNTS, _INTS),
        "at_s": pa.float64(),
    }
)
"""The serving engine with so many requests inside; lists: an element for each of its steps
(`calibrate.shapes.EngineStep`)."""
PART_VISITS = 8
LOCK = ".lock"


@dataclass
class Visit:
    """Repetitions of one shape, in a row."""

    key: str
    """The id of what was measured."""
    row: Row
    """What it is: the columns of its table that say so."""
    wall_s: list[float]
    """Of a step; of an operator its seconds."""
    gpu_s: list[float] = field(default_factory=list)
    sm_mhz: float | None = None
    watts: float | None = None
    slowed_by: str = ""
    at_s: float = 0.0
    counts: dict[str, list[int]] = field(default_factory=dict)
    """Of the engine's steps: what each was."""


def step_row(item: StepItem) -> Row:
    """What a step is, as columns."""
    return {"id": item.id, "set": item.set, "kind": item.kind, **shape_columns(item.shape)}


def operator_row(item: OperatorItem) -> Row:
    """What an operator's measurement is, as columns."""
    return {"operator": item.operator, "shape": json.dumps(dict(item.shape))}


def serving_row(item: ServingItem) -> Row:
    """What a measurement of the serving engine is, as columns."""
    return {"requests": item.requests}


class Store:
    """A job's folder; everything measured so far is in `visits`, by id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "parts"
        self._done = folder / "parts.done"
        self.visits: dict[str, list[Visit]] = {}
        self._waiting: list[Visit] = []
        self._next = 1
        self._lock: int | None = None

    def lock(self) -> None:
        """Make the folder, for this job alone; UserError if another job is at it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UserError(f"another job is measuring into {self.folder}") from None
        except OSError as error:
            raise UserError(f"cannot make {self.folder}: {error.strerror}") from error

    def close(self) -> None:
        """Leave the folder to others. (The lock's file stays: removing it would be a race.)"""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def open(self) -> None:
        """Read what is there."""
        shutil.rmtree(self._done, ignore_errors=True)
        self.parts.mkdir(parents=True, exist_ok=True)
        files = sorted(self.parts.glob("part-*.json"))
        for visit in (visit for file in files for visit in _read_part(file)):
            self._keep(visit)
        self._next = int(files[-1].stem.removeprefix("part-")) + 1 if files else 1
        if not files:
            self.write(_from_tables(self.folder))

    def add(self, visit: Visit) -> None:
        """Keep a visit; on disk with the next few, or at `flush`."""
        self._keep(visit)
        self._waiting.append(visit)
        if len(self._waiting) >= PART_VISITS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        self._write(waiting)

    def write(self, visits: Sequence[Visit]) -> None:
        """Keep visits and write them now."""
        for visit in visits:
            self._keep(visit)
        self._write(visits)

    def seconds(self, key: str) -> list[float]:
        """All repetitions of a shape so far."""
        return [s for visit in self.visits.get(key, ()) for s in visit.wall_s]

    def forget_changed(self, rows: Mapping[str, Row]) -> list[str]:
        """Leave out what is not of the plan, or has another shape there: ids that are forgotten."""
        gone = []
        for key, found in list(self.visits.items()):
            # Visit by visit: parts may hold an id's visits under one plan and under another.
            same = [visit for visit in found if visit.row == rows.get(key)]
            if len(same) < len(found):
                gone.append(key)
                del self.visits[key]
            if same:
                self.visits[key] = same
        return gone

    def finish(self) -> None:
        """Write the tables and remove the parts."""
        self.flush()
        self.tables()
        # All at once: a few parts that were left would be taken for all that was measured.
        shutil.rmtree(self._done, ignore_errors=True)
        self.parts.rename(self._done)
        shutil.rmtree(self._done, ignore_errors=True)

    def tables(self) -> None:
        """Write the tables."""
        for name, (schema, row_of, column) in TABLES.items():
            found = [visits for visits in self.visits.values() if column in visits[0].row]
            if found or name != "engine":
                _write_table(self.folder / f"{name}.parquet", schema, map(row_of, found))

    def clear(self) -> None:
        """Begin anew: everything measured in this folder is removed."""
        for parts in (self.parts, self._done):
            shutil.rmtree(parts, ignore_errors=True)
        for name in (*(f"{table}.parquet" for table in TABLES), "job.json"):
            (self.folder / name).unlink(missing_ok=True)

    def _keep(self, visit: Visit) -> None:
        self.visits.setdefault(visit.key, []).append(visit)

    def _write(self, visits: Sequence[Visit]) -> None:
        if visits:
            content = json.dumps([vars(visit) for visit in visits])
            write_file(self.parts / f"part-{self._next:05}.json", content.encode())
            self._next += 1


def read_job(folder: Path) -> dict[str, Any]:
    """`job.json`; empty if there is none, UserError if it is none of ours."""
    file = folder / "job.json"
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error} (--fresh begins anew)", file) from error
    if not isinstance(found, dict):
        raise UserError("is not a job (--fresh begins anew)", file)
    return found


def write_job(folder: Path, job: Mapping[str, Any]) -> None:
    """Write `job.json`."""
    write_file(folder / "job.json", (json.dumps(job, indent=1) + "\n").encode())


def read_steps(folder: Path) -> list[Row]:
    """The rows of `steps.parquet`; none if it is not there."""
    return _read_table(folder / "steps.parquet")


def read_operators(folder: Path) -> list[Row]:
    """The rows of `operators.parquet`; none if it is not there."""
    return _read_table(folder / "operators.parquet")


def read_engine(folder: Path) -> list[Row]:
    """The rows of `engine.parquet`; none if it is not there."""
    return _read_table(folder / "engine.parquet")


def write_engine(folder: Path, visits: Iterable[Visit]) -> None:
    """Replace `engine.parquet`."""
    _write_table(folder / "engine.parquet", ENGINE, (_serving([visit]) for visit in visits))


def _read_part(file: Path) -> list[Visit]:
    try:
        return [Visit(**fields) for fields in json.loads(file.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot be read: {error} (--fresh begins anew)", file) from error


def _read_table(file: Path) -> list[Row]:
    if not file.is_file():
        return []
    try:
        rows: list[Row] = pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {error} (--fresh begins anew)", file) from error
    return rows


def _write_table(file: Path, schema: pa.Schema, rows: Iterable[Row]) -> None:
    buffer = BytesIO()
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in schema.names[:2]])
    pq.write_table(pa.Table.from_pylist(ordered, schema=schema), buffer, compression="zstd")
    write_file(file, buffer.getvalue())


def _step(visits: Sequence[Visit]) -> Row:
    mhz = [visit.sm_mhz for visit in visits if visit.sm_mhz is not None]
    watts = [visit.watts for visit in visits if visit.watts is not None]
    return {
        **visits[0].row,
        "wall_s": [s for visit in visits for s in visit.wall_s],
        "gpu_s": [s for visit in visits for s in visit.gpu_s],
        "visit": [number for number, visit in enumerate(visits) for _ in visit.wall_s],
        "sm_mhz": median(mhz) if mhz else None,
        "watts": fmean(watts) if watts else None,
        "slowed_by": ", ".join(sorted({v.slowed_by for v in visits if v.slowed_by})),
        "at_s": visits[0].at_s,
    }


def _operator(visits: Sequence[Visit]) -> Row:
    return {**visits[0].row, "seconds": [s for visit in visits for s in visit.wall_s]}


def _serving(visits: Sequence[Visit]) -> Row:
    lists = {name: [n for v in visits for n in v.counts[name]] for name in COUNTS}
    period = [s for visit in visits for s in visit.wall_s]
    step = [s for visit in visits for s in visit.gpu_s]
    times = {"period_s": period, "step_s": step, "at_s": visits[0].at_s}
    return {"id": visits[0].key, **visits[0].row, **times, **lists}


TABLES = {
    "steps": (STEPS, _step, "id"),
    "operators": (OPERATORS, _operator, "operator"),
    "engine": (ENGINE, _serving, "requests"),
}
"""Each with its schema, how visits become a row, and a column by which they are known."""


def _from_tables(folder: Path) -> list[Visit]:
    steps = [visit for row in read_steps(folder) for visit in _visits_of(row)]
    operators = [
        Visit(_operator_key(row), {k: row[k] for k in ("operator", "shape")}, row["seconds"])
        for row in read_operators(folder)
    ]
    return steps + operators + list(map(_serving_visit, read_engine(folder)))


def _serving_visit(row: Row) -> Visit:
    counts = {name: row[name] for name in COUNTS}
    visit = Visit(row["id"], {"requests": row["requests"]}, row["period_s"], row["step_s"])
    return replace(visit, at_s=row["at_s"], counts=counts)


def _visits_of(row: Row) -> list[Visit]:
    what = {name: row[name] for name in STEPS.names[: STEPS.names.index("wall_s")]}
    rest = {name: row[name] for name in ("sm_mhz", "watts", "slowed_by", "at_s")}
    found = []
    for number in sorted(set(row["visit"])):
        mine = [i for i, visit in enumerate(row["visit"]) if visit == number]
        wall, gpu = ([row[name][i] for i in mine] for name in ("wall_s", "gpu_s"))
        found.append(Visit(row["id"], what, wall, gpu, **rest))
    return found


def _operator_key(row: Row) -> str:
    size = json.loads(row["shape"])
    return OperatorItem(row["operator"], tuple(size.items())).id
