"""What a trace is once it has been read: columns of numbers, nothing of the file's own shape.

Times are nanoseconds from the first row, lengths are tokens. Where the file names the prompt's
blocks, row `i` owns `block_ids[block_offsets[i]:block_offsets[i + 1]]`. An id stands for
`block_tokens` tokens (the last one of a row may be partly filled), or for as many as
`block_lengths` says. Rows keep the order of the file.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kaiju_sim.errors import UserError

Ints = npt.NDArray[np.int64]


class RowError(Exception):
    """A row that cannot be used; `read_trace` turns it into a `UserError` with file and row."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost before it is refused, so that a hostile one cannot fill the memory."""

    line_bytes: int = 8 << 20
    """Longest line, decompressed."""
    total_bytes: int = 4 << 30
    """Whole file, decompressed (and as it lies on disk)."""
    rows: int = 10_000_000
    """Rows."""
    blocks: int = 50_000_000
    """Block ids over all rows."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of a trace is read, and how requests are drawn where a file holds fits."""

    start_s: float = 0.0
    """Start, seconds after the first row (ServeGen: after the first window begins)."""
    duration_s: float | None = None
    """Length, seconds; none: to the end."""
    scale: float = 1.0
    """ServeGen: every client's rate is multiplied by this."""
    seed: int = 1
    """ServeGen: seed of the draws."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in the order of the file, one array element per request."""

    name: str
    """File name without its endings."""
    format: str
    """Name of the format it was read as (a key of `FORMATS`)."""
    sha256: str
    """Digest of the file as it lies on disk."""
    first_ns: int
    """Time of the first row on the file's own clock."""
    arrival_ns: Ints
    """Arrival, nanoseconds after the first row; never decreases."""
    prompt_tokens: Ints
    """Tokens in, at least 1."""
    output_tokens: Ints
    """Tokens out, at least 1."""
    session: Ints | None
    """Dialogue of the request, where the file says so."""
    character: Ints | None
    """Character of the request, where the file says so."""
    block_ids: Ints | None
    """Ids of the prompt's blocks, all rows after each other."""
    block_offsets: Ints | None
    """Start of each row in `block_ids`, and the end of the last (rows + 1 values)."""
    block_tokens: int
    """Tokens that one id stands for, where they are all alike."""
    block_lengths: Ints | None = None
    """Tokens of each id in `block_ids`, where blocks are chunks of various sizes."""

    @property
    def rows(self) -> int:
        """Number of requests."""
        return len(self.arrival_ns)

    @property
    def span_ns(self) -> int:
        """Nanoseconds from the first arrival to the last."""
        return int(self.arrival_ns[-1])

    def during(self, stretch: Stretch) -> "Trace":
        """The rows of a stretch of time; `UserError` if there is none."""
        if stretch.start_s == 0 and stretch.duration_s is None:
            return self
        start = round(stretch.start_s * 1e9)
        length = 2**62 if stretch.duration_s is None else round(stretch.duration_s * 1e9)
        low, high = (int(i) for i in np.searchsorted(self.arrival_ns, [start, start + length]))
        if low == high:
            end_s = self.span_ns / 1e9
            raise UserError(f"{self.name}: no rows in this stretch; the last is at {end_s:g} s")
        return self._slice(low, high)

    def head(self, rows: int) -> "Trace":
        """The first rows."""
        return self._slice(0, min(rows, self.rows))

    def _slice(self, low: int, high: int) -> "Trace":
        rows = slice(low, high)
        offsets, blocks = self.block_offsets, slice(0)
        if offsets is not None:
            blocks = slice(int(offsets[low]), int(offsets[high]))
            offsets = offsets[low : high + 1] - offsets[low]
        return replace(
            self,
            first_ns=self.first_ns + int(self.arrival_ns[low]),
            arrival_ns=self.arrival_ns[rows] - self.arrival_ns[low],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            session=None if self.session is None else self.session[rows],
            character=None if self.character is None else self.character[rows],
            block_ids=None if self.block_ids is None else self.block_ids[blocks],
            block_offsets=offsets,
            block_lengths=None if self.block_lengths is None else self.block_lengths[blocks],
        )

    def lengths(self) -> Ints:
        """Prompt tokens that each id in `block_ids` stands for, partial last blocks included."""
        if self.block_lengths is not None:
            return self.block_lengths
        if self.block_ids is None or self.block_offsets is None:
            return np.zeros(0, np.int64)
        counts = np.diff(self.block_offsets)
        place = np.arange(len(self.block_ids)) - np.repeat(self.block_offsets[:-1], counts)
        left = np.repeat(self.prompt_tokens, counts) - place * self.block_tokens
        return np.asarray(np.minimum(left, self.block_tokens))

    def row_blocks(self) -> Iterator[list[int]]:
        """The block ids of each row in turn; empty lists in a trace without ids."""
        if self.block_ids is None or self.block_offsets is None:
            yield from ([] for _ in range(self.rows))
            return
        bounds = self.block_offsets.tolist()
        for start, end in zip(bounds, bounds[1:], strict=False):
            yield self.block_ids[start:end].tolist()


class Row(NamedTuple):
    """One request as a format's reader found it, checked value by value."""

    arrival_ns: int
    prompt_tokens: int
    output_tokens: int
    session: int | None = None
    character: int | None = None
    block_ids: Sequence[int] | None = None
    blocks_optional: bool = False
    block_lengths: Sequence[int] | None = None


def _ints() -> "array[int]":
    return array("q")


@dataclass(slots=True)
class Columns:
    """Collects rows into columns and checks what only shows between columns or rows."""

    limits: Limits
    block_tokens: int
    arrival_ns: "array[int]" = field(default_factory=_ints)
    prompt_tokens: "array[int]" = field(default_factory=_ints)
    output_tokens: "array[int]" = field(default_factory=_ints)
    session: "array[int]" = field(default_factory=_ints)
    character: "array[int]" = field(default_factory=_ints)
    block_ids: "array[int]" = field(default_factory=_ints)
    block_lengths: "array[int]" = field(default_factory=_ints)
    block_ends: "array[int]" = field(default_factory=_ints)

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def add(self, row: Row) -> None:
        """Append a row; `RowError` if time goes back, ids do not fit, or there are too many."""
        if len(self) >= self.limits.rows:
            raise RowError(f"more than {self.limits.rows:,} rows; read fewer with a row limit")
        if self.arrival_ns and row.arrival_ns < self.arrival_ns[-1]:
            back_s = (self.arrival_ns[-1] - row.arrival_ns) / 1e9
            raise RowError(f"time goes back by {back_s:g} s; sort the rows by arrival")
        self.arrival_ns.append(row.arrival_ns)
        self.prompt_tokens.append(row.prompt_tokens)
        self.output_tokens.append(row.output_tokens)
        if row.session is not None:
            self.session.append(row.session)
        if row.character is not None:
            self.character.append(row.character)
        if row.block_ids is not None:
            self._add_blocks(row, row.block_ids)

    def _add_blocks(self, row: Row, ids: Sequence[int]) -> None:
        if row.block_lengths is not None:
            _check_chunks(row, sum(row.block_lengths))
            self.block_lengths.extend(row.block_lengths)
        want = -(-row.prompt_tokens // self.block_tokens) if row.block_lengths is None else len(ids)
        if len(ids) != want and not (row.blocks_optional and not ids):
            raise RowError(
                f"{len(ids):,} block ids for {row.prompt_tokens:,} tokens;"
                f" blocks of {self.block_tokens:,} tokens need {want:,}"
            )
        if len(self.block_ids) + len(ids) > self.limits.blocks:
            raise RowError(f"more than {self.limits.blocks:,} block ids; read fewer rows")
        self.block_ids.extend(ids)
        self.block_ends.append(len(self.block_ids))

    def finish(self, name: str, format: str, sha256: str) -> Trace:
        """The trace of all rows added (at least one)."""
        arrival = _frozen(self.arrival_ns)
        ends = _frozen(self.block_ends)
        relative = arrival - arrival[0]
        relative.flags.writeable = False
        return Trace(
            name=name,
            format=format,
            sha256=sha256,
            first_ns=int(arrival[0]),
            arrival_ns=relative,
            prompt_tokens=_frozen(self.prompt_tokens),
            output_tokens=_frozen(self.output_tokens),
            session=_frozen(self.session) if self.session else None,
            character=_frozen(self.character) if self.character else None,
            block_ids=_frozen(self.block_ids) if self.block_ids else None,
            block_offsets=_offsets(ends) if self.block_ids else None,
            block_tokens=self.block_tokens,
            block_lengths=_frozen(self.block_lengths) if self.block_lengths else None,
        )


def _check_chunks(row: Row, total: int) -> None:
    """Chunks of various sizes fill the prompt up to what a chat template adds."""
    if total > row.prompt_tokens:
        raise RowError(f"chunks of {total:,} tokens in a prompt of {row.prompt_tokens:,}")


def _frozen(values: "array[int]") -> Ints:
    """A read-only copy."""
    column = np.array(values, dtype=np.int64)
    column.flags.writeable = False
    return column


def _offsets(ends: Ints) -> Ints:
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    offsets.flags.writeable = False
    return offsets
