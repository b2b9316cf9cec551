"""The files of a measurement, in benchmarks/results/: `training-<gpu>.parquet` (a row for each
implementation of each case), `-samples.parquet` (every sample), `.json` (where they come from, and
the errors of gradient codes); of the demo `training-demo-<gpu>.parquet` (a row for each step of
each run) and `.json` (arms, options, agreement, distillation)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.kernels import store as tables
from benchmarks.kernels.store import RESULTS, Row

RANKS, LONG = "ranks-", "long-"
"""Before the GPU's name, in files of the demo on several real ranks, and of a longer comparison."""
CURVES = [
    pa.field("arm", pa.string()),
    pa.field("seed", pa.int32()),
    pa.field("step", pa.int32()),
    pa.field("sequences", pa.int64()),
    pa.field("batch", pa.int32()),
    pa.field("rate", pa.float64()),
    pa.field("loss", pa.float64()),
    pa.field("held_out", pa.float64()),
    pa.field("gradient", pa.float64()),
    pa.field("seconds", pa.float64()),
]


def path(gpu: str, kind: str, folder: Path = RESULTS, *, demo: bool = False) -> Path:
    """A file's place."""
    return folder / f"training-{'demo-' if demo else ''}{gpu}{kind}"


def save(
    gpu: str, rows: Sequence[Row], samples: Sequence[Row], run: Mapping[str, Any],
    folder: Path = RESULTS,
) -> None:  # fmt: skip
    """Add a run: cases that were measured again replace the old ones."""
    fields = tables.SUMMARY + tables.MORE
    for kind, columns, new in (
        (".parquet", fields, rows),
        ("-samples.parquet", tables.SAMPLES, samples),
    ):
        file = path(gpu, kind, folder)
        tables.write(file, columns, tables.merged(tables.read(file), new))
    kept = {row["run"] for row in tables.read(path(gpu, ".parquet", folder))}
    file = path(gpu, ".json", folder)
    earlier = [r for r in tables.read_json(file).get("runs", []) if r["run"] in kept - {run["run"]}]
    tables.write_json(file, {"runs": [*earlier, dict(run)]})


def save_demo(gpu: str, compared: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """What `kernels.training.demo compare` wrote, as files of ours."""
    rows = [
        {"arm": o["arm"], "seed": o["seed"], **row}
        for o in compared["outcomes"]
        for row in o["curve"]
    ]
    tables.write(path(gpu, ".parquet", folder, demo=True), CURVES, rows)
    rest = {name: value for name, value in compared.items() if name != "outcomes"}
    tables.write_json(path(gpu, ".json", folder, demo=True), rest)


def outcomes(gpu: str, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The curves of each run of the demo."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in tables.read(path(gpu, ".parquet", folder, demo=True)):
        found.setdefault((row["arm"], row["seed"]), []).append(row)
    return [{"arm": arm, "seed": seed, "curve": rows} for (arm, seed), rows in found.items()]


def measured(folder: Path = RESULTS) -> list[str]:
    """Which GPUs there are results of."""
    names = (f.name.removeprefix("training-").removeprefix("demo-") for f in _files(folder))
    return sorted(
        {name.removesuffix(".json") for name in names if not name.startswith((RANKS, LONG))}
    )


def others(kind: str, folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The demo on real ranks (`RANKS`) or a longer one (`LONG`), by GPU."""
    first = f"training-demo-{kind}"
    found = sorted(folder.glob(f"{first}*.json"))
    return {f.stem.removeprefix(first): tables.read_json(f) for f in found}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("training-*.json"))


def read_compared(file: Path) -> dict[str, Any]:
    """A demo's `compare.json`. Raises ValueError."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from error
    return found
