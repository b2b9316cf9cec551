"""A trace as a file of the plain columns of docs/traces.md, whatever it was read from."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.model import Trace


def plain_file(trace: Trace, name: str) -> bytes:
    """The bytes of a file with this name; its ending (.csv, .jsonl, .parquet) says how."""
    ending = PurePath(name).suffix.lower()
    if ending not in WRITERS:
        raise UserError(f"a trace is written as {', '.join(WRITERS)}", file=name)
    if trace.block_lengths is not None:
        raise UserError(f"{trace.name}: plain columns cannot hold chunks of various sizes")
    return WRITERS[ending](trace)


def _columns(trace: Trace) -> dict[str, list[Any]]:
    """The plain columns that this trace has; arrivals as text keep every nanosecond."""
    whole = (trace.arrival_ns // 10**9).tolist()
    rest = (trace.arrival_ns % 10**9).tolist()
    columns: dict[str, list[Any]] = {
        "arrival_s": [f"{s}.{ns:09d}" for s, ns in zip(whole, rest, strict=True)],
        "prompt_tokens": trace.prompt_tokens.tolist(),
        "output_tokens": trace.output_tokens.tolist(),
    }
    for column, values in (("session", trace.session), ("character", trace.character)):
        if values is not None:
            columns[column] = values.tolist()
    if trace.block_ids is not None:
        columns["block_ids"] = list(trace.row_blocks())
    return columns


def _csv(trace: Trace) -> bytes:
    columns = _columns(trace)
    if "block_ids" in columns:
        columns["block_ids"] = [" ".join(map(str, ids)) for ids in columns["block_ids"]]
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


def _jsonl(trace: Trace) -> bytes:
    columns = _columns(trace)
    times = columns.pop("arrival_s")
    return "".join(
        f'{{"arrival_s": {at}, {json.dumps(dict(row))[1:]}\n'
        for at, row in zip(times, _rows(columns), strict=True)
    ).encode()


def _rows(columns: Mapping[str, list[Any]]) -> Iterator[list[tuple[str, Any]]]:
    for values in zip(*columns.values(), strict=True):
        yield list(zip(columns, values, strict=True))


def _parquet(trace: Trace) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = _columns(trace) | {"arrival_s": (trace.arrival_ns / 1e9).tolist()}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


WRITERS: Mapping[str, Callable[[Trace], bytes]] = MappingProxyType(
    {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
)
"""File ending -> how the trace is written."""
