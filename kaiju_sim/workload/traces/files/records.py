"""Text containers: how CSV and JSONL hold records, whatever their columns mean.

Each reader yields one mapping per row, column name to value, and calls `check` with the names of
the columns as soon as it sees them. Values are Python's own: `int` and `Decimal` for numbers (so
that none loses a digit), lists for lists, text for the rest.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any

from kaiju_sim.workload.traces.files.source import Source, lines
from kaiju_sim.workload.traces.files.values import no_twins, number_or_text, shown
from kaiju_sim.workload.traces.model import RowError

Record = Mapping[str, Any]
Check = Callable[[Collection[str]], None]
Reader = Callable[[Source, Check], Iterator[Record]]


def csv_records(source: Source, check: Check) -> Iterator[Record]:
    """Rows of a comma-separated file with a header; one line per row, quotes around cells only."""
    rows = lines(source)
    header = [_unquoted(cell) for cell in next(rows, "").split(",")]
    if header == [""]:
        return
    no_twins(header)
    check(header)
    for line in rows:
        cells = line.split(",")
        if len(cells) != len(header):
            raise RowError(f"{len(cells)} cells in a row, {len(header)} in the header")
        yield {
            name: _id_list(cell) if name == "block_ids" else number_or_text(_unquoted(cell))
            for name, cell in zip(header, cells, strict=True)
        }


def _unquoted(cell: str) -> str:
    text = cell.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].strip()
    return text


def _id_list(cell: str) -> list[object]:
    return [number_or_text(word) for word in _unquoted(cell).split()]


def jsonl_records(source: Source, check: Check) -> Iterator[Record]:
    """Rows of a file with one JSON object per line."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_object, parse_float=_decimal, parse_constant=_constant
    )
    for line in lines(source):
        record = _parsed(decoder, line.strip())
        if not isinstance(record, dict):
            raise RowError(f"the line is {shown(record)}: use a JSON object")
        check(record)
        yield record


def _parsed(decoder: json.JSONDecoder, line: str) -> object:
    try:
        return decoder.decode(line)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise RowError(f"not JSON: {what} at column {error.colno}") from None
    except RecursionError:
        raise RowError("not a row: JSON nested too deep") from None
    except ValueError:
        raise RowError("a number has too many digits") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        no_twins([name for name, _ in pairs])
    return record


def _decimal(text: str) -> Decimal:
    value = number_or_text(text)
    if isinstance(value, str):
        raise RowError(f"{shown(text)} has too many digits")
    return Decimal(value)


def _constant(text: str) -> object:
    raise RowError(f"{text} is not a number that a trace can use")
