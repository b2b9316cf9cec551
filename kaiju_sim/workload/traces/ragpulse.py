"""RAGPulse: requests of a Q&A service whose prompts are chunks of various sizes.

Columns and their traps are those of the data set (github.com/flashserve/RAGPulse, MIT). A prompt is
put together as system prompt, passages, history, web search results and user input; each chunk has
an id, and five tables beside the trace say how many tokens an id has. `input_length` is a few
tokens above the sum: the chat template, which no id names.

Ids name content, not prefixes: two chunks with one id may stand behind different ones. Here they
become ids of prefixes (a chunk and everything in front of it), which is what a prefix cache holds.

The published file is two weeks whose clocks both start at 0. A step back of more than half a week
is that seam: the rows after it are a week later.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.files.records import Record, jsonl_records
from kaiju_sim.workload.traces.files.source import COMPRESSIONS, Source, open_source
from kaiju_sim.workload.traces.files.values import block_ids, shown, time_ns, tokens, whole
from kaiju_sim.workload.traces.model import Limits, Row, RowError

RAGPULSE_COLUMNS = ("timestamp", "input_length", "output_length", "hash_ids", "session_id")

WEEK_NS = 604_800 * 1_000_000_000

_PARTS = {
    "sys_prompt": ("1_sys_prompt", "sys_prompt_id"),
    "passages_ids": ("2_passages", "passage_id"),
    "history": ("3_history", "history_id"),
    "web_search": ("5_web_search", "web_search_id"),
    "user_input": ("4_user_input", "user_input_id"),
}
"""Part of a prompt, in order -> its length table and the name of the id there."""

_LENGTH = "token_length"
_MAX_ID = 2**40


def ragpulse_rows(source: Source) -> Callable[[Record], Row]:
    """From a record of this trace to its row; reads the length tables beside it."""
    tables = {part: _table(source, name, column) for part, (name, column) in _PARTS.items()}
    return _Reader(tables).row


class _Reader:
    """What is remembered from row to row: prefixes, sessions, and the week."""

    def __init__(self, tables: Mapping[str, Mapping[int, int]]) -> None:
        self._tables = tables
        self._prefixes: dict[tuple[int, str, int], int] = {}
        self._sessions: dict[str, int] = {}
        self._last_ns = 0
        self._week = 0

    def row(self, record: Record) -> Row:
        """One request."""
        ids, lengths = self._chunks(record["hash_ids"])
        return Row(
            arrival_ns=self._time(record["timestamp"]),
            prompt_tokens=tokens("input_length", record["input_length"]),
            output_tokens=tokens("output_length", record["output_length"]),
            session=self._session(record["session_id"]),
            block_ids=ids,
            block_lengths=lengths,
        )

    def _time(self, value: object) -> int:
        """Seconds, as digits in text, on one clock over the weeks."""
        is_digits = isinstance(value, str) and value.isascii() and value.isdigit()
        if not is_digits or len(str(value)) > 12:
            raise RowError(f"timestamp is {shown(value)}: use whole seconds as text")
        at = time_ns("timestamp", int(str(value)), 1_000_000_000)
        if self._last_ns - at > WEEK_NS // 2:
            self._week += 1
        self._last_ns = at
        return at + self._week * WEEK_NS

    def _session(self, value: object) -> int:
        if not isinstance(value, str) or not 1 <= len(value) <= 200:
            raise RowError(f"session_id is {shown(value)}: use a name of 1 to 200 characters")
        return self._sessions.setdefault(value, len(self._sessions))

    def _chunks(self, value: Any) -> tuple[Sequence[int], Sequence[int]]:
        """Ids of the prompt's prefixes and tokens of its chunks."""
        if not isinstance(value, dict) or set(value) != set(_PARTS):
            wanted = ", ".join(_PARTS)
            raise RowError(f"hash_ids is {shown(value)}: use an object with {wanted}")
        ids, lengths, prefix = [], [], -1
        for part, table in self._tables.items():
            for chunk in block_ids(part, value[part]):
                if chunk not in table:
                    name = _PARTS[part][0]
                    raise RowError(f"{part} {chunk} has no length in the table {name}")
                prefix = self._prefixes.setdefault((prefix, part, chunk), len(self._prefixes))
                ids.append(prefix)
                lengths.append(table[chunk])
        return ids, lengths


def _table(source: Source, name: str, column: str) -> dict[int, int]:
    """The tokens of each chunk of one part of the prompt."""
    path = _beside(source.path, name)
    with open_source(path, source.limits) as table:
        try:
            return _lengths(table, column, source.limits)
        except RowError as error:
            raise UserError(str(error), file=path, line=table.row) from None


def _beside(trace: str, name: str) -> str:
    """The table's file in the folder of the trace, compressed or not."""
    for ending in ("", *COMPRESSIONS):
        path = Path(trace).parent / f"{name}.jsonl{ending}"
        if path.is_file():
            return str(path)
    raise UserError(
        f"the length table {name}.jsonl (or .zst, .gz) must lie beside a ragpulse trace",
        file=trace,
    )


def _lengths(table: Source, column: str, limits: Limits) -> dict[int, int]:
    found: dict[int, int] = {}
    for record in jsonl_records(table, _exactly(column)):
        chunk = whole(column, record[column], 0, _MAX_ID)
        if chunk in found:
            raise RowError(f"{column} {chunk} appears twice")
        if len(found) >= limits.rows:
            raise RowError(f"more than {limits.rows:,} rows")
        found[chunk] = tokens(_LENGTH, record[_LENGTH])
    return found


def _exactly(column: str) -> Callable[[Any], None]:
    def check(columns: Any) -> None:
        if set(columns) != {column, _LENGTH}:
            raise RowError(f"a row of a length table has {column} and {_LENGTH}")

    return check
