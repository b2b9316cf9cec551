"""The trace formats, and `read_trace`, which reads any of them.

A format is a container (CSV, JSONL, Parquet), the names of its columns, and a function from one
record to a `Row`. A new format is one more entry of `FORMATS`; with a new ending, one of
`ENDINGS` too. Formats and columns are described in docs/traces.md.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike, fspath
from types import MappingProxyType

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.files.parquet import parquet_records
from kaiju_sim.workload.traces.files.records import Reader, Record, csv_records, jsonl_records
from kaiju_sim.workload.traces.files.source import Source, digest, open_source, split_name
from kaiju_sim.workload.traces.files.values import (
    block_ids,
    identity,
    shown,
    stamp_ns,
    time_ns,
    tokens,
)
from kaiju_sim.workload.traces.model import Columns, Limits, Row, RowError, Stretch, Trace
from kaiju_sim.workload.traces.ragpulse import RAGPULSE_COLUMNS, ragpulse_rows
from kaiju_sim.workload.traces.servegen import draw_trace, is_servegen, read_fits

RowOf = Callable[[Record], Row]
"""From one record to its row."""

BLOCK_TOKENS = 512
"""Tokens of a block where the file does not say: what Mooncake's ids stand for."""


@dataclass(frozen=True, slots=True)
class Format:
    """One trace format: where records come from, their columns, and what these mean."""

    container: Reader
    required: tuple[str, ...]
    optional: tuple[str, ...]
    opened: Callable[[Source], RowOf]
    """The function from a record to a row of one file (it may read what lies beside the file)."""


def _alike(row: RowOf) -> Callable[[Source], RowOf]:
    """For a format whose files need nothing beside them."""
    return lambda source: row


def _mooncake(record: Record) -> Row:
    return Row(
        arrival_ns=time_ns("timestamp", record["timestamp"], 1_000_000),
        prompt_tokens=tokens("input_length", record["input_length"]),
        output_tokens=tokens("output_length", record["output_length"]),
        block_ids=block_ids("hash_ids", record["hash_ids"]),
    )


def _azure(record: Record) -> Row:
    return Row(
        arrival_ns=stamp_ns("TIMESTAMP", record["TIMESTAMP"]),
        prompt_tokens=tokens("ContextTokens", record["ContextTokens"]),
        output_tokens=tokens("GeneratedTokens", record["GeneratedTokens"]),
    )


def _plain(record: Record) -> Row:
    return Row(
        arrival_ns=time_ns("arrival_s", record["arrival_s"], 1_000_000_000),
        prompt_tokens=tokens("prompt_tokens", record["prompt_tokens"]),
        output_tokens=tokens("output_tokens", record["output_tokens"]),
        session=identity("session", record["session"]) if "session" in record else None,
        character=identity("character", record["character"]) if "character" in record else None,
        block_ids=block_ids("block_ids", record["block_ids"]) if "block_ids" in record else None,
        blocks_optional=True,
    )


_PLAIN_REQUIRED = ("arrival_s", "prompt_tokens", "output_tokens")
_PLAIN_OPTIONAL = ("session", "character", "block_ids")
_MOONCAKE_COLUMNS = ("timestamp", "input_length", "output_length", "hash_ids")
_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "mooncake": Format(jsonl_records, _MOONCAKE_COLUMNS, (), _alike(_mooncake)),
        "ragpulse": Format(jsonl_records, RAGPULSE_COLUMNS, (), ragpulse_rows),
        "azure": Format(csv_records, _AZURE_COLUMNS, (), _alike(_azure)),
        "csv": Format(csv_records, _PLAIN_REQUIRED, _PLAIN_OPTIONAL, _alike(_plain)),
        "jsonl": Format(jsonl_records, _PLAIN_REQUIRED, _PLAIN_OPTIONAL, _alike(_plain)),
        "parquet": Format(parquet_records, _PLAIN_REQUIRED, _PLAIN_OPTIONAL, _alike(_plain)),
    }
)
"""Every format by name; among those of one container, the columns of the first row decide."""

NAMES = (*FORMATS, "servegen")
"""Formats that `read_trace` knows: those of rows, and the fits of ServeGen."""

ENDINGS: Mapping[str, Reader] = MappingProxyType(
    {".csv": csv_records, ".jsonl": jsonl_records, ".parquet": parquet_records}
)
"""File ending -> container, for `format="auto"`."""


def read_trace(
    path: str | PathLike[str],
    format: str = "auto",
    *,
    max_rows: int | None = None,
    block_tokens: int = BLOCK_TOKENS,
    stretch: Stretch | None = None,
    limits: Limits | None = None,
) -> Trace:
    """Read a trace, or its first `max_rows` rows, or a stretch of its time.

    `format` is a key of `FORMATS`, or "auto": the file's ending gives the container (after .zst
    or .gz), the columns of its first row the format. Anything wrong is one `UserError` with the
    row: the line of a text file (a CSV header is line 1), the row of a Parquet file, from 1.
    ServeGen files hold fits: requests are drawn from them, for the stretch and with its seed.
    """
    name, part = fspath(path), stretch or Stretch()
    _check_options(format, max_rows, block_tokens)
    if is_servegen(name, format):
        drawn = draw_trace(read_fits(name, limits), part, limits)
        return drawn if max_rows is None else drawn.head(max_rows)
    if part.scale != 1:
        raise UserError("only the clients of ServeGen fits have a scale", file=name)
    with open_source(name, limits or Limits()) as source:
        try:
            return _read(source, format, max_rows, block_tokens).during(part)
        except RowError as error:
            raise UserError(str(error), file=name, line=source.row) from None


def _check_options(format: str, max_rows: int | None, block_tokens: int) -> None:
    if format not in ("auto", *NAMES):
        allowed = ", ".join(["auto", *NAMES])
        raise UserError(f"unknown trace format {shown(format)}: use {allowed}")
    if max_rows is not None and max_rows < 1:
        raise UserError(f"a limit of {max_rows} rows: use 1 or more")
    if not 1 <= block_tokens <= 1_000_000:
        raise UserError(f"blocks of {block_tokens} tokens: use 1 to 1,000,000")


def _read(source: Source, format: str, max_rows: int | None, block_tokens: int) -> Trace:
    shape = _Shape(_candidates(source, format))
    columns = Columns(source.limits, block_tokens)
    to_row: RowOf | None = None
    for record in shape.container(source, shape.check):
        to_row = to_row or shape.format.opened(source)
        columns.add(to_row(record))
        if len(columns) == max_rows:
            break
    if not len(columns):
        source.row = None
        raise RowError("the trace has no rows")
    return columns.finish(split_name(source.path)[0], shape.name, digest(source))


def _candidates(source: Source, format: str) -> Mapping[str, Format]:
    """The formats that the file may have, all of one container."""
    if format != "auto":
        return {format: FORMATS[format]}
    ending = split_name(source.path)[1]
    if ending not in ENDINGS:
        raise RowError(
            f"unknown file ending {shown(ending)}: use {', '.join(ENDINGS)}"
            " (also with .zst or .gz), or name the trace format"
        )
    return {name: one for name, one in FORMATS.items() if one.container is ENDINGS[ending]}


class _Shape:
    """The columns of the file: the first row picks the format, the others must match it."""

    def __init__(self, candidates: Mapping[str, Format]) -> None:
        self._candidates = candidates
        self._columns: frozenset[str] = frozenset()
        self.container = next(iter(candidates.values())).container
        self.name = ""

    @property
    def format(self) -> Format:
        """The format picked."""
        return self._candidates[self.name]

    def check(self, columns: Collection[str]) -> None:
        """`RowError` unless the columns are those of a format and of the rows before."""
        if not self._columns:
            self.name = self._pick(columns)
            _match_format(self.name, self.format, columns)
            self._columns = frozenset(columns)
        elif self._columns != set(columns):
            _match_format(self.name, self.format, columns)
            odd = ", ".join(shown(name) for name in sorted(self._columns ^ set(columns)))
            raise RowError(f"not the columns of the first row: {odd} in one but not the other")

    def _pick(self, columns: Collection[str]) -> str:
        """The candidate with most of its columns there (the first of equals)."""

        def found(name: str) -> int:
            return len(set(self._candidates[name].required).intersection(columns))

        best = max(self._candidates, key=found)
        if found(best) == 0:
            wanted = "; ".join(
                f"{name}: {', '.join(one.required)}" for name, one in self._candidates.items()
            )
            raise RowError(f"no known columns; use those of a format ({wanted})")
        return best


def _match_format(name: str, format: Format, columns: Collection[str]) -> None:
    """`RowError` for the column most likely misspelt, else one missing, else one too many."""
    known = [*format.required, *format.optional]
    unknown = [column for column in columns if column not in known]
    for column in unknown:
        near = get_close_matches(column[:80], set(known).difference(columns), n=1)
        if near:
            raise RowError(f"unknown column {shown(column)}: did you mean {near[0]}?")
    missing = [column for column in format.required if column not in columns]
    if missing:
        raise RowError(f"column {shown(missing[0])} is missing (trace format {name})")
    if unknown:
        allowed = ", ".join(known)
        raise RowError(f"unknown column {shown(unknown[0])}: trace format {name} has {allowed}")
