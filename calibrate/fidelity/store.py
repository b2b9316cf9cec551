"""Raw samples on disk: a folder for each workload, in it one for each run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from calibrate.bench import Setting, setting_of
from calibrate.fidelity.outcome import Outcome
from calibrate.fidelity.serve.drive import Run
from calibrate.fidelity.serve.recorder import COLUMNS, Steps
from calibrate.fidelity.workload import Workload, read_workload, write_workload
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import appearing, write_file
from kaiju_sim.sketch import BINS

MESSAGES = ("arrival", "admit", "first", "end", "output", "cached", "preempted", "state")
SMALL = ("output", "cached", "preempted", "state")


@dataclass(frozen=True)
class Sample:
    """One run, as it was saved."""

    outcome: Outcome
    steps: Steps
    setting: Setting
    info: Mapping[str, Any]
    """Card, clocks, versions, commit, date; the workload's recipe and digest."""


class Store:
    """The samples of one profile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def workload_file(self, name: str) -> Path:
        """Where a workload is."""
        return self.folder / name / "workload.parquet"

    def run_folder(self, name: str, number: int) -> Path:
        """Where a run is; runs are numbered from 1."""
        return self.folder / name / f"run-{number}"

    def runs(self, name: str) -> list[int]:
        """Numbers of the runs that are there."""
        found = (self.folder / name).glob("run-*/run.json")
        return sorted(int(file.parent.name.removeprefix("run-")) for file in found)

    def workloads(self) -> list[str]:
        """Names of workloads that have runs."""
        return sorted({file.parent.parent.name for file in self.folder.glob("*/run-*/run.json")})

    def save_workload(self, workload: Workload) -> None:
        """Write it."""
        file = self.workload_file(workload.name)
        _make(file.parent)
        write_workload(file, workload)

    def load_workload(self, name: str) -> Workload | None:
        """The saved workload, if there is one."""
        file = self.workload_file(name)
        return read_workload(file) if file.is_file() else None

    def save_run(
        self, name: str, number: int, run: Run, setting: Setting, info: Mapping[str, Any]
    ) -> None:
        """Write a run, whole or not at all."""
        target = self.run_folder(name, number)
        _make(target.parent)
        o = run.outcome
        with appearing(target) as folder:
            (folder / "messages.parquet").write_bytes(_messages(o))
            (folder / "steps.parquet").write_bytes(_steps(run.steps))
            bins = np.flatnonzero(o.itl)
            gaps = {"bins": bins.tolist(), "counts": o.itl[bins].tolist(), "sum_ns": o.itl_ns}
            said = {**info, "setting": setting.as_json(), "gaps": gaps}
            (folder / "run.json").write_text(json.dumps(said) + "\n", encoding="utf-8")

    def load_run(self, name: str, number: int) -> Sample:
        """A run; UserError for what is none."""
        folder = self.run_folder(name, number)
        try:
            info = json.loads((folder / "run.json").read_bytes())
            table = pq.read_table(folder / "messages.parquet")
            steps = pq.read_table(folder / "steps.parquet")
            columns = {n: table[n].to_numpy().astype(np.int64) for n in MESSAGES}
            itl = np.zeros(BINS, np.int64)
            itl[info["gaps"]["bins"]] = info["gaps"]["counts"]
            outcome = Outcome(**columns, itl=itl, itl_ns=info["gaps"]["sum_ns"])
            rows = np.stack([steps[n].to_numpy().astype(np.int64) for n in COLUMNS], axis=1)
            return Sample(outcome, rows, setting_of(info["setting"]), info)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise UserError(f"is no run: {error} (--fresh measures again)", folder) from error


def _messages(outcome: Outcome) -> bytes:
    columns = {
        name: pa.array(getattr(outcome, name), pa.int32() if name in SMALL else pa.int64())
        for name in MESSAGES
    }
    return _parquet(pa.table(columns), [name for name in MESSAGES if name not in SMALL])


def _steps(steps: Steps) -> bytes:
    columns = {name: pa.array(steps[:, i]) for i, name in enumerate(COLUMNS)}
    return _parquet(pa.table(columns), COLUMNS)


def _parquet(table: pa.Table, growing: Sequence[str]) -> bytes:
    """`growing`: columns that are small as differences."""
    buffer = BytesIO()
    pq.write_table(
        table, buffer, compression="zstd", compression_level=15, use_dictionary=False,
        column_encoding=dict.fromkeys(growing, "DELTA_BINARY_PACKED"),
    )  # fmt: skip
    return buffer.getvalue()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from error


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all, one row of a list a line."""
    _make(file.parent)
    lines = []
    for key, part in value.items():
        if isinstance(part, list) and part:
            rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in part)
            lines.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(part, allow_nan=False)}")
    write_file(file, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def file_digest(file: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
