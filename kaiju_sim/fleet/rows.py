"""Record arrays for plain Python: `records[i].field` at a fraction of the cost of np.recarray.

The functions of the data plane are written for compiled code. The reference plane runs the same
source in plain Python on these views: each record is an object whose attributes read and write the
array's own memory, as Python numbers.
"""

import functools
from typing import Any

import numpy as np

from kaiju_sim.engine.layout import Arr


@functools.cache
def row_class(dtype: np.dtype[Any]) -> type:
    """A class of records of this dtype: one property per field."""

    def field_at(place: int) -> property:
        def get(row: Any) -> Any:
            return row._fields[place][row._place]

        def put(row: Any, value: Any) -> None:
            row._fields[place][row._place] = value

        return property(get, put)

    names = dtype.names or ()
    members = {name: field_at(place) for place, name in enumerate(names)}
    return type("Row", (Row,), {"__slots__": (), **members})


class Row:
    """One record of an array."""

    __slots__ = ("_fields", "_place")

    def __init__(self, fields: tuple[memoryview, ...], at: int) -> None:
        self._fields = fields
        self._place = at


class Rows:
    """A structured array as a sequence of rows, made when they are first asked for."""

    __slots__ = ("array", "fields", "kind", "rows", "size")

    def __init__(self, array: Arr) -> None:
        assert array.dtype.names, "records have fields"
        self.array = array
        self.size = array.size
        self.fields = tuple(array[name].data for name in array.dtype.names)
        self.kind = row_class(array.dtype)
        self.rows: list[Any] = [None] * array.size

    def __getitem__(self, at: int) -> Any:
        row = self.rows[at]
        if row is None:
            row = self.rows[at] = self.kind(self.fields, at)
        return row
