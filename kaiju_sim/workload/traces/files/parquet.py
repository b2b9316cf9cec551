"""Parquet as a container: read in small batches, after its sizes have been checked.

Encoding lets a few bytes of Parquet stand for billions of values, so the counts that the file
states are compared with the limits first. They come from the footer as read by `footer.py`: the
library's own column metadata ends the process on some broken files instead of raising.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO

from kaiju_sim.workload.traces.files.footer import Struct, parse_struct
from kaiju_sim.workload.traces.files.source import Source, seekable
from kaiju_sim.workload.traces.files.values import no_twins, shown
from kaiju_sim.workload.traces.model import Limits, RowError

_BATCH_ROWS = 4096
_MAGIC = b"PAR1"
_MAX_FOOTER = 4 << 20
BROKEN = "the file is not readable as Parquet, or is cut short"


def parquet_records(
    source: Source, check: Callable[[Collection[str]], None]
) -> Iterator[Mapping[str, Any]]:
    """Rows of a Parquet file; they count from 1."""
    # Imported here: it takes longer to load than most traces take to read.
    import pyarrow as pa
    from pyarrow import parquet

    with seekable(source) as file:
        check_sizes(footer(file), source.limits)
        try:
            table = parquet.ParquetFile(file)
            _check_columns(table.schema_arrow, check)
            source.row = 1
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for record in batch.to_pylist():
                    yield record
                    source.row += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError):
            raise RowError(BROKEN) from None


def footer(file: BinaryIO) -> Struct:
    """The file's own description: at its end, then its length in four bytes, then the magic."""
    end = file.seek(0, 2)
    file.seek(max(end - 8, 0))
    tail = file.read(8)
    size = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != _MAGIC or size > end - 8:
        raise RowError(BROKEN)
    if size > _MAX_FOOTER:
        raise RowError(f"the Parquet footer is over {_MAX_FOOTER:,} bytes")
    file.seek(end - 8 - size)
    try:
        return parse_struct(file.read(size))
    except ValueError:
        raise RowError(BROKEN) from None
    finally:
        file.seek(0)


def check_sizes(footer: Struct, limits: Limits) -> None:
    """Field numbers: file 3 rows, 4 row groups; group 1 columns, 2 bytes; column 3.5 values."""
    try:
        rows = int(footer[3])
        size = sum(group[2] for group in footer[4])
        values = sum(chunk[3][5] for group in footer[4] for chunk in group[1])
    except (KeyError, TypeError, IndexError, ValueError):
        raise RowError(BROKEN) from None
    if rows > limits.rows:
        raise RowError(f"more than {limits.rows:,} rows")
    if values > limits.blocks + 5 * limits.rows:
        raise RowError(f"more than {limits.blocks:,} block ids")
    if size > limits.total_bytes:
        raise RowError(f"the data is over {limits.total_bytes:,} bytes")


def _check_columns(schema: Any, check: Callable[[Collection[str]], None]) -> None:
    """Names first, then types, before a single value is read."""
    no_twins(schema.names)
    check(schema.names)
    for column in schema:
        if not _is_usable(column.name, column.type):
            wanted = "a list of whole numbers" if column.name == "block_ids" else "numbers"
            kind = shown(str(column.type)[:40])
            raise RowError(f"column {shown(column.name)} has type {kind}: use {wanted}")


def _is_usable(name: str, type: Any) -> bool:
    from pyarrow import types

    if name == "block_ids":
        is_list = types.is_list(type) or types.is_large_list(type)
        return bool(is_list and types.is_integer(type.value_type))
    return bool(types.is_integer(type) or types.is_floating(type))
