"""Parquet as whole columns, for files that are tables of numbers rather than requests.

The same checks of size as for rows come first; then each column's type, then the absence of gaps.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.workload.traces.files.parquet import BROKEN, check_sizes, footer
from kaiju_sim.workload.traces.files.source import Source, seekable
from kaiju_sim.workload.traces.files.values import no_twins, shown
from kaiju_sim.workload.traces.model import RowError


class Kind(Enum):
    """What a column holds."""

    WHOLE = "whole numbers"
    NUMBER = "numbers"
    WORD = "text"


class Words(NamedTuple):
    """A column of text: the different words (an empty one for none), and the place of each row."""

    words: list[str]
    place: NDArray[np.int64]


class Table:
    """Columns of one length; complaints about a value name the row of the file."""

    def __init__(self, source: Source, columns: Mapping[str, NDArray[Any] | Words]) -> None:
        self._source = source
        self._columns = columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._columns[name]
        assert not isinstance(column, Words)
        return column

    def refuse(self, wrong: NDArray[np.bool_], column: str, wanted: str) -> None:
        """`RowError` for the first row where `wrong` holds."""
        if wrong.any():
            row = int(np.argmax(wrong))
            self._source.row = row + 1
            raise RowError(f"{column} is {shown(self._value(column, row))}: use {wanted}")

    def _value(self, column: str, row: int) -> object:
        values = self._columns[column]
        if isinstance(values, Words):
            return values.words[values.place[row]]
        return values[row].item()

    def coded(
        self, column: str, codes: Mapping[str, int], other: int | None = None
    ) -> NDArray[np.int64]:
        """The numbers that the words of a column stand for; the rest are `other`, or refused."""
        values = self._columns[column]
        assert isinstance(values, Words)
        unknown = -1 if other is None else other
        numbers = np.array([codes.get(word, unknown) for word in values.words])[values.place]
        allowed = ", ".join(word or "nothing" for word in codes)
        self.refuse(numbers == -1, column, f"one of {allowed}")
        return numbers


def parquet_columns(source: Source, wanted: Mapping[str, Kind]) -> Table:
    """The wanted columns of a Parquet file; `RowError` unless it has exactly these, of a length.

    Numbers are int64 or float64, words are text, with an empty text where there is none.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with seekable(source) as file:
        check_sizes(footer(file), source.limits)
        try:
            whole = parquet.ParquetFile(file)
            _check_schema(whole.schema_arrow, wanted)
            table = whole.read()
            columns = {name: _values(source, table[name], wanted[name]) for name in wanted}
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError):
            raise RowError(BROKEN) from None
    if table.num_rows == 0:
        raise RowError("the file has no rows")
    return Table(source, columns)


def _check_schema(schema: Any, wanted: Mapping[str, Kind]) -> None:
    no_twins(schema.names)
    for name in wanted:
        if name not in schema.names:
            raise RowError(f"column {shown(name)} is missing; needed are {', '.join(wanted)}")
    for column in schema:
        kind = wanted.get(column.name)
        if kind is None:
            raise RowError(f"unknown column {shown(column.name)}: use {', '.join(wanted)}")
        if not _has(column.type, kind):
            found = shown(str(column.type)[:40])
            raise RowError(f"column {shown(column.name)} has type {found}: use {kind.value}")


def _has(type: Any, kind: Kind) -> bool:
    from pyarrow import types

    if types.is_dictionary(type):
        type = type.value_type
    if kind is Kind.WORD:
        return bool(types.is_string(type) or types.is_large_string(type))
    return bool(types.is_integer(type) or (kind is Kind.NUMBER and types.is_floating(type)))


def _values(source: Source, column: Any, kind: Kind) -> NDArray[Any] | Words:
    if kind is Kind.WORD:
        return _words(column)
    if column.null_count:
        source.row = int(np.argmax(column.is_null().to_numpy())) + 1
        raise RowError("a value is empty")
    return np.asarray(column.to_numpy()).astype(np.int64 if kind is Kind.WHOLE else np.float64)


def _words(column: Any) -> Words:
    coded = column.combine_chunks()
    coded = getattr(coded, "chunk", lambda _: coded)(0) if hasattr(coded, "chunks") else coded
    if not hasattr(coded, "dictionary"):
        coded = coded.dictionary_encode()
    words = [word or "" for word in coded.dictionary.to_pylist()]
    place = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return Words([*words, ""], place.astype(np.int64))
