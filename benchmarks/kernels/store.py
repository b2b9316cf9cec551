"""The files of a measurement, in benchmarks/results/.

- `kernels-<gpu>.parquet`: a row for each implementation of each case; first the columns of
  `SUMMARY`, then those of `MORE`;
- `kernels-<gpu>-samples.parquet`: every single sample behind them;
- `kernels-<gpu>.json`: where they come from, one entry for each run that rows are of.

A later run of some cases replaces their rows and leaves the others: each row names its run. Files
are written under another name and then renamed, so that none is ever half there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

RESULTS = Path(__file__).resolve().parents[1] / "results"
OURS, CHAINED = "ours", "ours chained"
Row = dict[str, Any]

SUMMARY = [
    pa.field("operator", pa.string()),
    pa.field("shape", pa.string()),
    pa.field("impl", pa.string()),
    pa.field("us_median", pa.float64()),
    pa.field("us_p05", pa.float64()),
    pa.field("us_p95", pa.float64()),
    pa.field("tb_per_s", pa.float64()),
    pa.field("tops", pa.float64()),
    pa.field("repeats", pa.int32()),
]
MORE = [
    pa.field("relative_error", pa.float64()),
    pa.field("calls", pa.int32()),
    pa.field("method", pa.string()),
    pa.field("input_bytes", pa.int64()),
    pa.field("sm_mhz", pa.float64()),
    pa.field("sm_mhz_min", pa.float64()),
    pa.field("watts", pa.float64()),
    pa.field("slowed_by", pa.string()),
    pa.field("run", pa.string()),
]
"""Of each sample: calls in it, `graph` or `eager`; bytes that the inputs rotate over; clocks and
power while the case was measured, and why the card was slowed down; when the run began (UTC)."""
SAMPLES = [
    pa.field("operator", pa.string()),
    pa.field("shape", pa.string()),
    pa.field("impl", pa.string()),
    pa.field("sample", pa.int32()),
    pa.field("us", pa.float32()),
]
ACCURACY = [
    pa.field("operator", pa.string()),
    pa.field("context", pa.int32()),
    pa.field("pattern", pa.string()),
    pa.field("scheme", pa.string()),
    pa.field("relative_error", pa.float64()),
    pa.field("relative_error_worst", pa.float64()),
    pa.field("heads", pa.int32()),
    pa.field("queries", pa.int32()),
]
"""`relative_error`: norm of the difference over norm of the exact result, of all rows together;
`_worst`: of the worst row (one query of one head)."""


def path(gpu: str, kind: str, folder: Path = RESULTS) -> Path:
    """A file's place: `kernels-<gpu>` and its ending, as in `.parquet` or `-samples.parquet`."""
    return folder / f"kernels-{gpu}{kind}"


def merged(
    old: Sequence[Row], new: Sequence[Row], key: Sequence[str] = ("operator", "shape")
) -> list[Row]:
    """The new rows in place of the old ones of the same cases, which keep their order."""
    replaced = {tuple(row[name] for name in key) for row in new}
    return [row for row in old if tuple(row[name] for name in key) not in replaced] + list(new)


def write(file: Path, fields: Sequence[pa.Field], rows: Sequence[Row]) -> None:
    """Write a table, all at once."""
    table = pa.Table.from_pylist(list(rows), schema=pa.schema(fields))
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table, draft, compression="zstd")
    draft.replace(file)


def read(file: Path) -> list[Row]:
    """A table's rows; none if there is no file."""
    if not file.is_file():
        return []
    rows: list[Row] = pq.read_table(file).to_pylist()
    return rows


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write an object, all at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(file)


def read_json(file: Path) -> dict[str, Any]:
    """An object; an empty one if there is no file."""
    if not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def save(
    gpu: str,
    rows: Sequence[Row],
    samples: Sequence[Row],
    run: Mapping[str, Any],
    folder: Path = RESULTS,
) -> None:
    """Add a run: its rows, its samples, and where they come from."""
    tables = ((".parquet", SUMMARY + MORE, rows), ("-samples.parquet", SAMPLES, samples))
    for kind, fields, new in tables:
        file = path(gpu, kind, folder)
        write(file, fields, merged(read(file), new))
    kept = {row["run"] for row in read(path(gpu, ".parquet", folder))}
    file = path(gpu, ".json", folder)
    earlier = [r for r in read_json(file).get("runs", []) if r["run"] in kept - {run["run"]}]
    write_json(file, {"runs": [*earlier, dict(run)]})


def save_accuracy(
    gpu: str, rows: Sequence[Row], run: Mapping[str, Any], folder: Path = RESULTS
) -> None:
    """Write the accuracy report, whole."""
    write(path(gpu, "-accuracy.parquet", folder), ACCURACY, rows)
    write_json(path(gpu, "-accuracy.json", folder), run)


def measured(folder: Path = RESULTS) -> list[str]:
    """Which GPUs there are results of."""
    names = [file.name for file in sorted(folder.glob("kernels-*.json"))]
    slugs = [name.removeprefix("kernels-").removesuffix(".json") for name in names]
    return [name for name in slugs if not name.endswith("-accuracy")]
